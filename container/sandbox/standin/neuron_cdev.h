/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NEURON_CDEV_H
#define NEURON_CDEV_H

struct neuron_device;

int ncdev_register(struct neuron_device *nd);
void ncdev_unregister(struct neuron_device *nd);

#endif
