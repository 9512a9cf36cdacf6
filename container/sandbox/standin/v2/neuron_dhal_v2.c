// SPDX-License-Identifier: GPL-2.0-only
#include "address_map.h"
#include "../neuron_device.h"
#include "udma.h"

#define ACCESSORS(block, base, name, offset, initial) \
static u32 v2_##block##_##name##_read(const struct neuron_device *nd) \
{ \
	return neuron_register_get(nd, (base) + (offset)); \
} \
static void v2_##block##_##name##_write(struct neuron_device *nd, u32 value) \
{ \
	neuron_register_set(nd, (base) + (offset), value); \
}
#define BLOCK_ACCESSORS(block, base) V2_REGISTERS(ACCESSORS, block, base)
V2_BLOCKS(BLOCK_ACCESSORS)

#define ENTRY(block, base, label, place, initial) { \
	.name = #block "." #label, \
	.offset = (base) + (place), \
	.reset = (initial), \
	.read = v2_##block##_##label##_read, \
	.write = v2_##block##_##label##_write, \
},
#define BLOCK_ENTRIES(block, base) V2_REGISTERS(ENTRY, block, base)
static const struct neuron_dhal_register v2_registers[] = {
	V2_BLOCKS(BLOCK_ENTRIES)
};

static void v2_notify(struct neuron_device *nd, u32 source, u32 status)
{
	v2_axi_status_write(nd, status);
	v2_axi_cause_write(nd, v2_axi_cause_read(nd) | BIT(source % 32));
	neuron_nq_post(&nd->nq, source, status);
}

const struct neuron_dhal neuron_dhal_v2 = {
	.name = "v2",
	.arch = NEURON_ARCH_V2,
	.engines = V2_ENGINES,
	.registers = v2_registers,
	.register_count = ARRAY_SIZE(v2_registers),
	.notify = v2_notify,
};
