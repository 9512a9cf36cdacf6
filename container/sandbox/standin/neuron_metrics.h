/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NEURON_METRICS_H
#define NEURON_METRICS_H

#include <linux/atomic.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

/* Counters: METRIC(constant, name). */
#define NEURON_METRICS(METRIC) \
	METRIC(OPENS, opens) \
	METRIC(IOCTLS, ioctls) \
	METRIC(MMAPS, mmaps) \
	METRIC(COPIES, copies) \
	METRIC(BYTES, bytes) \
	METRIC(DROPPED, dropped)

enum neuron_metric {
#define METRIC_CONSTANT(constant, name) NEURON_METRIC_##constant,
	NEURON_METRICS(METRIC_CONSTANT)
#undef METRIC_CONSTANT
	NEURON_METRIC_COUNT,
};

struct device;
struct attribute_group;

struct neuron_metrics {
	atomic64_t counts[NEURON_METRIC_COUNT];
	u64 rates[NEURON_METRIC_COUNT]; /* per period */
	u64 last[NEURON_METRIC_COUNT];
	struct timer_list timer;
	struct work_struct work;
};

extern const struct attribute_group *neuron_metrics_groups[];

void neuron_metrics_start(struct neuron_metrics *metrics);
void neuron_metrics_stop(struct neuron_metrics *metrics);

static inline void neuron_metrics_count(struct neuron_metrics *metrics, enum neuron_metric which, u64 by)
{
	atomic64_add(by, &metrics->counts[which]);
}

#endif
