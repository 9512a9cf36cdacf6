/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NEURON_MMAP_H
#define NEURON_MMAP_H

#include <linux/fs.h>
#include <linux/mm.h>
/* @since 2.28.0.0 */
#include <linux/sched.h>
#include <linux/version.h>
/* @end */

struct neuron_device;

/* Maps the buffer whose handle is the page offset. */
int neuron_mmap(struct neuron_device *nd, struct vm_area_struct *vma);
/* @since 2.28.0.0 */

/* Where the process would map a file of its own accord. */
static inline unsigned long neuron_mmap_area(struct file *filep, unsigned long addr, unsigned long len,
					     unsigned long pgoff, unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6,10,0)
	return mm_get_unmapped_area(current->mm, filep, addr, len, pgoff, flags);
#else
	return current->mm->get_unmapped_area(filep, addr, len, pgoff, flags);
#endif
}
/* @end */

#endif
