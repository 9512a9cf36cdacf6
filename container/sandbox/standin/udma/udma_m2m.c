// SPDX-License-Identifier: GPL-2.0-only
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/string.h>

#include "../neuron_mempool.h"
#include "udma.h"

static void carry_out(struct neuron_ring *ring)
{
	struct neuron_descriptor *descriptor;

	while ((descriptor = neuron_ring_take(ring)))
		memmove(descriptor->to, descriptor->from, descriptor->bytes);
}

/* Memory to memory, a page for each descriptor, the ring emptied when it is full. */
enum udma_status udma_m2m_copy(struct udma_engine *engine, struct neuron_buffer *from,
			       struct neuron_buffer *to, u64 bytes)
{
	u64 done, part;

	if (bytes > from->bytes || bytes > to->bytes)
		return UDMA_BEYOND_END;
	for (done = 0; done < bytes; done += part) {
		part = min_t(u64, bytes - done, PAGE_SIZE);
		while (neuron_ring_put(&engine->ring, from->data + done, to->data + done, part))
			carry_out(&engine->ring);
	}
	carry_out(&engine->ring);
	udma_iofic_raise(&engine->iofic, engine->number);
	return UDMA_DONE;
}
