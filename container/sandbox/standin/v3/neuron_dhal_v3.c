/* @since 2.22.2.0 */
// SPDX-License-Identifier: GPL-2.0-only
#include "address_map.h"
#include "../neuron_device.h"
#include "../udma/udma.h"

#define ACCESSORS(block, base, name, offset, initial) \
static u32 v3_##block##_##name##_read(const struct neuron_device *nd) \
{ \
	return neuron_register_get(nd, (base) + (offset)); \
} \
static void v3_##block##_##name##_write(struct neuron_device *nd, u32 value) \
{ \
	neuron_register_set(nd, (base) + (offset), value); \
}
#define BLOCK_ACCESSORS(block, base) V3_REGISTERS(ACCESSORS, block, base)
V3_BLOCKS(BLOCK_ACCESSORS)

#define ENTRY(block, base, label, place, initial) { \
	.name = #block "." #label, \
	.offset = (base) + (place), \
	.reset = (initial), \
	.read = v3_##block##_##label##_read, \
	.write = v3_##block##_##label##_write, \
},
#define BLOCK_ENTRIES(block, base) V3_REGISTERS(ENTRY, block, base)
static const struct neuron_dhal_register v3_registers[] = {
	V3_BLOCKS(BLOCK_ENTRIES)
};

static void v3_notify(struct neuron_device *nd, u32 source, u32 status)
{
	v3_axi_status_write(nd, status);
	v3_axi_cause_write(nd, v3_axi_cause_read(nd) | BIT(source % 32));
	neuron_nq_post(&nd->nq, source, status);
}

const struct neuron_dhal neuron_dhal_v3 = {
	.name = "v3",
	.arch = NEURON_ARCH_V3,
	.engines = V3_ENGINES,
	.registers = v3_registers,
	.register_count = ARRAY_SIZE(v3_registers),
	.notify = v3_notify,
};
/* @end */
