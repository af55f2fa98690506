/*
 * Spot checks: was memory written in bulk?
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Where much was written, a look at one page in many finds it soon, at next to
 * no cost.  All with the engine's lock held.
 */
#ifndef ACCEL_KSM_SPOT_CHECK_H
#define ACCEL_KSM_SPOT_CHECK_H

#include "state.h"

/*
 * At the start of a pass: if @block's region @r is not armed, and not due to be
 * read, is it to be?
 */
void ksm_spot_check(KsmEngine *engine, KsmBlock *block, size_t r);

/*
 * Between two passes: check some regions of @block from region *@r on, and move
 * *@r to where to go on.  Returns true if a pass is to be made now.
 */
bool ksm_spot_check_some(KsmEngine *engine, KsmBlock *block, size_t *r);
/* The next round of those begins: it checks other regions.  False: not now. */
bool ksm_spot_check_begin(KsmEngine *engine);
/*
 * @region changed in bulk between two reads.  Is that news, to be read again
 * soon?  Only once after a spot check found it so: what changes all the time
 * never comes to rest.
 */
bool ksm_spot_check_read_again(KsmRegion *region);
/* A pass found pages to be stable: such rounds are of use. */
void ksm_spot_check_paid(KsmEngine *engine);

#endif
