// SPDX-License-Identifier: GPL-2.0-only
#include "udma.h"

void udma_init(struct udma_engine *engine, unsigned int number)
{
	engine->number = number;
	neuron_ring_init(&engine->ring);
	udma_iofic_init(&engine->iofic);
}
