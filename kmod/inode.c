// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inodes and directories: as of any filesystem in memory
 */
#include <linux/memcontrol.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>

#include "compat/compat.h"
#include "ksmfs.h"

const struct address_space_operations ksmfs_aops = {
	.dirty_folio = noop_dirty_folio,
};

static int ksmfs_mknod(struct mnt_idmap *idmap, struct inode *dir,
		       struct dentry *dentry, umode_t mode, dev_t dev)
{
	struct inode *inode = ksmfs_new_inode(dir->i_sb, dir, mode, dev);

	if (!inode)
		return -ENOSPC;
	d_make_persistent(dentry, inode);
	inode_set_mtime_to_ts(dir, inode_set_ctime_current(dir));
	return 0;
}

static int ksmfs_create(struct mnt_idmap *idmap, struct inode *dir,
			struct dentry *dentry, umode_t mode)
{
	return ksmfs_mknod(idmap, dir, dentry, mode | S_IFREG, 0);
}

static struct dentry *ksmfs_mkdir(struct mnt_idmap *idmap, struct inode *dir,
				  struct dentry *dentry, umode_t mode)
{
	int err = ksmfs_mknod(idmap, dir, dentry, mode | S_IFDIR, 0);

	if (!err)
		inc_nlink(dir);
	return ERR_PTR(err);
}

static int ksmfs_symlink(struct mnt_idmap *idmap, struct inode *dir,
			 struct dentry *dentry, const char *target)
{
	struct inode *inode;

	inode = ksmfs_new_inode(dir->i_sb, dir, S_IFLNK | 0777, 0);
	if (!inode)
		return -ENOSPC;
	inode->i_link = kstrdup(target, GFP_KERNEL_ACCOUNT);
	if (!inode->i_link) {
		iput(inode);
		return -ENOMEM;
	}
	d_make_persistent(dentry, inode);
	inode_set_mtime_to_ts(dir, inode_set_ctime_current(dir));
	return 0;
}

static int ksmfs_tmpfile(struct mnt_idmap *idmap, struct inode *dir,
			 struct file *file, umode_t mode)
{
	struct inode *inode = ksmfs_new_inode(dir->i_sb, dir, mode, 0);

	if (!inode)
		return -ENOSPC;
	d_tmpfile(file, inode);
	return finish_open_simple(file, 0);
}

#include "compat/directory.h"

static const struct inode_operations ksmfs_dir_inode_operations = {
	.create = ksmfs_create,
	.lookup = simple_lookup,
	.link = simple_link,
	.unlink = simple_unlink,
	.symlink = ksmfs_symlink,
	.mkdir = ksmfs_mkdir,
	.rmdir = simple_rmdir,
	.mknod = ksmfs_mknod,
	.rename = simple_rename,
	.tmpfile = ksmfs_tmpfile,
};

struct inode *ksmfs_new_inode(struct super_block *sb, struct inode *dir,
			      umode_t mode, dev_t dev)
{
	struct inode *inode = new_inode(sb);

	if (!inode)
		return NULL;
	inode->i_ino = get_next_ino();
	inode_init_owner(&nop_mnt_idmap, inode, dir, mode);
	inode->i_mapping->a_ops = &ksmfs_aops;
	mapping_set_unevictable(inode->i_mapping);
	simple_inode_init_ts(inode);
	switch (mode & S_IFMT) {
	case S_IFREG:
		inode->i_op = &ksmfs_file_inode_operations;
		inode->i_fop = &ksmfs_file_operations;
		ksmfs_inode(inode)->memcg = get_mem_cgroup_from_mm(current->mm);
		break;
	case S_IFDIR:
		inode->i_op = &ksmfs_dir_inode_operations;
		inode->i_fop = &simple_dir_operations;
		inc_nlink(inode);
		break;
	case S_IFLNK:
		inode->i_op = &simple_symlink_inode_operations;
		break;
	default:
		init_special_inode(inode, mode, dev);
		break;
	}
	return inode;
}
