/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Operations on directories, as older kernels call them
 *
 * Included where the operations are defined and not yet in their table: what
 * it defines takes their place there.
 */
#ifndef KSMFS_COMPAT_DIRECTORY_H
#define KSMFS_COMPAT_DIRECTORY_H

#include "compat.h"

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 3, 0)
/* Whether the name must be new matters where others have the directory too. */
static int ksmfs_create_excl(struct mnt_idmap *idmap, struct inode *dir,
			     struct dentry *dentry, umode_t mode, bool excl)
{
	return ksmfs_create(idmap, dir, dentry, mode);
}

#define ksmfs_create ksmfs_create_excl
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
/* None could say that it made another dentry than it was given. */
static int ksmfs_mkdir_here(struct mnt_idmap *idmap, struct inode *dir,
			    struct dentry *dentry, umode_t mode)
{
	return PTR_ERR_OR_ZERO(ksmfs_mkdir(idmap, dir, dentry, mode));
}

#define ksmfs_mkdir ksmfs_mkdir_here
#endif

#endif
