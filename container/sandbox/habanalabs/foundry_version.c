// SPDX-License-Identifier: GPL-2.0-only
/* What modinfo(8) shows of a build of the sandbox: its version, and the commit that the package names. */
#include <linux/module.h>

MODULE_VERSION(FOUNDRY_VERSION);
MODULE_INFO(gitsha, FOUNDRY_GIT_SHA);
