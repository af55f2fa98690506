// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ioctls of a file: arguments in, arguments out
 */
#include <linux/uaccess.h>

#include "ksmfs.h"

union argument {
	struct ksmfs_info info;
	struct ksmfs_collect collect;
	struct ksmfs_merge merge;
	struct ksmfs_split split;
	struct ksmfs_stat stat;
};

static int do_info(struct file *file, union argument *arg)
{
	struct ksmfs_mount *mount = ksmfs_mount(file_inode(file)->i_sb);

	arg->info.abi = KSMFS_ABI;
	arg->info.features = 0;
	arg->info.page_size = PAGE_SIZE;
	arg->info.reserved = 0;
	memcpy(arg->info.seed, mount->seed, sizeof(arg->info.seed));
	return 0;
}

static int do_collect(struct file *file, union argument *arg)
{
	if (arg->collect.flags > KSMFS_COLLECT_PEEK ||
	    hweight32(arg->collect.flags) > 1 ||
	    arg->collect.start > arg->collect.end)
		return -EINVAL;
	return ksmfs_collect(file, &arg->collect);
}

static int do_merge(struct file *file, union argument *arg)
{
	if (arg->merge.flags)
		return -EINVAL;
	return ksmfs_merge(ksmfs_inode(file_inode(file)), &arg->merge);
}

static int do_split(struct file *file, union argument *arg)
{
	if (arg->split.flags || arg->split.start > arg->split.end)
		return -EINVAL;
	return ksmfs_split(ksmfs_inode(file_inode(file)), &arg->split);
}

static int do_stat(struct file *file, union argument *arg)
{
	struct ksmfs_inode *ki = ksmfs_inode(file_inode(file));

	if (arg->stat.flags)
		return -EINVAL;
	arg->stat.pages_private = atomic_long_read(&ki->pages_private);
	arg->stat.pages_sharing = atomic_long_read(&ki->pages_sharing);
	arg->stat.pages_zero = atomic_long_read(&ki->pages_zero);
	arg->stat.merges = atomic_long_read(&ki->merges);
	arg->stat.cow_breaks = atomic_long_read(&ki->cow_breaks);
	return 0;
}

/**
 * struct command - an ioctl
 * @cmd: its number
 * @size: of its structure as we know it
 * @min_size: of its first version
 * @writes: the file must be open for writing
 * @execute: does it
 */
struct command {
	unsigned int cmd;
	u32 size;
	u32 min_size;
	bool writes;
	int (*execute)(struct file *file, union argument *arg);
};

#define COMMAND(NAME, name, last, needs_write)				\
	[_IOC_NR(KSMFS_IOC_##NAME)] = {					\
		.cmd = KSMFS_IOC_##NAME,				\
		.size = sizeof(struct ksmfs_##name),			\
		.min_size = offsetofend(struct ksmfs_##name, last),	\
		.writes = needs_write,					\
		.execute = do_##name,					\
	}

static const struct command commands[] = {
	COMMAND(INFO, info, seed, false),
	COMMAND(COLLECT, collect, next, true),
	COMMAND(MERGE, merge, done, true),
	COMMAND(SPLIT, split, count, true),
	COMMAND(STAT, stat, cow_breaks, false),
};

long ksmfs_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;
	const struct command *command;
	union argument argument;
	u32 size;
	int err;

	if (_IOC_NR(cmd) >= ARRAY_SIZE(commands) ||
	    commands[_IOC_NR(cmd)].cmd != cmd)
		return -ENOTTY;
	command = &commands[_IOC_NR(cmd)];
	if (command->writes && !(file->f_mode & FMODE_WRITE))
		return -EBADF;
	if (get_user(size, (u32 __user *)user))
		return -EFAULT;
	if (size < command->min_size)
		return -EINVAL;
	/* No version will be larger; what is too much is not read through. */
	if (size > PAGE_SIZE)
		return -E2BIG;
	err = copy_struct_from_user(&argument, command->size, user, size);
	if (err)
		return err;
	err = command->execute(file, &argument);
	if (err)
		return err;
	/* A second look at the size would see what is there now. */
	((struct ksmfs_info *)&argument)->size = size;
	if (copy_to_user(user, &argument, min(size, command->size)))
		return -EFAULT;
	return 0;
}

/* The interface is fixed: what is published never moves. */
static_assert(sizeof(struct ksmfs_info) == 56);
static_assert(offsetof(struct ksmfs_info, seed) == 24);
static_assert(sizeof(struct ksmfs_range) == 16);
static_assert(sizeof(struct ksmfs_collect) == 48);
static_assert(offsetof(struct ksmfs_collect, next) == 40);
static_assert(sizeof(struct ksmfs_merge_entry) == 24);
static_assert(offsetof(struct ksmfs_merge_entry, result) == 16);
static_assert(sizeof(struct ksmfs_merge) == 24);
static_assert(offsetof(struct ksmfs_merge, done) == 20);
static_assert(sizeof(struct ksmfs_split) == 48);
static_assert(offsetof(struct ksmfs_split, count) == 40);
static_assert(sizeof(struct ksmfs_stat) == 48);
static_assert(offsetof(struct ksmfs_stat, cow_breaks) == 40);
