/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NEURON_DEVICE_H
#define NEURON_DEVICE_H

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/mutex.h>
#include <linux/version.h>

#include "neuron_dhal.h"
#include "neuron_log.h"
#include "neuron_mempool.h"
#include "neuron_metrics.h"
#include "neuron_nq.h"
#include "neuron_pid.h"
#include "neuron_power.h"
#include "neuron_reset.h"
#include "udma/udma.h"

#ifndef RHEL_RELEASE_VERSION
#define RHEL_RELEASE_VERSION(major, minor) (((major) << 8) + (minor))
#endif

#define NEURON_DRIVER_VERSION "@VERSION@"
#define NEURON_REGISTER_BYTES 0x10000

struct dentry;

/* The one device there is: all software. */
struct neuron_device {
	const struct neuron_dhal *dhal;
	u32 *registers;
	struct mutex lock; /* registers and engines */
	struct neuron_mempool pool;
	struct neuron_metrics metrics;
	struct neuron_log log;
	struct neuron_nq nq;
	struct neuron_pids pids;
	struct neuron_reset reset;
	struct neuron_power power;
	struct udma_engine engines[UDMA_ENGINES];
	struct cdev cdev;
	struct device *node;
	struct dentry *debugfs;
};

static inline u32 neuron_register_get(const struct neuron_device *nd, u32 offset)
{
	return READ_ONCE(nd->registers[offset / sizeof(u32)]);
}

static inline void neuron_register_set(struct neuron_device *nd, u32 offset, u32 value)
{
	WRITE_ONCE(nd->registers[offset / sizeof(u32)], value);
}

#endif
