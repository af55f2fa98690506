// SPDX-License-Identifier: GPL-2.0-only
/*
 * KSMFS_IOC_MERGE: pages are compared, and share a folio if they are alike
 *
 * Entries are worked on in batches, since most of the price is to unmap pages,
 * and neighbours are unmapped together.  What seems to have no twin costs no
 * unmapping: it is put into the index.
 *
 * A page can be compared for good when nobody can write it.  Its slot is
 * locked, so that it can't be mapped or written by a system call; it is
 * unmapped, with which MMU notifiers tell KVM; and then nobody but the slot
 * and we may have a reference.  Who gets one later, gets it from the slot, and
 * waits for the lock; or is looking at all of memory, and writes nothing.  So
 * its count needs no freezing, with which faults would have to spin.
 */
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "contents.h"
#include "index.h"
#include "slot.h"
#include "trace.h"

#define BATCH	32

/**
 * struct pending - an entry that has a twin
 * @entry: the entry
 * @slot: locked
 * @twin: the slot of a private twin, locked, if @has_twin
 * @shared: a shared twin, with a reference; or NULL
 * @has_twin: see @twin.  With neither, the page is zero
 * @by_digest: it is a twin by its digest: nobody has looked yet
 */
struct pending {
	struct ksmfs_merge_entry *entry;
	struct ksmfs_slot slot;
	struct ksmfs_slot twin;
	struct folio *shared;
	bool has_twin;
	bool by_digest;
};

/**
 * struct batch - entries that are worked on together
 * @mount: the mount
 * @ki: the file
 * @looking: digests alone don't make twins
 * @mistaken: a bit an entry: its digest did, of a page that is another
 * @n: how many of @pending are used
 * @pending: those that are to be merged
 * @entries: all
 */
struct batch {
	struct ksmfs_mount *mount;
	struct ksmfs_inode *ki;
	bool looking;
	unsigned long mistaken;
	unsigned int n;
	struct pending pending[BATCH];
	struct ksmfs_merge_entry entries[BATCH];
};

/* With the slot locked and unmapped: can someone write the page? */
static bool is_held(const struct ksmfs_slot *slot)
{
	/* The slot's reference, and ours. */
	return folio_ref_count(slot->folio) != 2;
}

static bool is_at_limit(struct ksmfs_mount *mount)
{
	unsigned long max = READ_ONCE(mount->options.max_shared);

	return max && percpu_counter_compare(&mount->pages_shared, max) >= 0;
}

static enum ksmfs_result merge_zero(struct pending *p)
{
	if (!ksmfs_is_zero(p->slot.folio))
		return KSMFS_CHANGED;
	ksmfs_slot_make_zero(&p->slot);
	return KSMFS_MERGED;
}

static enum ksmfs_result merge_shared(struct ksmfs_mount *mount,
				      struct pending *p)
{
	if (!ksmfs_is_same(p->slot.folio, p->shared))
		return KSMFS_CHANGED;
	if (!ksmfs_index_share(mount, p->shared))
		return KSMFS_BUSY;
	ksmfs_slot_share(&p->slot, p->shared);
	return KSMFS_MERGED;
}

static enum ksmfs_result merge_twin(struct ksmfs_mount *mount,
				    struct pending *p)
{
	if (is_held(&p->twin))
		return KSMFS_BUSY;
	if (!ksmfs_is_same(p->slot.folio, p->twin.folio))
		return KSMFS_CHANGED;
	if (is_at_limit(mount))
		return KSMFS_LIMIT;
	ksmfs_slot_make_shared(&p->twin);
	ksmfs_slot_share(&p->slot, p->twin.folio);
	return KSMFS_MERGED;
}

static void merge_pending(struct batch *batch, struct pending *p)
{
	enum ksmfs_result result;

	if (is_held(&p->slot))
		result = KSMFS_BUSY;
	else if (p->shared)
		result = merge_shared(batch->mount, p);
	else if (p->has_twin)
		result = merge_twin(batch->mount, p);
	else
		result = merge_zero(p);
	if (result == KSMFS_CHANGED && p->by_digest)
		batch->mistaken |= BIT(p->entry - batch->entries);
	p->entry->result = result;
	trace_ksmfs_merge(batch->ki, p->entry);

	ksmfs_slot_unlock(&p->slot);
	if (p->has_twin)
		ksmfs_slot_unlock(&p->twin);
	if (p->shared)
		folio_put(p->shared);
}

/* The slot to be unmapped for an entry: the @side 0 is its own. */
static const struct ksmfs_slot *slot_of(const struct pending *p, int side)
{
	return !side ? &p->slot : p->has_twin ? &p->twin : NULL;
}

/* Neighbours are unmapped together, and what is not mapped is left out. */
static void unmap(struct batch *batch, int side)
{
	const struct ksmfs_slot *first = NULL;
	unsigned long n = 0;

	for (unsigned int i = 0; i <= batch->n; i++) {
		const struct ksmfs_slot *slot = i < batch->n ?
			slot_of(&batch->pending[i], side) : NULL;

		if (slot && !folio_mapped(slot->folio))
			slot = NULL;
		if (slot && first && slot->ki == first->ki &&
		    slot->index == first->index + n) {
			n++;
			continue;
		}
		if (first)
			unmap_mapping_pages(first->ki->vfs_inode.i_mapping,
					    first->index, n, false);
		first = slot;
		n = 1;
	}
}

static void flush(struct batch *batch)
{
	unmap(batch, 0);
	unmap(batch, 1);
	for (unsigned int i = 0; i < batch->n; i++)
		merge_pending(batch, &batch->pending[i]);
	batch->n = 0;
}

static bool is_written(const struct ksmfs_slot *slot)
{
	return xa_get_mark(&slot->ki->slots, slot->index, KSMFS_WRITTEN);
}

/*
 * With the twin's slot locked, too.  Its page was looked at, or is to be
 * believed by its digest, unless it was written since.
 */
static bool is_likely_twin(struct pending *p)
{
	if (p->by_digest && is_written(&p->twin)) {
		p->by_digest = false;
		return ksmfs_is_same(p->slot.folio, p->twin.folio);
	}
	return true;
}

/*
 * Is @folio, which has the digest, a twin?  KSMFS_MERGED if it is, and locked
 * where it has to be; KSMFS_CHANGED if it is another page; else why it can't
 * be told.  Takes over the reference.
 */
static enum ksmfs_result try_twin(struct batch *batch, struct pending *p,
				  struct folio *folio)
{
	enum ksmfs_result result = KSMFS_BUSY;

	if (PageHWPoison(folio_page(folio, 0)) ||
	    (!p->by_digest && !ksmfs_is_same(p->slot.folio, folio))) {
		result = KSMFS_CHANGED;
	} else if (ksmfs_folio_is_shared(folio, batch->mount)) {
		p->shared = folio;
		return KSMFS_MERGED;
	} else if (is_at_limit(batch->mount)) {
		result = KSMFS_LIMIT;
	} else if (ksmfs_slot_trylock_folio(&p->twin, batch->mount, folio)) {
		if (ksmfs_index_has(folio, p->entry->digest)) {
			if (is_likely_twin(p)) {
				p->has_twin = true;
				return KSMFS_MERGED;
			}
			result = KSMFS_CHANGED;
		}
		folio_unlock(folio);
	}
	folio_put(folio);
	return result;
}

/*
 * Look for a twin of the page; KSMFS_MERGED if @p has one.
 *
 * A first look at a candidate is taken so that no page is unmapped for nothing.
 * Where neither page was written since it was collected, their digests are
 * nearly as good.  Should they lie, or that of the candidate be older, the
 * entry is tried again, and looked at.
 */
static enum ksmfs_result find_twin(struct batch *batch, struct pending *p)
{
	struct folio *found[KSMFS_DIGEST_MAX];
	enum ksmfs_result result;
	bool written;
	int n = 0, i;

	for (;;) {
		n = ksmfs_index_find_or_add(batch->mount, p->slot.folio,
					    p->entry->digest, n, found);
		if (n <= 0)
			return n ? KSMFS_LIMIT : KSMFS_INDEXED;
		written = is_written(&p->slot);
		p->by_digest = !batch->looking && !written;
		result = KSMFS_CHANGED;
		for (i = 0; i < n && result == KSMFS_CHANGED; i++)
			result = try_twin(batch, p, found[i]);
		for (; i < n; i++)
			folio_put(found[i]);
		if (result != KSMFS_CHANGED || written)
			return result;
	}
}

/* KSMFS_MERGED if the entry is one to be merged, which is in the batch then. */
static enum ksmfs_result prepare(struct batch *batch,
				 struct ksmfs_merge_entry *entry)
{
	struct pending *p = &batch->pending[batch->n];
	enum ksmfs_result result = KSMFS_MERGED;

	p->entry = entry;
	p->shared = NULL;
	p->has_twin = false;
	p->by_digest = false;
	if (entry->index >= ksmfs_end(batch->ki))
		return KSMFS_ABSENT;
	if (!ksmfs_slot_trylock(&p->slot, batch->ki, entry->index))
		return KSMFS_BUSY;
	if (!p->slot.entry)
		result = KSMFS_ABSENT;
	else if (!ksmfs_slot_is_private(&p->slot))
		result = KSMFS_ALREADY;
	else if (PageHWPoison(folio_page(p->slot.folio, 0)))
		result = KSMFS_BUSY;
	else if (!ksmfs_is_zero(p->slot.folio))
		result = find_twin(batch, p);
	if (result == KSMFS_MERGED)
		batch->n++;
	else
		ksmfs_slot_unlock(&p->slot);
	return result;
}

/* Those of the batch's entries of which the bit is set in @which. */
static void merge_some(struct batch *batch, unsigned long which)
{
	unsigned int i;

	for_each_set_bit(i, &which, BATCH) {
		struct ksmfs_merge_entry *entry = &batch->entries[i];
		enum ksmfs_result result = prepare(batch, entry);

		if (result == KSMFS_BUSY && batch->n) {
			/* It may be the batch that has it. */
			flush(batch);
			result = prepare(batch, entry);
		}
		if (result == KSMFS_MERGED)
			continue;
		entry->result = result;
		trace_ksmfs_merge(batch->ki, entry);
	}
	flush(batch);
}

static void merge_entries(struct batch *batch, unsigned int n)
{
	batch->looking = false;
	batch->mistaken = 0;
	merge_some(batch, GENMASK(n - 1, 0));
	batch->looking = true;
	merge_some(batch, batch->mistaken);
}

int ksmfs_merge(struct ksmfs_inode *ki, struct ksmfs_merge *merge)
{
	struct ksmfs_merge_entry __user *user = u64_to_user_ptr(merge->entries);
	struct batch *batch;
	int err = 0;

	batch = kmalloc(sizeof(*batch), GFP_KERNEL_ACCOUNT);
	if (!batch)
		return -ENOMEM;
	batch->ki = ki;
	batch->mount = ksmfs_mount_of(ki);
	batch->n = 0;
	for (merge->done = 0; merge->done < merge->count;) {
		unsigned int n = min(merge->count - merge->done, BATCH);

		if (signal_pending(current)) {
			err = -EINTR;
			break;
		}
		if (copy_from_user(batch->entries, user + merge->done,
				   n * sizeof(*user))) {
			err = -EFAULT;
			break;
		}
		for (unsigned int i = 0; i < n && !err; i++)
			err = batch->entries[i].reserved ? -EINVAL : 0;
		if (err)
			break;
		merge_entries(batch, n);
		if (copy_to_user(user + merge->done, batch->entries,
				 n * sizeof(*user))) {
			err = -EFAULT;
			break;
		}
		merge->done += n;
		cond_resched();
	}
	kfree(batch);
	return merge->done && err == -EINTR ? 0 : err;
}
