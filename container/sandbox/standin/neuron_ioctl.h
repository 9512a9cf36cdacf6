/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NEURON_IOCTL_H
#define NEURON_IOCTL_H

#include <linux/ioctl.h>
#include "share/neuron_driver_shared.h"

#define NEURON_IOCTL_BASE 'N'

#define NEURON_IOCTL_INFO _IOR(NEURON_IOCTL_BASE, 1, struct neuron_info)
#define NEURON_IOCTL_MEM_ALLOC _IOWR(NEURON_IOCTL_BASE, 2, struct neuron_memory)
#define NEURON_IOCTL_MEM_FREE _IOW(NEURON_IOCTL_BASE, 3, struct neuron_memory)
#define NEURON_IOCTL_MEM_COPY _IOW(NEURON_IOCTL_BASE, 4, struct neuron_copy)
#define NEURON_IOCTL_REG_READ _IOWR(NEURON_IOCTL_BASE, 5, struct neuron_register)
#define NEURON_IOCTL_REG_WRITE _IOW(NEURON_IOCTL_BASE, 6, struct neuron_register)
#define NEURON_IOCTL_NOTIFICATION _IOR(NEURON_IOCTL_BASE, 7, struct neuron_notification)

#endif
