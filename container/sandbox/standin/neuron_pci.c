// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>
#include <linux/pci.h>

#include "neuron_pci.h"

#define VENDOR_AMAZON 0x1d0f

static const struct pci_device_id neuron_pci_ids[] = {
	{ PCI_DEVICE(VENDOR_AMAZON, 0x7164) },
	{ PCI_DEVICE(VENDOR_AMAZON, 0x7264) },
/* @since 2.22.2.0 */
	{ PCI_DEVICE(VENDOR_AMAZON, 0x7364) },
/* @end */
	{ }
};
MODULE_DEVICE_TABLE(pci, neuron_pci_ids);

/* Real hardware is for the real driver. */
static int neuron_pci_probe(struct pci_dev *dev, const struct pci_device_id *id)
{
	pci_info(dev, "declined: this module is a stand-in and drives no hardware\n");
	return -ENODEV;
}

static struct pci_driver neuron_pci_driver = {
	.name = "neuron",
	.id_table = neuron_pci_ids,
	.probe = neuron_pci_probe,
};

int neuron_pci_register(void)
{
	return pci_register_driver(&neuron_pci_driver);
}

void neuron_pci_unregister(void)
{
	pci_unregister_driver(&neuron_pci_driver);
}
