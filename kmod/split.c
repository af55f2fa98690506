// SPDX-License-Identifier: GPL-2.0-only
/*
 * KSMFS_IOC_SPLIT: merged pages get pages of their own again
 */
#include <linux/sched/signal.h>

#include "slot.h"

static bool is_merged(struct ksmfs_inode *ki, pgoff_t index, void *entry)
{
	struct ksmfs_slot slot;
	bool merged;

	if (xa_is_value(entry))
		return true;
	ksmfs_slot_lock(&slot, ki, index);
	merged = ksmfs_slot_is_shared(&slot) || xa_is_value(slot.entry);
	ksmfs_slot_unlock(&slot);
	return merged;
}

int ksmfs_split(struct ksmfs_inode *ki, struct ksmfs_split *split)
{
	unsigned long index = split->start;
	int err = 0;
	void *entry;

	if (!split->max)
		return -EINVAL;
	split->count = 0;
	split->next = split->end;
	while (index < split->end &&
	       (entry = xa_find(&ki->slots, &index, split->end - 1,
				XA_PRESENT))) {
		struct ksmfs_slot slot;

		if (signal_pending(current))
			err = -EINTR;
		else if (split->count == split->max)
			err = -EAGAIN;
		else if (is_merged(ki, index, entry)) {
			err = ksmfs_slot_lock_private(&slot, ki, index,
						      KSMFS_BY_SPLIT, NULL, 0);
			if (!err) {
				ksmfs_slot_unlock(&slot);
				split->count++;
			}
		}
		if (err) {
			split->next = index;
			break;
		}
		index++;
		cond_resched();
	}
	return split->count ? 0 : err;
}
