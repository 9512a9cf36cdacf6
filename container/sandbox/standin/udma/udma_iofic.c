// SPDX-License-Identifier: GPL-2.0-only
#include <linux/bitops.h>

#include "udma.h"

void udma_iofic_init(struct udma_iofic *iofic)
{
	iofic->cause = 0;
	iofic->mask = 0;
}

void udma_iofic_raise(struct udma_iofic *iofic, unsigned int bit)
{
	iofic->cause |= BIT(bit % 32);
}

/* The causes that are not masked; reading clears them. */
u32 udma_iofic_pending(struct udma_iofic *iofic)
{
	u32 pending = iofic->cause & ~iofic->mask;

	iofic->cause &= ~pending;
	return pending;
}
