/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NEURON_LOG_H
#define NEURON_LOG_H

#include <linux/spinlock.h>
#include <linux/types.h>

#define NEURON_LOG_ENTRIES 256

struct seq_file;

struct neuron_log_entry {
	u64 nanoseconds;
	u32 source;
	u32 status;
};

/* The latest notifications, for debugfs. */
struct neuron_log {
	spinlock_t lock;
	u64 count;
	struct neuron_log_entry entries[NEURON_LOG_ENTRIES];
};

void neuron_log_init(struct neuron_log *log);
void neuron_log_add(struct neuron_log *log, u32 source, u32 status);
void neuron_log_show(struct seq_file *file, struct neuron_log *log);

#endif
