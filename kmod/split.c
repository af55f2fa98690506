// SPDX-License-Identifier: GPL-2.0-only
/*
 * KSMFS_IOC_SPLIT: merged pages get pages of their own again
 */
#include <linux/sched/signal.h>

#include "slot.h"

int ksmfs_split(struct ksmfs_inode *ki, struct ksmfs_split *split)
{
	unsigned long index = split->start;
	int err = 0;

	if (!split->max)
		return -EINVAL;
	split->count = 0;
	split->next = split->end;
	while (index < split->end &&
	       xa_find(&ki->slots, &index, split->end - 1, XA_PRESENT)) {
		struct ksmfs_slot slot;

		if (signal_pending(current))
			err = -EINTR;
		else if (split->count == split->max)
			err = -EAGAIN;
		else
			err = ksmfs_slot_lock_private(&slot, ki, index,
						      KSMFS_BY_SPLIT, NULL, 0);
		if (err < 0) {
			split->next = index;
			break;
		}
		ksmfs_slot_unlock(&slot);
		split->count += err;
		index++;
		cond_resched();
	}
	/* Else signals that keep coming would let it begin again for ever. */
	if (err == -EINTR && index > split->start)
		err = 0;
	return split->count || err >= 0 ? 0 : err;
}
