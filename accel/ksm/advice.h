/*
 * The guest's advice, carried out: pages that nobody reads, nor merges
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All with the engine's lock held.
 */
#ifndef ACCEL_KSM_ADVICE_H
#define ACCEL_KSM_ADVICE_H

#include "state.h"

/*
 * What is advised from now on, see ksm_guest_advise(): takes @ranges over, and
 * returns what was before.  To be freed without the lock, as they can be many.
 */
KsmAdvisedRange *ksm_advice_set(KsmEngine *engine, KsmAdvisedRange *ranges,
                                size_t n);
void ksm_advice_cleanup(KsmEngine *engine);

/* There is memory of which advice is not carried out yet, or not any more. */
void ksm_advice_renew(KsmEngine *engine);
/* The same, of a block whose records are new. */
void ksm_advice_block_started(KsmEngine *engine);
/* @block is going away, or is not worked on for now. */
void ksm_advice_skip(KsmEngine *engine, KsmBlock *block);

/*
 * Carry out some of it.  False: there is nothing to do, or it waits for memory,
 * ksmtuned or the kernel.
 */
bool ksm_advice_step(KsmEngine *engine);

/* Is all of it carried out?  Needs no lock. */
static inline bool ksm_advice_is_done(const KsmEngine *engine)
{
    return !qatomic_load_acquire(&engine->advice.due);
}

/* Are there records that know nothing of it?  Then no pass may go on. */
static inline bool ksm_advice_is_fresh(const KsmEngine *engine)
{
    return engine->advice.fresh;
}

/*
 * The first of @ranges, as of ksm_guest_advise(), that is never merged and
 * has some of [@host, @end), or NULL.  Needs no engine, nor a lock.
 */
const KsmAdvisedRange *ksm_advice_find_never(const KsmAdvisedRange *ranges,
                                             size_t n, const uint8_t *host,
                                             const uint8_t *end);

KsmAdviceFigures ksm_advice_figures(const KsmEngine *engine);

#endif
