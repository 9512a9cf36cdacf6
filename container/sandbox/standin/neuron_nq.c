// SPDX-License-Identifier: GPL-2.0-only
#include <linux/errno.h>

#include "neuron_device.h"
#include "neuron_nq.h"

void neuron_nq_init(struct neuron_nq *nq)
{
	spin_lock_init(&nq->lock);
	init_waitqueue_head(&nq->readers);
	INIT_KFIFO(nq->entries);
	nq->sequence = 0;
}

void neuron_nq_post(struct neuron_nq *nq, u32 source, u32 status)
{
	struct neuron_device *nd = container_of(nq, struct neuron_device, nq);
	struct neuron_notification notification = { .source = source, .status = status };
	unsigned long flags;

	spin_lock_irqsave(&nq->lock, flags);
	notification.sequence = ++nq->sequence;
	if (!kfifo_put(&nq->entries, notification))
		neuron_metrics_count(&nd->metrics, NEURON_METRIC_DROPPED, 1);
	spin_unlock_irqrestore(&nq->lock, flags);
	neuron_log_add(&nd->log, source, status);
	wake_up_interruptible(&nq->readers);
}

int neuron_nq_take(struct neuron_nq *nq, struct neuron_notification *notification)
{
	int taken;

	spin_lock_irq(&nq->lock);
	taken = kfifo_get(&nq->entries, notification);
	spin_unlock_irq(&nq->lock);
	return taken ? 0 : -EAGAIN;
}

__poll_t neuron_nq_poll(struct neuron_nq *nq, struct file *file, poll_table *table)
{
	poll_wait(file, &nq->readers, table);
	return kfifo_is_empty(&nq->entries) ? 0 : EPOLLIN | EPOLLRDNORM;
}
