/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef V2_NOTIFIC_H
#define V2_NOTIFIC_H

#include <linux/types.h>

/* What the notification of a v2 engine means, for the log; never NULL. */
const char *v2_notification_name(u32 status);

#endif
