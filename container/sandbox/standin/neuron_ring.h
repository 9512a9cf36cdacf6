/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NEURON_RING_H
#define NEURON_RING_H

#include <linux/types.h>

#define NEURON_RING_DESCRIPTORS 64 /* a power of two */

struct neuron_descriptor {
	const void *from;
	void *to;
	u64 bytes;
};

struct neuron_ring {
	u32 head;
	u32 tail;
	struct neuron_descriptor descriptors[NEURON_RING_DESCRIPTORS];
};

void neuron_ring_init(struct neuron_ring *ring);
int neuron_ring_put(struct neuron_ring *ring, const void *from, void *to, u64 bytes);
struct neuron_descriptor *neuron_ring_take(struct neuron_ring *ring);

#endif
