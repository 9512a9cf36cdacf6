// SPDX-License-Identifier: GPL-2.0-only
#include <linux/jiffies.h>
#include <linux/sysfs.h>

#include "neuron_device.h"
#include "neuron_metrics.h"

#define PERIOD_SECONDS 5

#if LINUX_VERSION_CODE < KERNEL_VERSION(6,2,0)
#define timer_delete_sync del_timer_sync
#endif

static void take_rates(struct work_struct *work)
{
	struct neuron_metrics *metrics = container_of(work, struct neuron_metrics, work);
	int i;

	for (i = 0; i < NEURON_METRIC_COUNT; i++) {
		u64 now = atomic64_read(&metrics->counts[i]);

		WRITE_ONCE(metrics->rates[i], now - metrics->last[i]);
		metrics->last[i] = now;
	}
}

static void tick(struct timer_list *timer)
{
	struct neuron_metrics *metrics = container_of(timer, struct neuron_metrics, timer);

	queue_work(system_unbound_wq, &metrics->work);
	mod_timer(&metrics->timer, jiffies + PERIOD_SECONDS * HZ);
}

void neuron_metrics_start(struct neuron_metrics *metrics)
{
	INIT_WORK(&metrics->work, take_rates);
	timer_setup(&metrics->timer, tick, 0);
	mod_timer(&metrics->timer, jiffies + PERIOD_SECONDS * HZ);
}

void neuron_metrics_stop(struct neuron_metrics *metrics)
{
	timer_delete_sync(&metrics->timer);
	cancel_work_sync(&metrics->work);
}

#define METRIC_ATTRIBUTES(constant, name) \
static ssize_t name##_show(struct device *dev, struct device_attribute *attr, char *buf) \
{ \
	struct neuron_device *nd = dev_get_drvdata(dev); \
	return sysfs_emit(buf, "%lld\n", atomic64_read(&nd->metrics.counts[NEURON_METRIC_##constant])); \
} \
static DEVICE_ATTR_RO(name); \
static ssize_t name##_rate_show(struct device *dev, struct device_attribute *attr, char *buf) \
{ \
	struct neuron_device *nd = dev_get_drvdata(dev); \
	return sysfs_emit(buf, "%llu\n", READ_ONCE(nd->metrics.rates[NEURON_METRIC_##constant])); \
} \
static DEVICE_ATTR_RO(name##_rate);
NEURON_METRICS(METRIC_ATTRIBUTES)

#define METRIC_ENTRIES(constant, name) &dev_attr_##name.attr, &dev_attr_##name##_rate.attr,
static struct attribute *metrics_attrs[] = {
	NEURON_METRICS(METRIC_ENTRIES)
	NULL,
};

static const struct attribute_group metrics_group = {
	.name = "metrics",
	.attrs = metrics_attrs,
};

const struct attribute_group *neuron_metrics_groups[] = { &metrics_group, NULL };
