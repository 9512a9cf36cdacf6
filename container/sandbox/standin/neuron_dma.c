// SPDX-License-Identifier: GPL-2.0-only
#include <linux/errno.h>
#include <linux/hash.h>

#include "neuron_device.h"
#include "neuron_dma.h"

static enum udma_status copy_buffers(struct neuron_device *nd, struct udma_engine *engine,
				     const struct neuron_copy *copy)
{
	struct neuron_buffer *from = neuron_mempool_get(&nd->pool, copy->from);
	struct neuron_buffer *to = neuron_mempool_get(&nd->pool, copy->to);
	enum udma_status status = UDMA_NO_MEMORY;

	if (from && to)
		status = udma_m2m_copy(engine, from, to, copy->bytes);
	if (to)
		neuron_buffer_put(to);
	if (from)
		neuron_buffer_put(from);
	return status;
}

/* Copies from buffer to buffer on the engine that the target's handle falls to. */
int neuron_dma_copy(struct neuron_device *nd, const struct neuron_copy *copy)
{
	unsigned int number = hash_64(copy->to, 8) % nd->dhal->engines;
	struct udma_engine *engine = &nd->engines[number];
	enum udma_status status;

	if (mutex_lock_interruptible(&nd->lock))
		return -ERESTARTSYS;
	status = copy_buffers(nd, engine, copy);
	if (status == UDMA_DONE) {
		neuron_metrics_count(&nd->metrics, NEURON_METRIC_COPIES, 1);
		neuron_metrics_count(&nd->metrics, NEURON_METRIC_BYTES, copy->bytes);
		neuron_power_spend(&nd->power, copy->bytes);
	}
	if (status != UDMA_DONE || udma_iofic_pending(&engine->iofic))
		nd->dhal->notify(nd, number, status);
	mutex_unlock(&nd->lock);
	return status == UDMA_DONE ? 0 : -EINVAL;
}
