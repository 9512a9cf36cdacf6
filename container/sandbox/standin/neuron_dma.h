/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NEURON_DMA_H
#define NEURON_DMA_H

#include "share/neuron_driver_shared.h"

struct neuron_device;

int neuron_dma_copy(struct neuron_device *nd, const struct neuron_copy *copy);

#endif
