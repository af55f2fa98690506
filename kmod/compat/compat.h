/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels that ksmfs is built for
 *
 * The other files are written for Linux 7.3.  What older kernels (6.1 and 6.12
 * are tested) lack of it is made here of what they have.  Directories have a
 * header of their own.
 */
#ifndef KSMFS_COMPAT_H
#define KSMFS_COMPAT_H

#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/splice.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/version.h>

#if !IS_ENABLED(CONFIG_64BIT)
#error "ksmfs needs a 64-bit kernel: a digest is kept in a field of struct page"
#endif

#if !IS_ENABLED(CONFIG_MAPPING_DIRTY_HELPERS)
#error "ksmfs needs CONFIG_MAPPING_DIRTY_HELPERS (DRM_VMWGFX selects it)"
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "ksmfs needs Linux 6.1 or newer"
#endif

/* An order-0 folio; before 6.13 it has to be told that it is not a huge one. */
static inline struct folio *ksmfs_vma_alloc_folio(gfp_t gfp,
						  struct vm_area_struct *vma,
						  unsigned long address)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	return vma_alloc_folio(gfp, 0, vma, address);
#else
	return vma_alloc_folio(gfp, 0, vma, address, false);
#endif
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
/* A name of a filesystem in memory stays without being used. */
static inline void ksmfs_d_make_persistent(struct dentry *dentry,
					   struct inode *inode)
{
	d_instantiate(dentry, inode);
	dget(dentry);
}

#define d_make_persistent ksmfs_d_make_persistent

/* Lets go of such names, too. */
static inline void ksmfs_kill_anon_super(struct super_block *sb)
{
	kill_litter_super(sb);
}

#define kill_anon_super ksmfs_kill_anon_super
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)
#define inode_just_drop generic_delete_inode
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
/* Does the page allocator leave something in pages for users? */
static inline bool ksmfs_alloc_needs_zeroing(void)
{
	return !want_init_on_alloc(GFP_HIGHUSER);
}

#define user_alloc_needs_zeroing ksmfs_alloc_needs_zeroing
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
/* Only this architecture's copy is told of memory errors. */
static inline int ksmfs_folio_mc_copy(struct folio *to, struct folio *from)
{
	void *at_to = kmap_local_folio(to, 0);
	void *at_from = kmap_local_folio(from, 0);
	unsigned long left = copy_mc_to_kernel(at_to, at_from, PAGE_SIZE);

	kunmap_local(at_from);
	kunmap_local(at_to);
	return left ? -EHWPOISON : 0;
}

#define folio_mc_copy ksmfs_folio_mc_copy
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 9, 0)
/* Not for modules at first.  All folios of ours are of one page. */
static inline int ksmfs_folio_mapcount(const struct folio *folio)
{
	return atomic_read(&folio->_mapcount) + 1;
}

#define folio_mapcount ksmfs_folio_mapcount
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
static inline size_t copy_folio_from_iter_atomic(struct folio *folio,
						 size_t offset, size_t bytes,
						 struct iov_iter *i)
{
	return copy_page_from_iter_atomic(folio_page(folio, 0), offset, bytes,
					  i);
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
/*
 * Times were plain fields.  Late versions of 6.1 have some of the functions,
 * so all have names of our own.
 */
static inline struct timespec64 ksmfs_set_ctime_current(struct inode *inode)
{
	inode->i_ctime = current_time(inode);
	return inode->i_ctime;
}

#define inode_set_ctime_current ksmfs_set_ctime_current

static inline void ksmfs_set_mtime(struct inode *inode, struct timespec64 ts)
{
	inode->i_mtime = ts;
}

#define inode_set_mtime_to_ts ksmfs_set_mtime

static inline void ksmfs_init_times(struct inode *inode)
{
	inode->i_ctime = current_time(inode);
	inode->i_mtime = inode->i_ctime;
	inode->i_atime = inode->i_ctime;
}

#define simple_inode_init_ts ksmfs_init_times
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
/* Reads by .read_iter, too; a pipe may get our pages and not copies of them. */
#define copy_splice_read generic_file_splice_read
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
/* The mapping of user ids of a mount was told by a namespace. */
#define mnt_idmap user_namespace
#define nop_mnt_idmap init_user_ns
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
/* It filled in all, whatever was asked for. */
static inline void ksmfs_fillattr(struct mnt_idmap *idmap, u32 request_mask,
				  struct inode *inode, struct kstat *stat)
{
	generic_fillattr(idmap, inode, stat);
}

#define generic_fillattr ksmfs_fillattr
#endif

#endif
