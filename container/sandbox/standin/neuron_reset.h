/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NEURON_RESET_H
#define NEURON_RESET_H

#include <linux/types.h>
#include <linux/workqueue.h>

/* Puts every register back, some time from now. */
struct neuron_reset {
	struct delayed_work work;
};

void neuron_reset_init(struct neuron_reset *reset);
int neuron_reset_schedule(struct neuron_reset *reset, u64 milliseconds);
void neuron_reset_cancel(struct neuron_reset *reset);

#endif
