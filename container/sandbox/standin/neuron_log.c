// SPDX-License-Identifier: GPL-2.0-only
#include <linux/ktime.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "neuron_log.h"
#include "v2/notific.h"

void neuron_log_init(struct neuron_log *log)
{
	spin_lock_init(&log->lock);
	log->count = 0;
}

void neuron_log_add(struct neuron_log *log, u32 source, u32 status)
{
	struct neuron_log_entry *entry;
	unsigned long flags;

	spin_lock_irqsave(&log->lock, flags);
	entry = &log->entries[log->count++ % NEURON_LOG_ENTRIES];
	entry->nanoseconds = ktime_get_ns();
	entry->source = source;
	entry->status = status;
	spin_unlock_irqrestore(&log->lock, flags);
}

void neuron_log_show(struct seq_file *file, struct neuron_log *log)
{
	struct neuron_log_entry *copy;
	u64 count, i;

	copy = kmalloc(sizeof(log->entries), GFP_KERNEL);
	if (!copy)
		return;
	spin_lock_irq(&log->lock);
	count = log->count;
	memcpy(copy, log->entries, sizeof(log->entries));
	spin_unlock_irq(&log->lock);
	for (i = count > NEURON_LOG_ENTRIES ? count - NEURON_LOG_ENTRIES : 0; i < count; i++) {
		const struct neuron_log_entry *entry = &copy[i % NEURON_LOG_ENTRIES];

		seq_printf(file, "%llu %u %s\n", entry->nanoseconds, entry->source,
			   v2_notification_name(entry->status));
	}
	kfree(copy);
}
