// SPDX-License-Identifier: GPL-2.0-only
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/seq_file.h>

#include "neuron_power.h"

#define BYTES_PER_MICROJOULE 4096

void neuron_power_init(struct neuron_power *power)
{
	spin_lock_init(&power->lock);
}

void neuron_power_spend(struct neuron_power *power, u64 bytes)
{
	unsigned int bucket = min_t(unsigned int, ilog2(bytes | 1), NEURON_POWER_BUCKETS - 1);

	spin_lock(&power->lock);
	power->microjoules += div_u64(bytes, BYTES_PER_MICROJOULE);
	power->buckets[bucket]++;
	spin_unlock(&power->lock);
}

void neuron_power_show(struct seq_file *file, struct neuron_power *power)
{
	unsigned int i;

	spin_lock(&power->lock);
	seq_printf(file, "microjoules %llu\n", power->microjoules);
	for (i = 0; i < NEURON_POWER_BUCKETS; i++)
		if (power->buckets[i])
			seq_printf(file, "%llu %llu\n", 1ULL << i, power->buckets[i]);
	spin_unlock(&power->lock);
}
