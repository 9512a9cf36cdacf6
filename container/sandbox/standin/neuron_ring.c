// SPDX-License-Identifier: GPL-2.0-only
#include <linux/build_bug.h>
#include <linux/errno.h>
#include <linux/log2.h>

#include "neuron_ring.h"

void neuron_ring_init(struct neuron_ring *ring)
{
	BUILD_BUG_ON(!is_power_of_2(NEURON_RING_DESCRIPTORS));
	ring->head = 0;
	ring->tail = 0;
}

int neuron_ring_put(struct neuron_ring *ring, const void *from, void *to, u64 bytes)
{
	struct neuron_descriptor *descriptor;

	if (ring->tail - ring->head == NEURON_RING_DESCRIPTORS)
		return -ENOSPC;
	descriptor = &ring->descriptors[ring->tail++ % NEURON_RING_DESCRIPTORS];
	descriptor->from = from;
	descriptor->to = to;
	descriptor->bytes = bytes;
	return 0;
}

/* The oldest descriptor, or NULL; good until the next neuron_ring_put(). */
struct neuron_descriptor *neuron_ring_take(struct neuron_ring *ring)
{
	if (ring->head == ring->tail)
		return NULL;
	return &ring->descriptors[ring->head++ % NEURON_RING_DESCRIPTORS];
}
