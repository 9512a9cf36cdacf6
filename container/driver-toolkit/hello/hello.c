// SPDX-License-Identifier: GPL-2.0-only
/* The module that a toolkit must be able to compile for its kernel before anybody uses it: it does nothing. */
#include <linux/init.h>
#include <linux/module.h>
#include <linux/slab.h>

static void *greeting;

static int __init hello_init(void)
{
	greeting = kzalloc(64, GFP_KERNEL);
	if (!greeting)
		return -ENOMEM;
	pr_info("hello\n");
	return 0;
}

static void __exit hello_exit(void)
{
	kfree(greeting);
	pr_info("goodbye\n");
}

module_init(hello_init);
module_exit(hello_exit);
MODULE_DESCRIPTION("Proof that a driver toolkit can compile for its kernel");
MODULE_LICENSE("GPL");
