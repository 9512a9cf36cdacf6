// SPDX-License-Identifier: GPL-2.0-only
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "neuron_debugfs.h"
#include "neuron_device.h"

static void show_registers(struct seq_file *file, struct neuron_device *nd)
{
	mutex_lock(&nd->lock);
	neuron_dhal_show(file, nd);
	mutex_unlock(&nd->lock);
}

/* Files to read: VIEW(name, statement that writes it). */
#define VIEWS(VIEW) \
	VIEW(registers, show_registers(file, nd)) \
	VIEW(log, neuron_log_show(file, &nd->log)) \
	VIEW(users, neuron_pids_show(file, &nd->pids)) \
	VIEW(power, neuron_power_show(file, &nd->power))

#define VIEW_FILE(name, statement) \
static int name##_show(struct seq_file *file, void *unused) \
{ \
	struct neuron_device *nd = file->private; \
	statement; \
	return 0; \
} \
DEFINE_SHOW_ATTRIBUTE(name);
VIEWS(VIEW_FILE)

static int reset_set(void *data, u64 milliseconds)
{
	struct neuron_device *nd = data;

	return neuron_reset_schedule(&nd->reset, milliseconds);
}
DEFINE_DEBUGFS_ATTRIBUTE(reset_fops, NULL, reset_set, "%llu\n");

void neuron_debugfs_create(struct neuron_device *nd)
{
	nd->debugfs = debugfs_create_dir("neuron", NULL);
#define VIEW_CREATE(name, statement) debugfs_create_file(#name, 0400, nd->debugfs, nd, &name##_fops);
	VIEWS(VIEW_CREATE)
#undef VIEW_CREATE
	debugfs_create_file_unsafe("reset", 0200, nd->debugfs, nd, &reset_fops);
}

void neuron_debugfs_remove(struct neuron_device *nd)
{
	debugfs_remove_recursive(nd->debugfs);
}
