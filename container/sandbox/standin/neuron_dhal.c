// SPDX-License-Identifier: GPL-2.0-only
#include <linux/bsearch.h>
#include <linux/errno.h>
#include <linux/seq_file.h>

#include "neuron_device.h"

static const struct neuron_dhal *const generations[] = {
	&neuron_dhal_v2,
/* @since 2.22.2.0 */
	&neuron_dhal_v3,
/* @end */
};

const struct neuron_dhal *neuron_dhal_find(unsigned int arch)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(generations); i++)
		if (generations[i]->arch == arch)
			return generations[i];
	return NULL;
}

void neuron_dhal_reset(struct neuron_device *nd)
{
	size_t i;

	for (i = 0; i < nd->dhal->register_count; i++)
		nd->dhal->registers[i].write(nd, nd->dhal->registers[i].reset);
}

static int compare_offset(const void *key, const void *element)
{
	const u32 *offset = key;
	const struct neuron_dhal_register *reg = element;

	return *offset < reg->offset ? -1 : *offset > reg->offset;
}

static const struct neuron_dhal_register *find(const struct neuron_device *nd, u32 offset)
{
	return bsearch(&offset, nd->dhal->registers, nd->dhal->register_count,
		       sizeof(*nd->dhal->registers), compare_offset);
}

int neuron_dhal_read(const struct neuron_device *nd, u32 offset, u32 *value)
{
	const struct neuron_dhal_register *reg = find(nd, offset);

	if (!reg)
		return -ENOENT;
	*value = reg->read(nd);
	return 0;
}

int neuron_dhal_write(struct neuron_device *nd, u32 offset, u32 value)
{
	const struct neuron_dhal_register *reg = find(nd, offset);

	if (!reg)
		return -ENOENT;
	reg->write(nd, value);
	return 0;
}

void neuron_dhal_show(struct seq_file *file, const struct neuron_device *nd)
{
	const struct neuron_dhal_register *reg = nd->dhal->registers;
	size_t i;

	for (i = 0; i < nd->dhal->register_count; i++, reg++)
		seq_printf(file, "%06x %-32s %08x\n", reg->offset, reg->name, reg->read(nd));
}
