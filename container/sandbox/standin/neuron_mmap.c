// SPDX-License-Identifier: GPL-2.0-only
#include <linux/vmalloc.h>

#include "neuron_device.h"
#include "neuron_mmap.h"

#if LINUX_VERSION_CODE < KERNEL_VERSION(6,3,0)
static void vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags |= flags;
}
#endif

int neuron_mmap(struct neuron_device *nd, struct vm_area_struct *vma)
{
	struct neuron_buffer *buffer = neuron_mempool_get(&nd->pool, vma->vm_pgoff);
	int ret;

	if (!buffer)
		return -ENOENT;
	vm_flags_set(vma, VM_DONTCOPY | VM_DONTEXPAND);
	ret = remap_vmalloc_range(vma, buffer->data, 0); /* takes its own hold on the pages */
	neuron_buffer_put(buffer);
	if (!ret)
		neuron_metrics_count(&nd->metrics, NEURON_METRIC_MMAPS, 1);
	return ret;
}
