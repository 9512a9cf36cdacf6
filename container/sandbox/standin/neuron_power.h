/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NEURON_POWER_H
#define NEURON_POWER_H

#include <linux/spinlock.h>
#include <linux/types.h>

#define NEURON_POWER_BUCKETS 32

struct seq_file;

/* What copies would have cost: a histogram over the powers of two of their sizes. */
struct neuron_power {
	spinlock_t lock;
	u64 microjoules;
	u64 buckets[NEURON_POWER_BUCKETS];
};

void neuron_power_init(struct neuron_power *power);
void neuron_power_spend(struct neuron_power *power, u64 bytes);
void neuron_power_show(struct seq_file *file, struct neuron_power *power);

#endif
