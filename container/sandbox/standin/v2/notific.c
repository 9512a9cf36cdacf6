// SPDX-License-Identifier: GPL-2.0-only
#include <linux/kernel.h>

#include "notific.h"

#define STATUSES(STATUS) \
	STATUS(0, "done") \
	STATUS(1, "refused: no memory behind the handle") \
	STATUS(2, "refused: beyond the end of the memory") \
	STATUS(3, "refused: the ring is full")

#define STATUS_NAME(number, text) [number] = text,
static const char *const names[] = { STATUSES(STATUS_NAME) };

const char *v2_notification_name(u32 status)
{
	return status < ARRAY_SIZE(names) ? names[status] : "unknown";
}
