// SPDX-License-Identifier: GPL-2.0-only
/*
 * KSMFS_IOC_SPLIT: merged pages get pages of their own again
 *
 * And those that wait for a twin leave the index: who wants no page of the
 * range merged must not see one become another's twin afterwards.
 */
#include <linux/sched/signal.h>

#include "index.h"
#include "slot.h"

/* 1 if the page was split, 0 if there was nothing to split. */
static int split_slot(struct ksmfs_inode *ki, pgoff_t index)
{
	struct ksmfs_slot slot;
	int ret = ksmfs_slot_lock_private(&slot, ki, index, KSMFS_BY_SPLIT,
					  NULL);

	/* One that can't be read can't be copied, and gets no new twins. */
	if (ret == -EHWPOISON)
		return 0;
	if (ret < 0)
		return ret;
	if (ksmfs_slot_is_private(&slot))
		ksmfs_index_remove(ksmfs_mount_of(ki), slot.folio);
	ksmfs_slot_unlock(&slot);
	return ret;
}

int ksmfs_split(struct ksmfs_inode *ki, struct ksmfs_split *split)
{
	unsigned long index = split->start;

	if (!split->max)
		return -EINVAL;
	split->count = 0;
	split->next = split->end;
	while (index < split->end &&
	       xa_find(&ki->slots, &index, split->end - 1, XA_PRESENT)) {
		int ret = signal_pending(current) ? -EINTR :
			  split->count == split->max ? -EAGAIN :
			  split_slot(ki, index);

		if (ret < 0) {
			split->next = index;
			/* What was looked at is not looked at again. */
			return index > split->start ? 0 : ret;
		}
		split->count += ret;
		index++;
		cond_resched();
	}
	return 0;
}
