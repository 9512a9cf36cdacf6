/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NEURON_DEBUGFS_H
#define NEURON_DEBUGFS_H

struct neuron_device;

void neuron_debugfs_create(struct neuron_device *nd);
void neuron_debugfs_remove(struct neuron_device *nd);

#endif
