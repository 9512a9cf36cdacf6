/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NEURON_MEMPOOL_H
#define NEURON_MEMPOOL_H

#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/xarray.h>

#define NEURON_MEMPOOL_BYTES (64ULL << 20)

struct neuron_buffer {
	struct kref users;
	u64 bytes;
	void *data;
	const void *owner; /* the open file that asked for it */
};

/* Stands in for the memory of a device: buffers by handle. */
struct neuron_mempool {
	struct mutex lock;
	struct xarray buffers;
	u64 used;
};

void neuron_mempool_init(struct neuron_mempool *pool);
int neuron_mempool_alloc(struct neuron_mempool *pool, const void *owner, u64 bytes, u64 *handle);
int neuron_mempool_free(struct neuron_mempool *pool, const void *owner, u64 handle);
void neuron_mempool_release(struct neuron_mempool *pool, const void *owner);
struct neuron_buffer *neuron_mempool_get(struct neuron_mempool *pool, u64 handle);
void neuron_buffer_put(struct neuron_buffer *buffer);

#endif
