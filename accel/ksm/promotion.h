/*
 * Promotion: which regions are armed, and may be marked
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * To arm a huge page splits it at the next write, and small pages that are
 * armed are never made into one.  So a region is armed where enough of its
 * pages are alike.  One of small pages is so at first, too: then it need be
 * read but once to know what was not written meanwhile.
 *
 * All functions need the engine's lock.
 */
#ifndef ACCEL_KSM_PROMOTION_H
#define ACCEL_KSM_PROMOTION_H

#include "state.h"

/*
 * Arm region @r if it is due, of small pages, and this was not tried before.
 * Returns true if it was: all of it is to be read then.
 */
bool ksm_promotion_try(KsmEngine *e, KsmBlock *block, size_t r);

/*
 * Promote or demote the region by what its pages are now, and arm or disarm it.
 * Returns true if its pages may be marked.
 */
bool ksm_promotion_update(KsmEngine *e, KsmBlock *block, size_t r);

/*
 * Take the marks of region @r away.  Returns false if the kernel refuses, which
 * is noted.
 */
bool ksm_promotion_withdraw(KsmEngine *e, KsmBlock *block, size_t r);

#endif
