// SPDX-License-Identifier: GPL-2.0-only
/*
 * The index of a mount: folios by digest
 *
 * A hash table of bucket lists, each with a lock bit.  It needs no memory but
 * the buckets, since a folio in it is on no LRU list and has fields to spare:
 *
 *   lru	its place in a bucket's list
 *   private	its digest
 *   index	of a shared folio: how many slots share it
 *
 * All of them change with the folio and its bucket locked; a share is counted
 * with the bucket locked only.  So the first page of a digest is found, and
 * shared by any number of files, without any lock but that of a bucket.
 *
 * Shared folios and private ones are in the same lists.  The contents of a
 * private one may have changed since it was put in: only a comparison tells.
 */
#include <linux/random.h>

#include "index.h"

/* About so many pages of what the mount may hold use one bucket. */
#define PAGES_A_BUCKET	4
#define BUCKET_BITS_MIN	10
#define BUCKET_BITS_MAX	24

static struct hlist_bl_node *node_of(struct folio *folio)
{
	BUILD_BUG_ON(sizeof(struct hlist_bl_node) > sizeof(folio->lru));
	return (struct hlist_bl_node *)&folio->lru;
}

static struct folio *folio_of(struct hlist_bl_node *node)
{
	return container_of((struct list_head *)node, struct folio, lru);
}

static u64 digest_of(struct folio *folio)
{
	BUILD_BUG_ON(sizeof(folio->private) < sizeof(u64));
	return (u64)folio->private;
}

static struct hlist_bl_head *bucket_of(struct ksmfs_mount *mount, u64 digest)
{
	u32 hash = hsiphash_2u32(digest, digest >> 32, &mount->bucket_key);

	return &mount->buckets[hash >> (32 - mount->bucket_bits)];
}

int ksmfs_index_init(struct ksmfs_mount *mount)
{
	unsigned long pages = mount->options.max_pages ?: totalram_pages();

	mount->bucket_bits = clamp(ilog2(pages / PAGES_A_BUCKET + 1),
				   BUCKET_BITS_MIN, BUCKET_BITS_MAX);
	mount->buckets = kvcalloc(1UL << mount->bucket_bits,
				  sizeof(*mount->buckets), GFP_KERNEL);
	if (!mount->buckets)
		return -ENOMEM;
	get_random_bytes(&mount->bucket_key, sizeof(mount->bucket_key));
	return 0;
}

void ksmfs_index_free(struct ksmfs_mount *mount)
{
	kvfree(mount->buckets);
}

void ksmfs_index_init_folio(struct folio *folio)
{
	INIT_HLIST_BL_NODE(node_of(folio));
	folio->private = NULL;
}

static bool is_indexed(struct folio *folio)
{
	return !hlist_bl_unhashed(node_of(folio));
}

/* May @folio, which is in a bucket, be merged with @other of its digest? */
static bool is_candidate(struct ksmfs_mount *mount, struct folio *other,
			 struct folio *folio)
{
	return other != folio && (mount->options.merge_across_nodes ||
				  folio_nid(other) == folio_nid(folio));
}

int ksmfs_index_find_or_add(struct ksmfs_mount *mount, struct folio *folio,
			    u64 digest, int known,
			    struct folio *found[KSMFS_DIGEST_MAX])
{
	struct hlist_bl_head *bucket = bucket_of(mount, digest);
	struct hlist_bl_node *node;
	bool added = false;
	int same = 0, n = 0;

	if (!ksmfs_index_has(folio, digest))
		ksmfs_index_remove(mount, folio);

	hlist_bl_lock(bucket);
	for (node = hlist_bl_first(bucket); node; node = node->next) {
		struct folio *other = folio_of(node);

		if (digest_of(other) != digest)
			continue;
		same++;
		if (!is_candidate(mount, other, folio))
			continue;
		found[n++] = other;
		if (ksmfs_folio_is_shared(other, mount))
			swap(found[0], found[n - 1]);
	}
	if (n > known) {
		/* A slot holds each as long as it is in the bucket. */
		for (int i = 0; i < n; i++)
			folio_get(found[i]);
	} else if (!is_indexed(folio) && same < KSMFS_DIGEST_MAX) {
		folio->private = (void *)digest;
		hlist_bl_add_head(node_of(folio), bucket);
		added = true;
	}
	hlist_bl_unlock(bucket);

	if (added)
		percpu_counter_inc(&mount->pages_unshared);
	if (n > known)
		return n;
	return is_indexed(folio) ? 0 : -ENOSPC;
}

void ksmfs_index_remove(struct ksmfs_mount *mount, struct folio *folio)
{
	struct hlist_bl_head *bucket;

	if (!is_indexed(folio))
		return;
	bucket = bucket_of(mount, digest_of(folio));
	hlist_bl_lock(bucket);
	hlist_bl_del_init(node_of(folio));
	hlist_bl_unlock(bucket);
	percpu_counter_dec(&mount->pages_unshared);
}

bool ksmfs_index_has(struct folio *folio, u64 digest)
{
	return is_indexed(folio) && digest_of(folio) == digest;
}

void ksmfs_index_make_shared(struct ksmfs_mount *mount, struct folio *folio)
{
	struct hlist_bl_head *bucket = bucket_of(mount, digest_of(folio));

	hlist_bl_lock(bucket);
	folio->index = 2;
	WRITE_ONCE(folio->mapping, &mount->shared);
	hlist_bl_unlock(bucket);
	percpu_counter_dec(&mount->pages_unshared);
	percpu_counter_inc(&mount->pages_shared);
}

bool ksmfs_index_share(struct ksmfs_mount *mount, struct folio *folio)
{
	struct hlist_bl_head *bucket = bucket_of(mount, digest_of(folio));
	bool shared;

	hlist_bl_lock(bucket);
	shared = is_indexed(folio) && ksmfs_folio_is_shared(folio, mount);
	if (shared)
		folio->index++;
	hlist_bl_unlock(bucket);
	return shared;
}

bool ksmfs_index_unshare(struct ksmfs_mount *mount, struct folio *folio)
{
	struct hlist_bl_head *bucket = bucket_of(mount, digest_of(folio));
	bool last;

	hlist_bl_lock(bucket);
	last = !--folio->index;
	if (last)
		hlist_bl_del_init(node_of(folio));
	hlist_bl_unlock(bucket);
	if (last)
		percpu_counter_dec(&mount->pages_shared);
	return last;
}
