// SPDX-License-Identifier: GPL-2.0-only
/*
 * KSMFS_IOC_COLLECT: which pages were written since they were last collected
 *
 * A slot is marked as written when it is filled, and when page_mkwrite() lets
 * its folio be mapped writable.  To collect it is to clear the mark and to
 * write-protect the page in all mappings, with its slot locked: so the next
 * write has to fault, and marks it again.  The page table entries must be
 * clean as well, since a dirty one may be made writable without a fault, by
 * mprotect().
 *
 * What someone else has a reference to may be written without a fault (direct
 * I/O): it is reported, and stays marked.
 */
#include <linux/bitmap.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "compat/compat.h"
#include "slot.h"
#include "trace.h"

/* Pages that are locked and write-protected together. */
#define RUN	64
/* Ranges until they are copied to the caller. */
#define RANGES	32

/**
 * struct output - what is reported
 * @user: the caller's array
 * @max: its elements
 * @count: of these, how many are used, including those of @ranges
 * @n: how many of @ranges are used
 * @ranges: the last ones, not copied yet
 */
struct output {
	struct ksmfs_range __user *user;
	u32 max;
	u32 count;
	u32 n;
	struct ksmfs_range ranges[RANGES];
};

static void mark_range(struct ksmfs_inode *ki, pgoff_t start, pgoff_t end)
{
	XA_STATE(xas, &ki->slots, start);
	unsigned int n = 0;
	void *entry;

	if (start == end)
		return;
	xas_lock(&xas);
	xas_for_each(&xas, entry, end - 1) {
		xas_set_mark(&xas, KSMFS_WRITTEN);
		if (++n % XA_CHECK_SCHED)
			continue;
		xas_pause(&xas);
		xas_unlock(&xas);
		cond_resched();
		xas_lock(&xas);
	}
	xas_unlock(&xas);
}

/* Copies what is in the buffer; what can't be is to be reported again. */
static int copy_out(struct ksmfs_inode *ki, struct output *out)
{
	u32 done = out->count - out->n;

	if (copy_to_user(out->user + done, out->ranges,
			 out->n * sizeof(*out->ranges))) {
		for (u32 i = 0; i < out->n; i++)
			mark_range(ki, out->ranges[i].start,
				   out->ranges[i].end);
		out->count = done;
		out->n = 0;
		return -EFAULT;
	}
	out->n = 0;
	return 0;
}

/* Is there room for a range that starts at @index? */
static bool has_room(const struct output *out, pgoff_t index)
{
	return out->count < out->max ||
	       (out->n && out->ranges[out->n - 1].end == index);
}

static int report(struct ksmfs_inode *ki, struct output *out, pgoff_t index,
		  unsigned long n)
{
	struct ksmfs_range *last = out->n ? &out->ranges[out->n - 1] : NULL;

	if (last && last->end == index) {
		last->end += n;
		return 0;
	}
	out->ranges[out->n++] = (struct ksmfs_range) {
		.start = index,
		.end = index + n,
	};
	out->count++;
	/* The last one may still grow, unless the buffer is full. */
	return out->n == RANGES && out->count < out->max ?
	       copy_out(ki, out) : 0;
}

/* Lock marked slots from @index on: how many, in @slots. */
static unsigned int lock_run(struct ksmfs_inode *ki, pgoff_t index,
			     pgoff_t end, struct ksmfs_slot slots[RUN])
{
	unsigned int n;

	n = ksmfs_slots_trylock_written(slots, min_t(pgoff_t, RUN, end - index),
					ki, index);
	if (n)
		return n;
	ksmfs_slot_lock(&slots[0], ki, index);
	return 1;
}

/*
 * Nobody can write the @n pages of locked @slots any more without a fault: the
 * page table entries of them are write-protected and clean.
 *
 * The last walks are one that protects, and one that finds nothing to clean.
 * What was dirty when it was protected would have been found by the latter, as
 * nobody else cleans it; what was clean can't be made writable again.  To clean
 * comes first since it finds nothing the second time, in general.
 */
static void write_protect(struct ksmfs_inode *ki, struct ksmfs_slot *slots,
			  unsigned int n)
{
	struct address_space *mapping = ki->vfs_inode.i_mapping;
	pgoff_t index = slots[0].index;
	DECLARE_BITMAP(dirty, RUN);
	pgoff_t first = 0, last = 0;

	if (!mapping_mapped(mapping))
		return;
	bitmap_zero(dirty, RUN);
	clean_record_shared_mapping_range(mapping, index, n, index, dirty,
					  &first, &last);
	do {
		wp_shared_mapping_range(mapping, index, n);
	} while (clean_record_shared_mapping_range(mapping, index, n, index,
						   dirty, &first, &last));
	/* The walks end at a mapping that can't be written, see ksmfs_mmap(). */
	if (!atomic_read(&ki->unwritable_maps))
		return;
	for (unsigned int i = 0; i < n; i++)
		if (ksmfs_slot_is_private(&slots[i]))
			folio_mkclean(slots[i].folio);
}

/*
 * Besides its slot, its mappings and us: who may write it unseen?  Private
 * mappings come, and mappings of all kinds go, without its lock: the references
 * before the count of a new one, and after that of an old one.
 */
static bool is_held(const struct ksmfs_slot *slot)
{
	int mapped, refs;

	if (!ksmfs_slot_is_private(slot))
		return false;
	mapped = folio_mapcount(slot->folio);
	/* A mapping that has just come has its reference. */
	smp_rmb();
	refs = folio_ref_count(slot->folio);
	/* One that goes is uncounted first: seen now, if its reference went. */
	smp_rmb();
	return refs != 2 + mapped || folio_mapcount(slot->folio) != mapped;
}

/* Collect some of the pages that are marked from @index on: how many. */
static unsigned int collect_run(struct ksmfs_inode *ki, pgoff_t index,
				pgoff_t end, struct ksmfs_slot slots[RUN])
{
	unsigned int n = lock_run(ki, index, end, slots);
	XA_STATE(xas, &ki->slots, index);
	void *entry;

	xas_lock(&xas);
	xas_for_each_marked(&xas, entry, index + n - 1, KSMFS_WRITTEN)
		xas_clear_mark(&xas, KSMFS_WRITTEN);
	xas_unlock(&xas);
	write_protect(ki, slots, n);
	for (unsigned int i = 0; i < n; i++) {
		if (is_held(&slots[i]))
			xa_set_mark(&ki->slots, index + i, KSMFS_WRITTEN);
		ksmfs_slot_unlock(&slots[i]);
	}
	trace_ksmfs_collect(ki, index, n);
	return n;
}

/* How many neighbours are marked from @index on, itself marked. */
static unsigned int peek_run(struct ksmfs_inode *ki, pgoff_t index,
			     pgoff_t end)
{
	XA_STATE(xas, &ki->slots, index);
	unsigned int n = 0;
	void *entry;

	rcu_read_lock();
	xas_for_each_marked(&xas, entry, end - 1, KSMFS_WRITTEN) {
		if (xas.xa_index != index + n || n == RUN)
			break;
		n++;
	}
	rcu_read_unlock();
	/* It was a moment ago. */
	return max(n, 1u);
}

/*
 * Become the file's collector, if there is none.  What another one collected
 * before is to be reported, too.  1 if we weren't, 0 if we were; or -EBUSY.
 */
static int claim(struct ksmfs_inode *ki, struct file *file)
{
	struct file *collector;

	xa_lock(&ki->slots);
	collector = ki->collector;
	if (!collector)
		ki->collector = file;
	xa_unlock(&ki->slots);
	if (collector)
		return collector == file ? 0 : -EBUSY;
	mark_range(ki, 0, ULONG_MAX);
	return 1;
}

void ksmfs_collect_release(struct file *file)
{
	struct ksmfs_inode *ki = ksmfs_inode(file_inode(file));

	xa_lock(&ki->slots);
	if (ki->collector == file)
		ki->collector = NULL;
	xa_unlock(&ki->slots);
}

int ksmfs_collect(struct file *file, struct ksmfs_collect *collect)
{
	struct ksmfs_inode *ki = ksmfs_inode(file_inode(file));
	struct output out = {
		.user = u64_to_user_ptr(collect->ranges),
		.max = collect->max,
	};
	struct ksmfs_slot *slots = NULL;
	unsigned long index = collect->start;
	int err;

	if (!collect->max && !(collect->flags & KSMFS_COLLECT_RESTART))
		return -EINVAL;
	/* To peek locks nothing, nor does to restart. */
	if (!collect->flags) {
		slots = kmalloc_array(RUN, sizeof(*slots), GFP_KERNEL_ACCOUNT);
		if (!slots)
			return -ENOMEM;
	}
	err = claim(ki, file);
	if (err < 0) {
		kfree(slots);
		return err;
	}
	if (collect->flags & KSMFS_COLLECT_RESTART) {
		if (!err)
			mark_range(ki, collect->start, collect->end);
		collect->next = collect->end;
		collect->count = 0;
		return 0;
	}
	err = 0;
	collect->next = collect->end;
	while (!err && index < collect->end &&
	       xa_find(&ki->slots, &index, collect->end - 1, KSMFS_WRITTEN)) {
		unsigned int n;

		if (!has_room(&out, index) || signal_pending(current)) {
			err = out.count ? 0 : -EINTR;
			collect->next = index;
			break;
		}
		n = slots ? collect_run(ki, index, collect->end, slots) :
			    peek_run(ki, index, collect->end);
		err = report(ki, &out, index, n);
		index += n;
		cond_resched();
	}
	kfree(slots);
	err = copy_out(ki, &out) ?: err;
	collect->count = out.count;
	return err;
}
