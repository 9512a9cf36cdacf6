/* SPDX-License-Identifier: GPL-2.0-only */
/* A copy engine in software: a ring of descriptors, an interrupt controller. */
#ifndef UDMA_H
#define UDMA_H

#include <linux/types.h>

#include "../neuron_ring.h"

#define UDMA_ENGINES 16

struct neuron_buffer;

enum udma_status {
	UDMA_DONE = 0,
	UDMA_NO_MEMORY = 1,
	UDMA_BEYOND_END = 2,
	UDMA_RING_FULL = 3,
};

struct udma_iofic {
	u32 cause;
	u32 mask;
};

struct udma_engine {
	unsigned int number;
	struct neuron_ring ring;
	struct udma_iofic iofic;
};

void udma_init(struct udma_engine *engine, unsigned int number);
enum udma_status udma_m2m_copy(struct udma_engine *engine, struct neuron_buffer *from,
			       struct neuron_buffer *to, u64 bytes);
void udma_iofic_init(struct udma_iofic *iofic);
void udma_iofic_raise(struct udma_iofic *iofic, unsigned int bit);
u32 udma_iofic_pending(struct udma_iofic *iofic);

#endif
