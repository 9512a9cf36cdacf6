// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "neuron_mempool.h"

void neuron_mempool_init(struct neuron_mempool *pool)
{
	mutex_init(&pool->lock);
	xa_init_flags(&pool->buffers, XA_FLAGS_ALLOC1);
	pool->used = 0;
}

static void buffer_release(struct kref *users)
{
	struct neuron_buffer *buffer = container_of(users, struct neuron_buffer, users);

	vfree(buffer->data);
	kfree(buffer);
}

void neuron_buffer_put(struct neuron_buffer *buffer)
{
	kref_put(&buffer->users, buffer_release);
}

static struct neuron_buffer *buffer_new(const void *owner, u64 bytes)
{
	struct neuron_buffer *buffer = kzalloc(sizeof(*buffer), GFP_KERNEL);

	if (!buffer)
		return NULL;
	buffer->data = vmalloc_user(bytes);
	if (!buffer->data) {
		kfree(buffer);
		return NULL;
	}
	kref_init(&buffer->users);
	buffer->bytes = bytes;
	buffer->owner = owner;
	return buffer;
}

int neuron_mempool_alloc(struct neuron_mempool *pool, const void *owner, u64 bytes, u64 *handle)
{
	struct neuron_buffer *buffer;
	u32 index;
	int ret;

	if (!bytes || bytes > NEURON_MEMPOOL_BYTES)
		return -EINVAL;
	bytes = PAGE_ALIGN(bytes);
	mutex_lock(&pool->lock);
	if (pool->used + bytes > NEURON_MEMPOOL_BYTES) {
		ret = -ENOSPC;
		goto out;
	}
	buffer = buffer_new(owner, bytes);
	if (!buffer) {
		ret = -ENOMEM;
		goto out;
	}
	ret = xa_alloc(&pool->buffers, &index, buffer, xa_limit_31b, GFP_KERNEL);
	if (ret) {
		neuron_buffer_put(buffer);
		goto out;
	}
	pool->used += bytes;
	*handle = index;
out:
	mutex_unlock(&pool->lock);
	return ret;
}

static void drop(struct neuron_mempool *pool, unsigned long index, struct neuron_buffer *buffer)
{
	xa_erase(&pool->buffers, index);
	pool->used -= buffer->bytes;
	neuron_buffer_put(buffer);
}

int neuron_mempool_free(struct neuron_mempool *pool, const void *owner, u64 handle)
{
	struct neuron_buffer *buffer;
	int ret = 0;

	mutex_lock(&pool->lock);
	buffer = xa_load(&pool->buffers, handle);
	if (buffer && buffer->owner == owner)
		drop(pool, handle, buffer);
	else
		ret = -ENOENT;
	mutex_unlock(&pool->lock);
	return ret;
}

/* Drops what an open file still owns; with a NULL owner, all there is. */
void neuron_mempool_release(struct neuron_mempool *pool, const void *owner)
{
	struct neuron_buffer *buffer;
	unsigned long index;

	mutex_lock(&pool->lock);
	xa_for_each(&pool->buffers, index, buffer)
		if (!owner || buffer->owner == owner)
			drop(pool, index, buffer);
	mutex_unlock(&pool->lock);
}

struct neuron_buffer *neuron_mempool_get(struct neuron_mempool *pool, u64 handle)
{
	struct neuron_buffer *buffer;

	mutex_lock(&pool->lock);
	buffer = xa_load(&pool->buffers, handle);
	if (buffer)
		kref_get(&buffer->users);
	mutex_unlock(&pool->lock);
	return buffer;
}
