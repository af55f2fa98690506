// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mounts of ksmfs, and the module
 */
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/memcontrol.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/random.h>
#include <linux/seq_file.h>
#include <linux/statfs.h>

#include "compat/compat.h"
#include "contents.h"
#include "index.h"
#include "slot.h"

#define KSMFS_MAGIC	0x6b736d66

struct kmem_cache *ksmfs_inode_cache;

static struct inode *ksmfs_alloc_inode(struct super_block *sb)
{
	struct ksmfs_inode *ki = alloc_inode_sb(sb, ksmfs_inode_cache,
						GFP_KERNEL);

	if (!ki)
		return NULL;
	xa_init_flags(&ki->slots, XA_FLAGS_ACCOUNT);
	bitmap_zero(ki->zero_mapped, KSMFS_ZEROS);
	ki->collector = NULL;
	atomic_set(&ki->unwritable_maps, 0);
	ki->memcg = NULL;
	atomic_long_set(&ki->pages_private, 0);
	atomic_long_set(&ki->pages_sharing, 0);
	atomic_long_set(&ki->pages_zero, 0);
	atomic_long_set(&ki->merges, 0);
	atomic_long_set(&ki->cow_breaks, 0);
	return &ki->vfs_inode;
}

static void ksmfs_free_inode(struct inode *inode)
{
	if (S_ISLNK(inode->i_mode))
		kfree(inode->i_link);
	kmem_cache_free(ksmfs_inode_cache, ksmfs_inode(inode));
}

static void ksmfs_evict_inode(struct inode *inode)
{
	struct ksmfs_inode *ki = ksmfs_inode(inode);

	truncate_inode_pages_final(&inode->i_data);
	/* A merge in another file may still look at ours: slot by slot. */
	ksmfs_slots_remove(ki, 0, ULONG_MAX);
	mem_cgroup_put(ki->memcg);
	clear_inode(inode);
}

/* What is free is what is not in memory: merging makes it more. */
static int ksmfs_statfs(struct dentry *dentry, struct kstatfs *buf)
{
	struct ksmfs_mount *mount = ksmfs_mount(dentry->d_sb);
	unsigned long max = READ_ONCE(mount->options.max_pages);

	buf->f_type = KSMFS_MAGIC;
	buf->f_bsize = PAGE_SIZE;
	buf->f_namelen = NAME_MAX;
	buf->f_fsid = u64_to_fsid(huge_encode_dev(dentry->d_sb->s_dev));
	if (max) {
		u64 used = percpu_counter_sum_positive(&mount->used);
		u64 allocated = percpu_counter_sum_positive(&mount->allocated);

		if (mount->options.overcommit)
			used = allocated;
		buf->f_blocks = max;
		buf->f_bfree = max - min_t(u64, allocated, max);
		buf->f_bavail = max - min_t(u64, used, max);
	}
	return 0;
}

static int ksmfs_show_options(struct seq_file *m, struct dentry *root)
{
	const struct ksmfs_options *options =
		&ksmfs_mount(root->d_sb)->options;

	seq_printf(m, ",size=%luk",
		   READ_ONCE(options->max_pages) << (PAGE_SHIFT - 10));
	seq_printf(m, ",max_kernel_pages=%lu", READ_ONCE(options->max_shared));
	seq_printf(m, ",merge_across_nodes=%d", options->merge_across_nodes);
	if (options->overcommit)
		seq_puts(m, ",overcommit=1");
	seq_printf(m, ",mode=%03ho", options->mode);
	if (!uid_eq(options->uid, GLOBAL_ROOT_UID))
		seq_printf(m, ",uid=%u",
			   from_kuid_munged(m->file->f_cred->user_ns,
					    options->uid));
	if (!gid_eq(options->gid, GLOBAL_ROOT_GID))
		seq_printf(m, ",gid=%u",
			   from_kgid_munged(m->file->f_cred->user_ns,
					    options->gid));
	return 0;
}

static const struct super_operations ksmfs_super_operations = {
	.alloc_inode = ksmfs_alloc_inode,
	.free_inode = ksmfs_free_inode,
	.evict_inode = ksmfs_evict_inode,
	.drop_inode = inode_just_drop,
	.statfs = ksmfs_statfs,
	.show_options = ksmfs_show_options,
};

#define COUNTERS 8

static void list_counters(struct ksmfs_mount *mount,
			  struct percpu_counter *list[COUNTERS])
{
	list[0] = &mount->used;
	list[1] = &mount->allocated;
	list[2] = &mount->pages_shared;
	list[3] = &mount->pages_sharing;
	list[4] = &mount->pages_zero;
	list[5] = &mount->pages_unshared;
	list[6] = &mount->merges;
	list[7] = &mount->cow_breaks;
}

static int init_counters(struct ksmfs_mount *mount)
{
	struct percpu_counter *list[COUNTERS];
	int err = 0;

	list_counters(mount, list);
	for (int i = 0; i < COUNTERS && !err; i++)
		err = percpu_counter_init(list[i], 0, GFP_KERNEL);
	return err;
}

static void destroy_counters(struct ksmfs_mount *mount)
{
	struct percpu_counter *list[COUNTERS];

	list_counters(mount, list);
	for (int i = 0; i < COUNTERS; i++)
		percpu_counter_destroy(list[i]);
}

static int init_zeros(struct ksmfs_mount *mount)
{
	for (int i = 0; i < KSMFS_ZEROS; i++) {
		struct folio *folio = folio_alloc(GFP_HIGHUSER | __GFP_ZERO, 0);

		if (!folio)
			return -ENOMEM;
		ksmfs_index_init_folio(folio);
		folio->mapping = &mount->shared;
		folio_set_dirty(folio);
		__folio_mark_uptodate(folio);
		mount->zeros[i] = folio;
	}
	return 0;
}

static void free_zeros(struct ksmfs_mount *mount)
{
	for (int i = 0; i < KSMFS_ZEROS && mount->zeros[i]; i++) {
		mount->zeros[i]->mapping = NULL;
		folio_put(mount->zeros[i]);
	}
}

static int ksmfs_fill_super(struct super_block *sb, struct fs_context *fc)
{
	struct ksmfs_mount *mount = sb->s_fs_info;
	struct inode *root;
	int err;

	/* Whole pages: an offset that is rounded up stays one. */
	sb->s_maxbytes = MAX_LFS_FILESIZE & PAGE_MASK;
	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	sb->s_magic = KSMFS_MAGIC;
	sb->s_op = &ksmfs_super_operations;
	sb->s_time_gran = 1;
	sb->s_iflags |= SB_I_NOEXEC | SB_I_NODEV;

	get_random_bytes(mount->seed, sizeof(mount->seed));
	err = init_counters(mount) ?: ksmfs_index_init(mount);
	if (err)
		return err;
	address_space_init_once(&mount->shared);
	mount->shared.a_ops = &ksmfs_aops;
	err = init_zeros(mount);
	if (err)
		return err;
	root = ksmfs_new_inode(sb, NULL, S_IFDIR | mount->options.mode, 0);
	if (!root)
		return -ENOMEM;
	/* Whoever looks for the file of a shared page finds a harmless one. */
	mount->shared.host = root;
	root->i_uid = mount->options.uid;
	root->i_gid = mount->options.gid;
	sb->s_root = d_make_root(root);
	if (!sb->s_root)
		return -ENOMEM;
	return ksmfs_sysfs_add(mount, sb->s_dev);
}

/* Limits may change; what files were made by may not. */
static int ksmfs_reconfigure(struct fs_context *fc)
{
	const struct ksmfs_mount *wanted = fc->s_fs_info;
	struct ksmfs_mount *mount = ksmfs_mount(fc->root->d_sb);
	const struct ksmfs_options *new = &wanted->options;
	struct ksmfs_options *old = &mount->options;

	if (new->overcommit != old->overcommit)
		return invalfc(fc, "overcommit can't change while mounted");
	if (new->merge_across_nodes != old->merge_across_nodes)
		return invalfc(fc, "merge_across_nodes can't change while mounted");
	if (new->mode != old->mode || !uid_eq(new->uid, old->uid) ||
	    !gid_eq(new->gid, old->gid))
		return invalfc(fc, "mode, uid and gid can't change while mounted: use chmod and chown");
	if (new->max_pages && new->max_pages != old->max_pages &&
	    percpu_counter_compare(ksmfs_limited(mount), new->max_pages) > 0)
		return invalfc(fc, "size is less than what is used");
	WRITE_ONCE(old->max_pages, new->max_pages);
	WRITE_ONCE(old->max_shared, new->max_shared);
	return 0;
}

static int ksmfs_get_tree(struct fs_context *fc)
{
	return get_tree_nodev(fc, ksmfs_fill_super);
}

enum ksmfs_param {
	OPT_SIZE,
	OPT_OVERCOMMIT,
	OPT_MAX_KERNEL_PAGES,
	OPT_MERGE_ACROSS_NODES,
	OPT_MODE,
	OPT_UID,
	OPT_GID,
};

static const struct fs_parameter_spec ksmfs_parameters[] = {
	fsparam_string("size", OPT_SIZE),
	fsparam_u32("overcommit", OPT_OVERCOMMIT),
	fsparam_u64("max_kernel_pages", OPT_MAX_KERNEL_PAGES),
	fsparam_u32("merge_across_nodes", OPT_MERGE_ACROSS_NODES),
	fsparam_u32oct("mode", OPT_MODE),
	fsparam_u32("uid", OPT_UID),
	fsparam_u32("gid", OPT_GID),
	{}
};

/* As of tmpfs: bytes with a suffix, or percent of memory. */
static int parse_size(struct fs_context *fc, const char *text,
		      unsigned long *pages)
{
	char *rest;
	u64 size = memparse(text, &rest);

	if (*rest == '%') {
		size = size * totalram_pages() / 100 << PAGE_SHIFT;
		rest++;
	}
	if (*rest || rest == text)
		return invalfc(fc, "size=%s: bytes, with k, m or g, or a percentage of memory",
			       text);
	*pages = DIV_ROUND_UP_ULL(size, PAGE_SIZE);
	return 0;
}

static int parse_switch(struct fs_context *fc, const char *name, u32 value,
			bool *result)
{
	if (value > 1)
		return invalfc(fc, "%s=%u: must be 0 or 1", name, value);
	*result = value;
	return 0;
}

static int ksmfs_parse_param(struct fs_context *fc, struct fs_parameter *param)
{
	struct ksmfs_mount *mount = fc->s_fs_info;
	struct ksmfs_options *options = &mount->options;
	struct fs_parse_result result;
	int opt = fs_parse(fc, ksmfs_parameters, param, &result);

	switch (opt) {
	case OPT_SIZE:
		return parse_size(fc, param->string, &options->max_pages);
	case OPT_OVERCOMMIT:
		return parse_switch(fc, param->key, result.uint_32,
				    &options->overcommit);
	case OPT_MAX_KERNEL_PAGES:
		options->max_shared = result.uint_64;
		return 0;
	case OPT_MERGE_ACROSS_NODES:
		return parse_switch(fc, param->key, result.uint_32,
				    &options->merge_across_nodes);
	case OPT_MODE:
		options->mode = result.uint_32 & 07777;
		return 0;
	case OPT_UID:
		options->uid = make_kuid(current_user_ns(), result.uint_32);
		return uid_valid(options->uid) ? 0 :
		       invalfc(fc, "uid=%u: no such user here",
			       result.uint_32);
	case OPT_GID:
		options->gid = make_kgid(current_user_ns(), result.uint_32);
		return gid_valid(options->gid) ? 0 :
		       invalfc(fc, "gid=%u: no such group here",
			       result.uint_32);
	default:
		return opt;
	}
}

static void free_mount(struct ksmfs_mount *mount)
{
	if (!mount)
		return;
	free_zeros(mount);
	ksmfs_index_free(mount);
	destroy_counters(mount);
	kfree(mount);
}

static void ksmfs_free_fc(struct fs_context *fc)
{
	free_mount(fc->s_fs_info);
}

static const struct fs_context_operations ksmfs_context_operations = {
	.free = ksmfs_free_fc,
	.parse_param = ksmfs_parse_param,
	.get_tree = ksmfs_get_tree,
	.reconfigure = ksmfs_reconfigure,
};

static int ksmfs_init_fs_context(struct fs_context *fc)
{
	struct ksmfs_mount *mount = kzalloc(sizeof(*mount), GFP_KERNEL);

	if (!mount)
		return -ENOMEM;
	if (fc->purpose == FS_CONTEXT_FOR_RECONFIGURE)
		mount->options = ksmfs_mount(fc->root->d_sb)->options;
	else
		mount->options = (struct ksmfs_options) {
			.max_pages = totalram_pages() / 2,
			.max_shared = totalram_pages() / 2,
			.merge_across_nodes = true,
			.mode = 0700,
			.uid = current_fsuid(),
			.gid = current_fsgid(),
		};
	fc->s_fs_info = mount;
	fc->ops = &ksmfs_context_operations;
	return 0;
}

static void ksmfs_kill_sb(struct super_block *sb)
{
	struct ksmfs_mount *mount = ksmfs_mount(sb);

	ksmfs_sysfs_remove(mount);
	kill_anon_super(sb);
	free_mount(mount);
}

static struct file_system_type ksmfs_type = {
	.owner = THIS_MODULE,
	.name = "ksmfs",
	.init_fs_context = ksmfs_init_fs_context,
	.parameters = ksmfs_parameters,
	.kill_sb = ksmfs_kill_sb,
};
MODULE_ALIAS_FS("ksmfs");

static void init_inode_once(void *object)
{
	struct ksmfs_inode *ki = object;

	inode_init_once(&ki->vfs_inode);
}

static int __init ksmfs_init(void)
{
	int err;

	ksmfs_inode_cache = kmem_cache_create("ksmfs_inode",
					      sizeof(struct ksmfs_inode), 0,
					      SLAB_RECLAIM_ACCOUNT |
					      SLAB_ACCOUNT, init_inode_once);
	if (!ksmfs_inode_cache)
		return -ENOMEM;
	ksmfs_contents_init();
	err = ksmfs_sysfs_init();
	if (err)
		goto free_cache;
	err = register_filesystem(&ksmfs_type);
	if (err)
		goto exit_sysfs;
	return 0;

exit_sysfs:
	ksmfs_sysfs_exit();
free_cache:
	kmem_cache_destroy(ksmfs_inode_cache);
	return err;
}

static void __exit ksmfs_exit(void)
{
	unregister_filesystem(&ksmfs_type);
	ksmfs_sysfs_exit();
	/* Inodes are freed after a grace period. */
	rcu_barrier();
	kmem_cache_destroy(ksmfs_inode_cache);
}

module_init(ksmfs_init);
module_exit(ksmfs_exit);

MODULE_DESCRIPTION("RAM filesystem that merges identical pages of its files");
MODULE_VERSION(KSMFS_VERSION);
MODULE_LICENSE("GPL");
