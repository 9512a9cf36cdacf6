/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NEURON_NQ_H
#define NEURON_NQ_H

#include <linux/kfifo.h>
#include <linux/poll.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "share/neuron_driver_shared.h"

#define NEURON_NQ_ENTRIES 64

/* Notifications that wait to be read; when it is full the newest is dropped. */
struct neuron_nq {
	spinlock_t lock;
	u64 sequence;
	wait_queue_head_t readers;
	DECLARE_KFIFO(entries, struct neuron_notification, NEURON_NQ_ENTRIES);
};

void neuron_nq_init(struct neuron_nq *nq);
void neuron_nq_post(struct neuron_nq *nq, u32 source, u32 status);
int neuron_nq_take(struct neuron_nq *nq, struct neuron_notification *notification);
__poll_t neuron_nq_poll(struct neuron_nq *nq, struct file *file, poll_table *table);

#endif
