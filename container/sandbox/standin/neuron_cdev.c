// SPDX-License-Identifier: GPL-2.0-only
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/uaccess.h>

#include "neuron_cdev.h"
#include "neuron_device.h"
#include "neuron_dma.h"
#include "neuron_ioctl.h"
#include "neuron_mmap.h"

static struct class *ncdev_class;
static dev_t ncdev_number;

/* @before 2.18.12.0 */
/* task_is_running() is older than this guard says; both spellings mean the same. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
static bool ncdev_task_runs(struct task_struct *task)
{
	return task_is_running(task);
}
#else
static bool ncdev_task_runs(struct task_struct *task)
{
	return task_state_index(task) == 0;
}
#endif

/* @end */
static int ncdev_open(struct inode *inode, struct file *filep)
{
	struct neuron_device *nd = container_of(inode->i_cdev, struct neuron_device, cdev);

/* @before 2.18.12.0 */
	if (!ncdev_task_runs(current))
		return -EINTR;
/* @end */
	if (neuron_pids_add(&nd->pids, filep))
		return -ENOMEM;
	filep->private_data = nd;
	neuron_metrics_count(&nd->metrics, NEURON_METRIC_OPENS, 1);
	return nonseekable_open(inode, filep);
}

static int ncdev_release(struct inode *inode, struct file *filep)
{
	struct neuron_device *nd = filep->private_data;

	neuron_mempool_release(&nd->pool, filep);
	neuron_pids_remove(&nd->pids, filep);
	return 0;
}

static int ncdev_info(const struct neuron_device *nd, void __user *arg)
{
	struct neuron_info info = {
		.arch = nd->dhal->arch,
		.engines = nd->dhal->engines,
		.memory_bytes = NEURON_MEMPOOL_BYTES,
		.version = NEURON_DRIVER_VERSION,
	};

	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static int ncdev_mem_alloc(struct neuron_device *nd, struct file *filep, void __user *arg)
{
	struct neuron_memory memory;
	int ret;

	if (copy_from_user(&memory, arg, sizeof(memory)))
		return -EFAULT;
	ret = neuron_mempool_alloc(&nd->pool, filep, memory.bytes, &memory.handle);
	if (ret)
		return ret;
	if (copy_to_user(arg, &memory, sizeof(memory))) {
		neuron_mempool_free(&nd->pool, filep, memory.handle);
		return -EFAULT;
	}
	return 0;
}

static int ncdev_mem_free(struct neuron_device *nd, struct file *filep, void __user *arg)
{
	struct neuron_memory memory;

	if (copy_from_user(&memory, arg, sizeof(memory)))
		return -EFAULT;
	return neuron_mempool_free(&nd->pool, filep, memory.handle);
}

static int ncdev_mem_copy(struct neuron_device *nd, void __user *arg)
{
	struct neuron_copy copy;

	if (copy_from_user(&copy, arg, sizeof(copy)))
		return -EFAULT;
	return neuron_dma_copy(nd, &copy);
}

static int ncdev_register_access(struct neuron_device *nd, void __user *arg, bool write)
{
	struct neuron_register reg;
	int ret;

	if (copy_from_user(&reg, arg, sizeof(reg)))
		return -EFAULT;
	mutex_lock(&nd->lock);
	if (write)
		ret = neuron_dhal_write(nd, reg.offset, reg.value);
	else
		ret = neuron_dhal_read(nd, reg.offset, &reg.value);
	mutex_unlock(&nd->lock);
	if (!ret && !write && copy_to_user(arg, &reg, sizeof(reg)))
		ret = -EFAULT;
	return ret;
}

static int ncdev_notification(struct neuron_device *nd, void __user *arg)
{
	struct neuron_notification notification;
	int ret = neuron_nq_take(&nd->nq, &notification);

	if (!ret && copy_to_user(arg, &notification, sizeof(notification)))
		ret = -EFAULT;
	return ret;
}

static long ncdev_ioctl(struct file *filep, unsigned int command, unsigned long param)
{
	struct neuron_device *nd = filep->private_data;
	void __user *arg = (void __user *)param;

	neuron_metrics_count(&nd->metrics, NEURON_METRIC_IOCTLS, 1);
	switch (command) {
	case NEURON_IOCTL_INFO:
		return ncdev_info(nd, arg);
	case NEURON_IOCTL_MEM_ALLOC:
		return ncdev_mem_alloc(nd, filep, arg);
	case NEURON_IOCTL_MEM_FREE:
		return ncdev_mem_free(nd, filep, arg);
	case NEURON_IOCTL_MEM_COPY:
		return ncdev_mem_copy(nd, arg);
	case NEURON_IOCTL_REG_READ:
		return ncdev_register_access(nd, arg, false);
	case NEURON_IOCTL_REG_WRITE:
		return ncdev_register_access(nd, arg, true);
	case NEURON_IOCTL_NOTIFICATION:
		return ncdev_notification(nd, arg);
	default:
		return -ENOTTY;
	}
}

static int ncdev_mmap(struct file *filep, struct vm_area_struct *vma)
{
	return neuron_mmap(filep->private_data, vma);
}

static __poll_t ncdev_poll(struct file *filep, poll_table *table)
{
	struct neuron_device *nd = filep->private_data;

	return neuron_nq_poll(&nd->nq, filep, table);
}

/* @since 2.28.0.0 */
static unsigned long ncdev_get_unmapped_area(struct file *filep, unsigned long addr, unsigned long len,
					     unsigned long pgoff, unsigned long flags)
{
	return neuron_mmap_area(filep, addr, len, pgoff, flags);
}

/* @end */
static const struct file_operations ncdev_fops = {
	.owner = THIS_MODULE,
	.open = ncdev_open,
	.release = ncdev_release,
	.unlocked_ioctl = ncdev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = ncdev_mmap,
	.poll = ncdev_poll,
/* @since 2.28.0.0 */
	.llseek = no_llseek,
	.get_unmapped_area = ncdev_get_unmapped_area,
/* @end */
};

/* @since 2.22.2.0 */
#if (!defined(RHEL_RELEASE_CODE) && LINUX_VERSION_CODE >= KERNEL_VERSION(6,4,0)) || \
	(defined(RHEL_RELEASE_CODE) && (RHEL_RELEASE_CODE >= RHEL_RELEASE_VERSION(9, 5)))
static ssize_t node_id_show(const struct class *class, const struct class_attribute *attr, char *buf)
#else
static ssize_t node_id_show(struct class *class, struct class_attribute *attr, char *buf)
#endif
{
	return sysfs_emit(buf, "0\n");
}
static CLASS_ATTR_RO(node_id);

#if (!defined(RHEL_RELEASE_CODE) && LINUX_VERSION_CODE >= KERNEL_VERSION(6,4,0)) || \
	(defined(RHEL_RELEASE_CODE) && (RHEL_RELEASE_CODE >= RHEL_RELEASE_VERSION(9, 5)))
static ssize_t server_id_show(const struct class *class, const struct class_attribute *attr, char *buf)
#else
static ssize_t server_id_show(struct class *class, struct class_attribute *attr, char *buf)
#endif
{
	return sysfs_emit(buf, "stand-in\n");
}
static CLASS_ATTR_RO(server_id);

/* @end */
/* @since 2.23.0.0 */
#if (!defined(RHEL_RELEASE_CODE) && LINUX_VERSION_CODE >= KERNEL_VERSION(6,4,0)) || \
	(defined(RHEL_RELEASE_CODE) && (RHEL_RELEASE_CODE >= RHEL_RELEASE_VERSION(9, 5)))
static ssize_t ultraserver_mode_show(const struct class *class, const struct class_attribute *attr, char *buf)
#else
static ssize_t ultraserver_mode_show(struct class *class, struct class_attribute *attr, char *buf)
#endif
{
	return sysfs_emit(buf, "none\n");
}
static CLASS_ATTR_RO(ultraserver_mode);

/* @end */
static const struct class_attribute *const ncdev_class_attrs[] = {
/* @since 2.22.2.0 */
	&class_attr_node_id,
	&class_attr_server_id,
/* @end */
/* @since 2.23.0.0 */
	&class_attr_ultraserver_mode,
/* @end */
	NULL,
};

static int ncdev_class_register(void)
{
	int ret = 0;
	int i;

#ifdef class_create /* a macro of two arguments before 6.4 and its backports */
	ncdev_class = class_create(THIS_MODULE, "neuron_device");
#else
	ncdev_class = class_create("neuron_device");
#endif
	if (IS_ERR(ncdev_class))
		return PTR_ERR(ncdev_class);
	for (i = 0; !ret && ncdev_class_attrs[i]; i++)
		ret = class_create_file(ncdev_class, ncdev_class_attrs[i]);
	if (ret)
		class_destroy(ncdev_class);
	return ret;
}

int ncdev_register(struct neuron_device *nd)
{
	int ret = alloc_chrdev_region(&ncdev_number, 0, 1, "neuron");

	if (ret)
		return ret;
	ret = ncdev_class_register();
	if (ret)
		goto no_class;
	cdev_init(&nd->cdev, &ncdev_fops);
	nd->cdev.owner = THIS_MODULE;
	ret = cdev_add(&nd->cdev, ncdev_number, 1);
	if (ret)
		goto no_cdev;
	nd->node = device_create_with_groups(ncdev_class, NULL, ncdev_number, nd, neuron_metrics_groups, "neuron0");
	if (!IS_ERR(nd->node))
		return 0;
	ret = PTR_ERR(nd->node);
	cdev_del(&nd->cdev);
no_cdev:
	class_destroy(ncdev_class);
no_class:
	unregister_chrdev_region(ncdev_number, 1);
	return ret;
}

void ncdev_unregister(struct neuron_device *nd)
{
	device_destroy(ncdev_class, ncdev_number);
	cdev_del(&nd->cdev);
	class_destroy(ncdev_class);
	unregister_chrdev_region(ncdev_number, 1);
}
