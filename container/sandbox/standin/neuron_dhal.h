/* SPDX-License-Identifier: GPL-2.0-only */
/* One table of functions and registers for each generation of the hardware. */
#ifndef NEURON_DHAL_H
#define NEURON_DHAL_H

#include <linux/types.h>
#include "share/neuron_driver_shared.h"

struct neuron_device;
struct seq_file;

struct neuron_dhal_register {
	const char *name;
	u32 offset;
	u32 reset;
	u32 (*read)(const struct neuron_device *nd);
	void (*write)(struct neuron_device *nd, u32 value);
};

struct neuron_dhal {
	const char *name;
	enum neuron_arch arch;
	unsigned int engines;
	const struct neuron_dhal_register *registers;
	size_t register_count;
	void (*notify)(struct neuron_device *nd, u32 source, u32 status);
};

extern const struct neuron_dhal neuron_dhal_v2;
/* @since 2.22.2.0 */
extern const struct neuron_dhal neuron_dhal_v3;
/* @end */

const struct neuron_dhal *neuron_dhal_find(unsigned int arch);
void neuron_dhal_reset(struct neuron_device *nd);
int neuron_dhal_read(const struct neuron_device *nd, u32 offset, u32 *value);
int neuron_dhal_write(struct neuron_device *nd, u32 offset, u32 value);
void neuron_dhal_show(struct seq_file *file, const struct neuron_device *nd);

#endif
