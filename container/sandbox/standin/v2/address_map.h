/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef V2_ADDRESS_MAP_H
#define V2_ADDRESS_MAP_H

#define V2_ENGINES 8

/* Blocks, by rising base: BLOCK(name, base). */
#define V2_BLOCKS(BLOCK) \
	BLOCK(pe, 0x0000) \
	BLOCK(act, 0x0400) \
	BLOCK(pool, 0x0800) \
	BLOCK(sp, 0x0c00) \
	BLOCK(dge, 0x1000) \
	BLOCK(axi, 0x1400) \
	BLOCK(noc, 0x1800) \
	BLOCK(irq, 0x1c00) \
	BLOCK(pll, 0x2000) \
	BLOCK(fuse, 0x2400) \
	BLOCK(trace, 0x2800) \
	BLOCK(dram, 0x2c00)

/* Registers of each block, by rising offset: REGISTER(block, base, name, offset, reset). */
#define V2_REGISTERS(REGISTER, block, base) \
	REGISTER(block, base, identity, 0x00, 0x021d0f00 | ((base) >> 8)) \
	REGISTER(block, base, control, 0x04, 0x00000001) \
	REGISTER(block, base, status, 0x08, 0x00000000) \
	REGISTER(block, base, mask, 0x0c, 0xffffffff) \
	REGISTER(block, base, cause, 0x10, 0x00000000) \
	REGISTER(block, base, ring_low, 0x14, 0x00000000) \
	REGISTER(block, base, ring_high, 0x18, 0x00000000) \
	REGISTER(block, base, ring_size, 0x1c, 0x00000040) \
	REGISTER(block, base, head, 0x20, 0x00000000) \
	REGISTER(block, base, tail, 0x24, 0x00000000) \
	REGISTER(block, base, credits, 0x28, 0x00000020) \
	REGISTER(block, base, clock, 0x2c, 0x00002580) \
	REGISTER(block, base, errors, 0x30, 0x00000000) \
	REGISTER(block, base, retries, 0x34, 0x00000003) \
	REGISTER(block, base, timeout, 0x38, 0x000003e8) \
	REGISTER(block, base, scratch, 0x3c, 0x00000000) \
	REGISTER(block, base, limit, 0x40, 0x00000000) \
	REGISTER(block, base, weight, 0x44, 0x00000011) \
	REGISTER(block, base, quota, 0x48, 0x00000022) \
	REGISTER(block, base, budget, 0x4c, 0x00000033) \
	REGISTER(block, base, watch_low, 0x50, 0x00000044) \
	REGISTER(block, base, watch_high, 0x54, 0x00000055) \
	REGISTER(block, base, seed, 0x58, 0x00000066) \
	REGISTER(block, base, parity, 0x5c, 0x00000077)

#endif
