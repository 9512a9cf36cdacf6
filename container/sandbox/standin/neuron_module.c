// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>
#include <linux/slab.h>

#include "neuron_cdev.h"
#include "neuron_debugfs.h"
#include "neuron_device.h"
#include "neuron_pci.h"

MODULE_DESCRIPTION("Stand-in for the AWS Neuron driver, for kmod-foundry's sandbox; drives no hardware");
MODULE_AUTHOR("kmod-foundry");
MODULE_LICENSE("GPL");
MODULE_VERSION(NEURON_DRIVER_VERSION);

static unsigned int arch = NEURON_ARCH_V2;
module_param(arch, uint, 0444);
MODULE_PARM_DESC(arch, "generation of the hardware to stand in for");

static struct neuron_device *device;

static struct neuron_device *device_new(const struct neuron_dhal *dhal)
{
	struct neuron_device *nd = kvzalloc(sizeof(*nd), GFP_KERNEL);
	unsigned int i;

	if (!nd)
		return NULL;
	nd->registers = kvzalloc(NEURON_REGISTER_BYTES, GFP_KERNEL);
	if (!nd->registers) {
		kvfree(nd);
		return NULL;
	}
	nd->dhal = dhal;
	mutex_init(&nd->lock);
	neuron_mempool_init(&nd->pool);
	neuron_log_init(&nd->log);
	neuron_nq_init(&nd->nq);
	neuron_pids_init(&nd->pids);
	neuron_reset_init(&nd->reset);
	neuron_power_init(&nd->power);
	for (i = 0; i < UDMA_ENGINES; i++)
		udma_init(&nd->engines[i], i);
	neuron_dhal_reset(nd);
	return nd;
}

static void device_free(struct neuron_device *nd)
{
	neuron_reset_cancel(&nd->reset);
	neuron_mempool_release(&nd->pool, NULL);
	kvfree(nd->registers);
	kvfree(nd);
}

static int __init neuron_init(void)
{
	const struct neuron_dhal *dhal = neuron_dhal_find(arch);
	int ret;

	if (!dhal)
		return -EINVAL;
	device = device_new(dhal);
	if (!device)
		return -ENOMEM;
	neuron_metrics_start(&device->metrics);
	ret = ncdev_register(device);
	if (ret)
		goto no_cdev;
	ret = neuron_pci_register();
	if (ret)
		goto no_pci;
	neuron_debugfs_create(device);
	pr_info("neuron: stand-in %s loaded, drives no hardware\n", NEURON_DRIVER_VERSION);
	return 0;

no_pci:
	ncdev_unregister(device);
no_cdev:
	neuron_metrics_stop(&device->metrics);
	device_free(device);
	return ret;
}

static void __exit neuron_exit(void)
{
	neuron_debugfs_remove(device);
	neuron_pci_unregister();
	ncdev_unregister(device);
	neuron_metrics_stop(&device->metrics);
	device_free(device);
}

module_init(neuron_init);
module_exit(neuron_exit);
