/*
 * Who else has this page: ksmtuned's twin index, or one of our own
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * While ksmtuned can be reached, it knows the digests of all engines of the
 * domain.  Otherwise twins are found inside this guest, in an index of the
 * engine's own.  All functions need the engine's lock.
 */
#ifndef ACCEL_KSM_TWINS_H
#define ACCEL_KSM_TWINS_H

#include "block.h"
#include "rendezvous.h"

typedef struct KsmCandidate {
    uint64_t digest;
    size_t page;            /* of the block */
} KsmCandidate;

typedef struct KsmTwins {
    KsmBlockList *blocks;   /* where answers go to */
    KsmRendezvous rendezvous;
    KsmIndex *own;          /* NULL while the rendezvous is connected */
    /* Pages that were marked, and gained a twin for other contents since. */
    uint64_t again;
} KsmTwins;

/* Starts with an own index. */
void ksm_twins_init(KsmTwins *twins, KsmBlockList *blocks);
void ksm_twins_cleanup(KsmTwins *twins);

/*
 * Use ksmtuned's index, or our own.  All that was submitted is unknown to it
 * and must be submitted again.
 */
void ksm_twins_use_own(KsmTwins *twins, bool own);

/* As KsmBackend.submit and .withdraw. */
bool ksm_twins_submit(KsmTwins *twins, KsmBlock *block,
                      const KsmCandidate *candidates, size_t n);
void ksm_twins_withdraw(KsmTwins *twins, KsmBlock *block, size_t page,
                        uint64_t digest);
/*
 * ksmtuned's answer: page number @number with @digest has a twin, or not.
 * Returns true if that is news.
 */
bool ksm_twins_answer(KsmTwins *twins, uint32_t number, uint64_t digest,
                      bool twin);

#endif
