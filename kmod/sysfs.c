// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counters of a mount: /sys/fs/ksmfs/MAJOR:MINOR, under KSM's names
 */
#include <linux/kobject.h>
#include <linux/sysfs.h>

#include "ksmfs.h"

static struct kset *ksmfs_kset;

static struct ksmfs_mount *mount_of(struct kobject *kobj)
{
	return container_of(kobj, struct ksmfs_mount, kobj);
}

static s64 sum(struct percpu_counter *counter)
{
	return percpu_counter_sum_positive(counter);
}

#define COUNTER(name, value)						\
static ssize_t name##_show(struct kobject *kobj,			\
			   struct kobj_attribute *attr, char *buf)	\
{									\
	struct ksmfs_mount *mount = mount_of(kobj);			\
									\
	return sysfs_emit(buf, "%lld\n", (s64)(value));			\
}									\
static struct kobj_attribute name##_attr = __ATTR_RO(name)

/* As in KSM, those that would be there without merging, and are not. */
COUNTER(pages_sharing, max(sum(&mount->pages_sharing) -
			   sum(&mount->pages_shared), 0LL));
COUNTER(pages_shared, sum(&mount->pages_shared));
COUNTER(pages_unshared, sum(&mount->pages_unshared));
COUNTER(ksm_zero_pages, sum(&mount->pages_zero));
/* Of all files, as if nothing was merged; and in memory. */
COUNTER(pages_used, sum(&mount->used));
COUNTER(pages_allocated, sum(&mount->allocated));
COUNTER(merges, sum(&mount->merges));
COUNTER(cow_breaks, sum(&mount->cow_breaks));
COUNTER(merge_across_nodes, mount->options.merge_across_nodes);

static ssize_t max_kernel_pages_show(struct kobject *kobj,
				     struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%lu\n",
			  READ_ONCE(mount_of(kobj)->options.max_shared));
}

static ssize_t max_kernel_pages_store(struct kobject *kobj,
				      struct kobj_attribute *attr,
				      const char *buf, size_t count)
{
	unsigned long value;
	int err = kstrtoul(buf, 10, &value);

	if (err)
		return err;
	WRITE_ONCE(mount_of(kobj)->options.max_shared, value);
	return count;
}

static struct kobj_attribute max_kernel_pages_attr =
	__ATTR_RW(max_kernel_pages);

static struct attribute *ksmfs_attrs[] = {
	&pages_sharing_attr.attr,
	&pages_shared_attr.attr,
	&pages_unshared_attr.attr,
	&ksm_zero_pages_attr.attr,
	&pages_used_attr.attr,
	&pages_allocated_attr.attr,
	&merges_attr.attr,
	&cow_breaks_attr.attr,
	&merge_across_nodes_attr.attr,
	&max_kernel_pages_attr.attr,
	NULL
};
ATTRIBUTE_GROUPS(ksmfs);

static void ksmfs_kobj_release(struct kobject *kobj)
{
	complete(&mount_of(kobj)->kobj_released);
}

static const struct kobj_type ksmfs_ktype = {
	.sysfs_ops = &kobj_sysfs_ops,
	.default_groups = ksmfs_groups,
	.release = ksmfs_kobj_release,
};

int ksmfs_sysfs_add(struct ksmfs_mount *mount, dev_t dev)
{
	init_completion(&mount->kobj_released);
	mount->kobj.kset = ksmfs_kset;
	return kobject_init_and_add(&mount->kobj, &ksmfs_ktype, NULL, "%u:%u",
				    MAJOR(dev), MINOR(dev));
}

void ksmfs_sysfs_remove(struct ksmfs_mount *mount)
{
	if (!mount->kobj.state_initialized)
		return;
	kobject_put(&mount->kobj);
	wait_for_completion(&mount->kobj_released);
}

int ksmfs_sysfs_init(void)
{
	ksmfs_kset = kset_create_and_add("ksmfs", NULL, fs_kobj);
	return ksmfs_kset ? 0 : -ENOMEM;
}

void ksmfs_sysfs_exit(void)
{
	kset_unregister(ksmfs_kset);
}
