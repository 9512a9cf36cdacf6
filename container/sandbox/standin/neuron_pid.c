// SPDX-License-Identifier: GPL-2.0-only
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "neuron_pid.h"

struct pid_user {
	struct list_head list;
	const void *owner;
	struct pid *pid;
	char name[TASK_COMM_LEN];
};

void neuron_pids_init(struct neuron_pids *pids)
{
	mutex_init(&pids->lock);
	INIT_LIST_HEAD(&pids->users);
}

int neuron_pids_add(struct neuron_pids *pids, const void *owner)
{
	struct pid_user *user = kmalloc(sizeof(*user), GFP_KERNEL);

	if (!user)
		return -ENOMEM;
	user->owner = owner;
	user->pid = get_task_pid(current, PIDTYPE_TGID);
	get_task_comm(user->name, current);
	mutex_lock(&pids->lock);
	list_add_tail(&user->list, &pids->users);
	mutex_unlock(&pids->lock);
	return 0;
}

void neuron_pids_remove(struct neuron_pids *pids, const void *owner)
{
	struct pid_user *user, *next;

	mutex_lock(&pids->lock);
	list_for_each_entry_safe(user, next, &pids->users, list) {
		if (user->owner != owner)
			continue;
		list_del(&user->list);
		put_pid(user->pid);
		kfree(user);
	}
	mutex_unlock(&pids->lock);
}

void neuron_pids_show(struct seq_file *file, struct neuron_pids *pids)
{
	struct pid_user *user;

	mutex_lock(&pids->lock);
	list_for_each_entry(user, &pids->users, list)
		seq_printf(file, "%d %s\n", pid_nr(user->pid), user->name);
	mutex_unlock(&pids->lock);
}
