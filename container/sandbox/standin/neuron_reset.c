// SPDX-License-Identifier: GPL-2.0-only
#include <linux/jiffies.h>

#include "neuron_device.h"
#include "neuron_reset.h"

#define LONGEST_MILLISECONDS 60000

static void reset_work(struct work_struct *work)
{
	struct neuron_reset *reset = container_of(to_delayed_work(work), struct neuron_reset, work);
	struct neuron_device *nd = container_of(reset, struct neuron_device, reset);

	mutex_lock(&nd->lock);
	neuron_dhal_reset(nd);
	nd->dhal->notify(nd, 0, UDMA_DONE);
	mutex_unlock(&nd->lock);
}

void neuron_reset_init(struct neuron_reset *reset)
{
	INIT_DELAYED_WORK(&reset->work, reset_work);
}

int neuron_reset_schedule(struct neuron_reset *reset, u64 milliseconds)
{
	if (milliseconds > LONGEST_MILLISECONDS)
		return -EINVAL;
	mod_delayed_work(system_wq, &reset->work, msecs_to_jiffies(milliseconds));
	return 0;
}

void neuron_reset_cancel(struct neuron_reset *reset)
{
	cancel_delayed_work_sync(&reset->work);
}
