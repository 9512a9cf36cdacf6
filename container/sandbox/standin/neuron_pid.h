/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NEURON_PID_H
#define NEURON_PID_H

#include <linux/list.h>
#include <linux/mutex.h>

struct seq_file;

/* Who has the device open. */
struct neuron_pids {
	struct mutex lock;
	struct list_head users;
};

void neuron_pids_init(struct neuron_pids *pids);
int neuron_pids_add(struct neuron_pids *pids, const void *owner);
void neuron_pids_remove(struct neuron_pids *pids, const void *owner);
void neuron_pids_show(struct seq_file *file, struct neuron_pids *pids);

#endif
