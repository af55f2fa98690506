/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A slot: what backs one page of a file, and how that changes
 */
#ifndef KSMFS_SLOT_H
#define KSMFS_SLOT_H

#include "ksmfs.h"

/**
 * struct ksmfs_slot - a locked slot
 * @ki: the file
 * @index: of the page in it
 * @entry: what is in the array of slots
 * @folio: backs the slot: locked, and a reference of ours.  A zero folio if the
 *	   slot is empty or zero
 */
struct ksmfs_slot {
	struct ksmfs_inode *ki;
	pgoff_t index;
	void *entry;
	struct folio *folio;
};

static inline bool ksmfs_slot_is_private(const struct ksmfs_slot *slot)
{
	return slot->entry && !xa_is_value(slot->entry) &&
	       slot->folio->mapping == slot->ki->vfs_inode.i_mapping;
}

static inline bool ksmfs_slot_is_shared(const struct ksmfs_slot *slot)
{
	return slot->entry && !xa_is_value(slot->entry) &&
	       !ksmfs_slot_is_private(slot);
}

/* Lock the slot at @index of @ki; any index has one. */
void ksmfs_slot_lock(struct ksmfs_slot *slot, struct ksmfs_inode *ki,
		     pgoff_t index);
/* The same without waiting: false if someone else has it. */
bool ksmfs_slot_trylock(struct ksmfs_slot *slot, struct ksmfs_inode *ki,
			pgoff_t index);
/*
 * The same of slots from @index on, @max at most, up to the first one that is
 * empty, not marked as written, or had by someone else.  Return: how many.
 */
unsigned int ksmfs_slots_trylock_written(struct ksmfs_slot *slots,
					 unsigned int max,
					 struct ksmfs_inode *ki, pgoff_t index);
/*
 * Lock the slot that @folio of the mount's index is the own folio of, without
 * waiting; false if there is none any more, too.  The caller's reference is
 * the slot's from then on.
 */
bool ksmfs_slot_trylock_folio(struct ksmfs_slot *slot,
			      struct ksmfs_mount *mount, struct folio *folio);
void ksmfs_slot_unlock(struct ksmfs_slot *slot);

/*
 * What backs a slot just now, to be read only.  It may be replaced meanwhile.
 * The caller gets a reference.
 */
struct folio *ksmfs_slot_get_folio(struct ksmfs_inode *ki, pgoff_t index);

/* The folio of a locked slot is about to be mapped. */
void ksmfs_slot_mark_mapped(const struct ksmfs_slot *slot);
/* A locked slot that is not empty is about to be written. */
void ksmfs_slot_mark_written(const struct ksmfs_slot *slot);

/**
 * enum ksmfs_why - what a slot gets a folio of its own for
 * @KSMFS_BY_FAULT: it is written through a mapping; not beyond the file's end
 * @KSMFS_BY_WRITE: it is written by the caller, who has the inode locked
 * @KSMFS_BY_SPLIT: it was asked for.  Nothing is written, and a hole stays one
 */
enum ksmfs_why {
	KSMFS_BY_FAULT,
	KSMFS_BY_WRITE,
	KSMFS_BY_SPLIT,
};

/**
 * ksmfs_slot_lock_private - lock a slot and give it a folio of its own
 * @slot: the slot; nothing to unlock after an error
 * @ki: the file
 * @index: of the page
 * @why: what for
 * @vmf: the fault, if it is one: the NUMA policy of its mapping is followed; or
 *	 NULL
 *
 * Return: 0, or 1 if the slot was split; -EFBIG beyond the end of the file;
 * -ENOSPC, -ENOMEM, -EHWPOISON.
 */
int ksmfs_slot_lock_private(struct ksmfs_slot *slot, struct ksmfs_inode *ki,
			    pgoff_t index, enum ksmfs_why why,
			    const struct vm_fault *vmf);

/* Nobody maps the locked slot's folio there any more. */
void ksmfs_slot_unmap(const struct ksmfs_slot *slot);

/*
 * Three changes of a locked private slot, for whoever has seen that it is
 * mapped nowhere and that nobody else holds its folio.
 */
/* The folio is in the index, and shared: by this slot, and one to come. */
void ksmfs_slot_make_shared(const struct ksmfs_slot *slot);
/* It has the contents of @folio, which is shared and has counted this slot. */
void ksmfs_slot_share(struct ksmfs_slot *slot, struct folio *folio);
/* All of it is 0. */
void ksmfs_slot_make_zero(struct ksmfs_slot *slot);

/* All slots of [@start, @end) become empty, and their pages free. */
void ksmfs_slots_remove(struct ksmfs_inode *ki, pgoff_t start, pgoff_t end);

/* All who saw the file's old size in a fault are done with that. */
void ksmfs_slots_wait_faults(struct ksmfs_inode *ki);

#endif
