/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ksmfs: what its files share
 *
 * A file is an array of slots, one a page.  A slot is empty (a hole), a merged
 * zero page, or backed by a folio: its own, or one that it shares with other
 * slots of the mount.
 *
 * Locks, in the order in which they are taken:
 *
 *   inode lock	size, allocation and removal of a range; as in any filesystem
 *   folio lock	of the folio that backs a slot: what the slot is.  An empty or
 *		zero slot is backed by one of the mount's zero folios, see
 *		struct ksmfs_mount.  Whoever holds one only tries to lock
 *		another.
 *   i_mmap_rwsem, page table locks: taken by what unmaps and write-protects
 *   xa_lock	of an inode's slots
 *   bucket	of the index: membership, digests, and how many share a folio
 */
#ifndef KSMFS_H
#define KSMFS_H

#include <linux/fs.h>
#include <linux/kobject.h>
#include <linux/list_bl.h>
#include <linux/mm.h>
#include <linux/percpu_counter.h>
#include <linux/siphash.h>
#include <linux/xarray.h>

#include "uapi/linux/ksmfs.h"

/* So many different pages of one digest are kept in the index. */
#define KSMFS_DIGEST_MAX	8
/* Zero folios, and with them locks of empty slots, of a mount: a power of 2. */
#define KSMFS_ZEROS		64

/**
 * struct ksmfs_options - of a mount
 * @max_pages: size=, in pages; 0: no limit.  May change while mounted
 * @max_shared: max_kernel_pages=; 0: no limit.  May change while mounted
 * @overcommit: size= limits the pages in memory, not the pages of files
 * @merge_across_nodes: pages of different NUMA nodes may be merged
 * @mode: of the root
 * @uid: of the root
 * @gid: of the root
 */
struct ksmfs_options {
	unsigned long max_pages;
	unsigned long max_shared;
	bool overcommit;
	bool merge_across_nodes;
	umode_t mode;
	kuid_t uid;
	kgid_t gid;
};

/**
 * struct ksmfs_mount - a mount, which is a merge domain
 * @options: of it
 * @buckets: the index, see index.c
 * @bucket_bits: their number is a power of 2
 * @bucket_key: keeps callers from choosing where their digests fall
 * @seed: of the digests, for those who make them
 * @shared: the mapping of all shared folios: nobody maps it
 * @zeros: mapped where an empty or zero slot is read, by a hash of file and
 *	   index: their locks are those of such slots
 * @used: slots that are not empty
 * @allocated: folios that back slots: private and shared
 * @pages_shared: shared folios
 * @pages_sharing: slots that they back
 * @pages_zero: merged zero pages
 * @pages_unshared: private folios in the index
 * @merges: slots that were merged, ever
 * @cow_breaks: merged slots that were written, ever
 * @kobj: in /sys/fs/ksmfs, see sysfs.c
 * @kobj_released: nobody reads there any more
 */
struct ksmfs_mount {
	struct ksmfs_options options;
	struct hlist_bl_head *buckets;
	unsigned int bucket_bits;
	hsiphash_key_t bucket_key;
	u8 seed[KSMFS_SEED_SIZE];
	struct address_space shared;
	struct folio *zeros[KSMFS_ZEROS];
	struct percpu_counter used;
	struct percpu_counter allocated;
	struct percpu_counter pages_shared;
	struct percpu_counter pages_sharing;
	struct percpu_counter pages_zero;
	struct percpu_counter pages_unshared;
	struct percpu_counter merges;
	struct percpu_counter cow_breaks;
	struct kobject kobj;
	struct completion kobj_released;
};

/**
 * struct ksmfs_inode - a file
 * @slots: by index: nothing, KSMFS_ZERO, or a folio
 * @zero_mapped: a zero folio may be mapped where slots are, or were, empty: a
 *		 bit a zero folio, protected by the lock of that
 * @collector: who may collect; only compared, under @slots' lock
 * @unwritable_maps: mappings that are private, or may never be written
 * @memcg: charged for all pages: that of the file's creator; may be NULL
 * @pages_private: slots by what they are; the sum is what is used
 * @pages_sharing: see @pages_private
 * @pages_zero: see @pages_private
 * @merges: as in struct ksmfs_stat
 * @cow_breaks: as in struct ksmfs_stat
 * @vfs_inode: the inode
 */
struct ksmfs_inode {
	struct xarray slots;
	DECLARE_BITMAP(zero_mapped, KSMFS_ZEROS);
	struct file *collector;
	atomic_t unwritable_maps;
	struct mem_cgroup *memcg;
	atomic_long_t pages_private;
	atomic_long_t pages_sharing;
	atomic_long_t pages_zero;
	atomic_long_t merges;
	atomic_long_t cow_breaks;
	struct inode vfs_inode;
};

/* A slot's entry: a merged zero page. */
#define KSMFS_ZERO		xa_mk_value(0)
/* A slot's mark: written since it was collected, or never collected. */
#define KSMFS_WRITTEN		XA_MARK_0

static inline struct ksmfs_mount *ksmfs_mount(struct super_block *sb)
{
	return sb->s_fs_info;
}

/* What size= is compared with. */
static inline struct percpu_counter *ksmfs_limited(struct ksmfs_mount *mount)
{
	return mount->options.overcommit ? &mount->allocated : &mount->used;
}

static inline struct ksmfs_inode *ksmfs_inode(struct inode *inode)
{
	return container_of(inode, struct ksmfs_inode, vfs_inode);
}

static inline struct ksmfs_mount *ksmfs_mount_of(struct ksmfs_inode *ki)
{
	return ksmfs_mount(ki->vfs_inode.i_sb);
}

/* Index behind the last page of a file. */
static inline pgoff_t ksmfs_end(struct ksmfs_inode *ki)
{
	return DIV_ROUND_UP_ULL((u64)i_size_read(&ki->vfs_inode), PAGE_SIZE);
}

/* Is it shared by slots?  With the folio locked, or a hint. */
static inline bool ksmfs_folio_is_shared(const struct folio *folio,
					 const struct ksmfs_mount *mount)
{
	return READ_ONCE(folio->mapping) == &mount->shared;
}

/* super.c */
extern struct kmem_cache *ksmfs_inode_cache;

/* inode.c */
struct inode *ksmfs_new_inode(struct super_block *sb, struct inode *dir,
			      umode_t mode, dev_t dev);
extern const struct address_space_operations ksmfs_aops;

/* file.c */
extern const struct file_operations ksmfs_file_operations;
extern const struct inode_operations ksmfs_file_inode_operations;

/* fault.c */
extern const struct vm_operations_struct ksmfs_vm_operations;

/* ioctl.c */
long ksmfs_ioctl(struct file *file, unsigned int cmd, unsigned long arg);

/* merge.c; all of these: what the uapi header says of them */
int ksmfs_merge(struct ksmfs_inode *ki, struct ksmfs_merge *merge);
/* collect.c */
int ksmfs_collect(struct file *file, struct ksmfs_collect *collect);
void ksmfs_collect_release(struct file *file);
/* split.c */
int ksmfs_split(struct ksmfs_inode *ki, struct ksmfs_split *split);

/* sysfs.c */
int ksmfs_sysfs_init(void);
void ksmfs_sysfs_exit(void);
/* ksmfs_sysfs_remove() also after a failure; before any, it does nothing. */
int ksmfs_sysfs_add(struct ksmfs_mount *mount, dev_t dev);
void ksmfs_sysfs_remove(struct ksmfs_mount *mount);

#endif
