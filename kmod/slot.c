// SPDX-License-Identifier: GPL-2.0-only
/*
 * A slot: what backs one page of a file, and how that changes
 *
 * One rule for every change of a slot: lock the folio that backs it, see that
 * it still does, replace it in the array, unmap it from all who map the file
 * there, unlock.  Whoever is to map a folio locks it, and sees that it still
 * backs the slot, too; it is unlocked when it is mapped.  So no mapping is
 * left behind, nor can one be made of what was replaced.
 *
 * An empty slot has a lock as well: that of one of the mount's zero folios,
 * which is mapped where such a slot is read.  The file remembers which of them
 * were mapped, so that memory that is written first, as a guest's RAM is, has
 * nothing to unmap.
 *
 * A folio is mapped writable only while it is its slot's own.  A shared one
 * never changes, and so needs no lock to be read or compared.
 *
 * References: a slot has one to its own folio, and all slots that share a
 * folio have one together.
 */
#include <linux/hash.h>
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>

#include "compat/compat.h"
#include "index.h"
#include "slot.h"
#include "trace.h"

static unsigned int zero_of(struct ksmfs_inode *ki, pgoff_t index)
{
	return hash_long(index + ki->vfs_inode.i_ino * GOLDEN_RATIO_32,
			 ilog2(KSMFS_ZEROS));
}

static struct folio *backing(struct ksmfs_inode *ki, pgoff_t index,
			     void *entry)
{
	if (entry && !xa_is_value(entry))
		return entry;
	return ksmfs_mount_of(ki)->zeros[zero_of(ki, index)];
}

/* Is it what @xas found?  An empty slot may be elsewhere by now. */
static bool is_still(struct xa_state *xas, void *entry)
{
	return entry ? xas_reload(xas) == entry :
		       !xa_load(xas->xa, xas->xa_index);
}

/*
 * The slot where @xas found @entry, with a reference to what backs it; in an
 * RCU section.  False if it is not that any more.
 */
static bool try_get_slot(struct ksmfs_slot *slot, struct ksmfs_inode *ki,
			 struct xa_state *xas, void *entry)
{
	slot->ki = ki;
	slot->index = xas->xa_index;
	slot->entry = entry;
	slot->folio = backing(ki, slot->index, entry);
	if (!folio_try_get(slot->folio))
		return false;
	/* Not one that was freed and used anew meanwhile? */
	if (is_still(xas, entry))
		return true;
	folio_put(slot->folio);
	return false;
}

/* What backs the slot just now, with a reference, and not locked. */
static void get_slot(struct ksmfs_slot *slot, struct ksmfs_inode *ki,
		     pgoff_t index)
{
	XA_STATE(xas, &ki->slots, index);
	void *entry;

	rcu_read_lock();
	for (;;) {
		entry = xas_load(&xas);
		if (!xas_retry(&xas, entry) &&
		    try_get_slot(slot, ki, &xas, entry))
			break;
		/* From the root of the array again. */
		xas_reset(&xas);
		cpu_relax();
	}
	rcu_read_unlock();
}

struct folio *ksmfs_slot_get_folio(struct ksmfs_inode *ki, pgoff_t index)
{
	struct ksmfs_slot slot;

	get_slot(&slot, ki, index);
	return slot.folio;
}

static bool is_current(const struct ksmfs_slot *slot)
{
	return xa_load(&slot->ki->slots, slot->index) == slot->entry;
}

/* Lock what get_slot() has found; if it is that no more, let go of it. */
static bool lock_found(struct ksmfs_slot *slot)
{
	folio_lock(slot->folio);
	if (is_current(slot))
		return true;
	ksmfs_slot_unlock(slot);
	return false;
}

void ksmfs_slot_lock(struct ksmfs_slot *slot, struct ksmfs_inode *ki,
		     pgoff_t index)
{
	do {
		get_slot(slot, ki, index);
	} while (!lock_found(slot));
}

/* As try_get_slot(), and locks the slot if nobody else has it. */
static bool trylock(struct ksmfs_slot *slot, struct ksmfs_inode *ki,
		    struct xa_state *xas, void *entry)
{
	if (!try_get_slot(slot, ki, xas, entry))
		return false;
	if (folio_trylock(slot->folio)) {
		if (is_still(xas, entry))
			return true;
		folio_unlock(slot->folio);
	}
	folio_put(slot->folio);
	return false;
}

bool ksmfs_slot_trylock(struct ksmfs_slot *slot, struct ksmfs_inode *ki,
			pgoff_t index)
{
	XA_STATE(xas, &ki->slots, index);
	void *entry;
	bool locked;

	rcu_read_lock();
	do {
		entry = xas_load(&xas);
	} while (xas_retry(&xas, entry));
	locked = trylock(slot, ki, &xas, entry);
	rcu_read_unlock();
	return locked;
}

unsigned int ksmfs_slots_trylock_written(struct ksmfs_slot *slots,
					 unsigned int max,
					 struct ksmfs_inode *ki, pgoff_t index)
{
	XA_STATE(xas, &ki->slots, index);
	unsigned int n = 0;
	void *entry;

	rcu_read_lock();
	for (entry = xas_load(&xas); n < max; entry = xas_next(&xas)) {
		if (!entry || xas_retry(&xas, entry) ||
		    !xas_get_mark(&xas, KSMFS_WRITTEN) ||
		    !trylock(&slots[n], ki, &xas, entry))
			break;
		n++;
	}
	rcu_read_unlock();
	return n;
}

/* @slot is that of which the locked @folio is the own one. */
static void slot_of_own(struct ksmfs_slot *slot, struct folio *folio)
{
	/* Its file is there as long as this slot is locked. */
	slot->ki = ksmfs_inode(folio->mapping->host);
	slot->index = folio->index;
	slot->entry = folio;
	slot->folio = folio;
}

bool ksmfs_slot_trylock_folio(struct ksmfs_slot *slot,
			      struct ksmfs_mount *mount, struct folio *folio)
{
	if (!folio_trylock(folio))
		return false;
	if (!folio->mapping || ksmfs_folio_is_shared(folio, mount)) {
		folio_unlock(folio);
		return false;
	}
	slot_of_own(slot, folio);
	return true;
}

void ksmfs_slot_unlock(struct ksmfs_slot *slot)
{
	folio_unlock(slot->folio);
	folio_put(slot->folio);
}

void ksmfs_slot_mark_mapped(const struct ksmfs_slot *slot)
{
	if (!slot->entry || xa_is_value(slot->entry))
		set_bit(zero_of(slot->ki, slot->index),
			slot->ki->zero_mapped);
}

void ksmfs_slot_mark_written(const struct ksmfs_slot *slot)
{
	if (!xa_get_mark(&slot->ki->slots, slot->index, KSMFS_WRITTEN))
		xa_set_mark(&slot->ki->slots, slot->index, KSMFS_WRITTEN);
}

void ksmfs_slot_unmap(const struct ksmfs_slot *slot)
{
	struct address_space *mapping = slot->ki->vfs_inode.i_mapping;

	/* Those of its own folio are counted. */
	if (ksmfs_slot_is_private(slot) ? folio_mapped(slot->folio) :
	    ksmfs_slot_is_shared(slot) ? mapping_mapped(mapping) :
	    test_bit(zero_of(slot->ki, slot->index), slot->ki->zero_mapped))
		unmap_mapping_pages(mapping, slot->index, 1, false);
}

/*
 * Replace what is in the array; @written: and mark it.  Memory is needed only
 * where the slot was empty.
 */
static int store(const struct ksmfs_slot *slot, void *entry, bool written)
{
	XA_STATE(xas, &slot->ki->slots, slot->index);

	do {
		xas_lock(&xas);
		xas_store(&xas, entry);
		if (written && !xas_error(&xas))
			xas_set_mark(&xas, KSMFS_WRITTEN);
		xas_unlock(&xas);
	} while (xas_nomem(&xas, GFP_KERNEL));
	return xas_error(&xas);
}

static struct folio *new_folio(struct ksmfs_inode *ki,
			       const struct vm_fault *vmf)
{
	const gfp_t gfp = GFP_HIGHUSER | __GFP_ACCOUNT;
	struct mem_cgroup *old = set_active_memcg(ki->memcg);
	struct folio *folio;

	folio = vmf ? ksmfs_vma_alloc_folio(gfp, vmf->vma, vmf->address) :
		      folio_alloc(gfp, 0);
	set_active_memcg(old);
	if (!folio)
		return NULL;
	ksmfs_index_init_folio(folio);
	/*
	 * There is nowhere to write it.  And the core takes clean pages that
	 * have a memory error out of the page cache, where this one is not.
	 */
	folio_set_dirty(folio);
	__folio_mark_uptodate(folio);
	return folio;
}

/* What a locked slot that is not empty had is replaced, and let go. */
static void drop(const struct ksmfs_slot *slot)
{
	struct ksmfs_mount *mount = ksmfs_mount_of(slot->ki);

	if (xa_is_value(slot->entry)) {
		atomic_long_dec(&slot->ki->pages_zero);
		percpu_counter_dec(&mount->pages_zero);
		return;
	}
	if (ksmfs_slot_is_private(slot)) {
		ksmfs_index_remove(mount, slot->folio);
		atomic_long_dec(&slot->ki->pages_private);
	} else {
		atomic_long_dec(&slot->ki->pages_sharing);
		percpu_counter_dec(&mount->pages_sharing);
		if (!ksmfs_index_unshare(mount, slot->folio))
			return;
	}
	slot->folio->mapping = NULL;
	percpu_counter_dec(&mount->allocated);
	folio_put(slot->folio);
}

/* May the slot have one more page? */
static int charge(const struct ksmfs_slot *slot)
{
	struct ksmfs_mount *mount = ksmfs_mount_of(slot->ki);
	unsigned long max = READ_ONCE(mount->options.max_pages);

	if ((!slot->entry || mount->options.overcommit) && max &&
	    percpu_counter_compare(ksmfs_limited(mount), max) >= 0)
		return -ENOSPC;
	return 0;
}

static int fill(struct folio *folio, const struct ksmfs_slot *slot)
{
	if (!ksmfs_slot_is_shared(slot)) {
		/* Where the allocator clears all, it did. */
		if (user_alloc_needs_zeroing())
			clear_highpage(folio_page(folio, 0));
		return 0;
	}
	if (PageHWPoison(folio_page(slot->folio, 0)) ||
	    folio_mc_copy(folio, slot->folio))
		return -EHWPOISON;
	return 0;
}

/* Let @folio, which is new, back the locked @slot, with the same contents. */
static int replace(struct ksmfs_slot *slot, struct folio *folio,
		   enum ksmfs_why why)
{
	struct ksmfs_inode *ki = slot->ki;
	struct ksmfs_mount *mount = ksmfs_mount_of(ki);
	struct mem_cgroup *old_memcg;
	int err;

	err = charge(slot) ?: fill(folio, slot);
	if (err)
		return err;
	folio_lock(folio);
	folio->mapping = ki->vfs_inode.i_mapping;
	folio->index = slot->index;
	old_memcg = set_active_memcg(ki->memcg);
	err = store(slot, folio, why != KSMFS_BY_SPLIT);
	set_active_memcg(old_memcg);
	if (err) {
		folio->mapping = NULL;
		folio_unlock(folio);
		return err;
	}
	ksmfs_slot_unmap(slot);

	atomic_long_inc(&ki->pages_private);
	percpu_counter_inc(&mount->allocated);
	if (!slot->entry) {
		percpu_counter_inc(&mount->used);
	} else if (why != KSMFS_BY_SPLIT) {
		atomic_long_inc(&ki->cow_breaks);
		percpu_counter_inc(&mount->cow_breaks);
	}
	trace_ksmfs_break(slot, why);
	if (slot->entry)
		drop(slot);
	ksmfs_slot_unlock(slot);
	/* The slot has the reference that it was allocated with. */
	folio_get(folio);
	slot->entry = folio;
	slot->folio = folio;
	return 0;
}

/* Is it to get a folio of its own?  With the slot locked, or a hint. */
static bool needs_folio(const struct ksmfs_slot *slot, enum ksmfs_why why)
{
	if (!slot->entry)
		return why != KSMFS_BY_SPLIT;
	return xa_is_value(slot->entry) ||
	       ksmfs_folio_is_shared(slot->folio, ksmfs_mount_of(slot->ki));
}

/*
 * Lock the slot that is mapped where @vmf is about, if the folio there is its
 * own one: no look at the array is needed.
 */
static bool lock_mapped(struct ksmfs_slot *slot, struct ksmfs_inode *ki,
			const struct vm_fault *vmf)
{
	struct folio *folio = page_folio(vmf->page);

	if (READ_ONCE(folio->mapping) != ki->vfs_inode.i_mapping)
		return false;
	folio_lock(folio);
	if (folio->mapping != ki->vfs_inode.i_mapping) {
		folio_unlock(folio);
		return false;
	}
	folio_get(folio);
	slot_of_own(slot, folio);
	return true;
}

/* Lock the slot, and have a @new folio at hand if it needs one. */
static int lock_with_new(struct ksmfs_slot *slot, struct ksmfs_inode *ki,
			 pgoff_t index, enum ksmfs_why why,
			 const struct vm_fault *vmf, struct folio **new)
{
	*new = NULL;
	if (vmf && vmf->page && lock_mapped(slot, ki, vmf))
		return 0;
	for (;;) {
		get_slot(slot, ki, index);
		/* It is not locked yet: nobody waits for it meanwhile. */
		if (!*new && needs_folio(slot, why)) {
			*new = new_folio(ki, vmf);
			if (!*new) {
				folio_put(slot->folio);
				return -ENOMEM;
			}
		}
		if (!lock_found(slot))
			continue;
		if (*new || !needs_folio(slot, why))
			return 0;
		ksmfs_slot_unlock(slot);
	}
}

int ksmfs_slot_lock_private(struct ksmfs_slot *slot, struct ksmfs_inode *ki,
			    pgoff_t index, enum ksmfs_why why,
			    const struct vm_fault *vmf)
{
	struct folio *new;
	int err;

	/* Charge nobody for it; with the lock held it counts. */
	if (why == KSMFS_BY_FAULT && index >= ksmfs_end(ki))
		return -EFBIG;
	err = lock_with_new(slot, ki, index, why, vmf, &new);
	if (err)
		return err;
	if (why == KSMFS_BY_FAULT && index >= ksmfs_end(ki)) {
		err = -EFBIG;
	} else if (needs_folio(slot, why)) {
		err = replace(slot, new, why);
		if (!err)
			return why == KSMFS_BY_SPLIT;
	} else if (why != KSMFS_BY_SPLIT) {
		if (PageHWPoison(folio_page(slot->folio, 0)))
			err = -EHWPOISON;
		else
			ksmfs_slot_mark_written(slot);
	}
	if (new)
		folio_put(new);
	if (err)
		ksmfs_slot_unlock(slot);
	return err;
}

void ksmfs_slot_make_shared(const struct ksmfs_slot *slot)
{
	struct ksmfs_mount *mount = ksmfs_mount_of(slot->ki);

	ksmfs_index_make_shared(mount, slot->folio);
	atomic_long_dec(&slot->ki->pages_private);
	atomic_long_inc(&slot->ki->pages_sharing);
	percpu_counter_inc(&mount->pages_sharing);
}

static void count_merge(struct ksmfs_slot *slot)
{
	atomic_long_inc(&slot->ki->merges);
	percpu_counter_inc(&ksmfs_mount_of(slot->ki)->merges);
}

void ksmfs_slot_share(struct ksmfs_slot *slot, struct folio *folio)
{
	store(slot, folio, false);
	drop(slot);
	atomic_long_inc(&slot->ki->pages_sharing);
	percpu_counter_inc(&ksmfs_mount_of(slot->ki)->pages_sharing);
	count_merge(slot);
}

void ksmfs_slot_make_zero(struct ksmfs_slot *slot)
{
	store(slot, KSMFS_ZERO, false);
	drop(slot);
	atomic_long_inc(&slot->ki->pages_zero);
	percpu_counter_inc(&ksmfs_mount_of(slot->ki)->pages_zero);
	count_merge(slot);
}

static void remove(struct ksmfs_slot *slot)
{
	struct ksmfs_mount *mount = ksmfs_mount_of(slot->ki);

	store(slot, NULL, false);
	percpu_counter_dec(&mount->used);
	/* A zero page reads as before, and may stay mapped. */
	if (!xa_is_value(slot->entry))
		ksmfs_slot_unmap(slot);
	drop(slot);
}

void ksmfs_slots_remove(struct ksmfs_inode *ki, pgoff_t start, pgoff_t end)
{
	unsigned long index = start;
	struct ksmfs_slot slot;

	while (index < end &&
	       xa_find(&ki->slots, &index, end - 1, XA_PRESENT)) {
		ksmfs_slot_lock(&slot, ki, index);
		if (slot.entry)
			remove(&slot);
		ksmfs_slot_unlock(&slot);
		index++;
		cond_resched();
	}
}

void ksmfs_slots_wait_faults(struct ksmfs_inode *ki)
{
	struct ksmfs_mount *mount = ksmfs_mount_of(ki);

	for (unsigned int i = 0; i < KSMFS_ZEROS; i++) {
		folio_lock(mount->zeros[i]);
		folio_unlock(mount->zeros[i]);
	}
}
