/* SPDX-License-Identifier: GPL-2.0-only */
/* What the module and programs that open /dev/neuron0 agree on. */
#ifndef NEURON_DRIVER_SHARED_H
#define NEURON_DRIVER_SHARED_H

#include <linux/types.h>

#define NEURON_VERSION_LENGTH 32

enum neuron_arch {
	NEURON_ARCH_V2 = 2,
	NEURON_ARCH_V3 = 3,
};

struct neuron_info {
	__u32 arch;
	__u32 engines;
	__u64 memory_bytes;
	char version[NEURON_VERSION_LENGTH];
};

struct neuron_memory {
	__u64 handle;
	__u64 bytes;
};

struct neuron_copy {
	__u64 from;
	__u64 to;
	__u64 bytes;
};

struct neuron_register {
	__u32 offset;
	__u32 value;
};

struct neuron_notification {
	__u64 sequence;
	__u32 source;
	__u32 status;
};

#endif
