/*
 * Merge backends: what becomes of a page and its digest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A backend is one file that registers one ops table.  All of its functions
 * run with the engine's lock held: probe() in any thread, the others in the
 * engine's IOThread unless they say otherwise.  None may block, and each
 * returns within a millisecond.
 */
#ifndef ACCEL_KSM_BACKEND_H
#define ACCEL_KSM_BACKEND_H

#include "twins.h"

struct KsmBackend {
    KsmBackendType type;
    /* For backend=auto: the one with the highest that serves a block. */
    int preference;
    /*
     * Can this backend serve @block on this host?  Sets block->reason if not.
     */
    bool (*probe)(KsmBlock *block);
    /*
     * Can it merge at all here?  False, with the way out in @errp, where the
     * host lacks what it needs: it then tracks and hashes as usual.
     */
    bool (*available)(Error **errp);
    /*
     * The digests of @n pages of @block are known, and new.  The backend sets
     * KSM_PAGE_TWIN in the records of those that have a twin, now or later.
     * @twins is the index of those that don't find twins themselves.
     */
    void (*submit)(KsmTwins *twins, KsmBlock *block,
                   const KsmCandidate *candidates, size_t n);
    /* The page has no longer the @digest that was submitted. */
    void (*withdraw)(KsmTwins *twins, KsmBlock *block, size_t page,
                     uint64_t digest);
    /* The last two are NULL where nothing is ever merged. */
    /*
     * Let the kernel merge the pages [@first, @last), which have just gained
     * twins.  Returns false with errno set if the kernel refuses.
     */
    bool (*merge)(KsmBlock *block, size_t first, size_t last);
    /*
     * Don't let the kernel merge them any longer, and give those that are
     * merged memory of their own.  Returns false with errno set if it can't.
     */
    bool (*unmerge)(KsmBlock *block, size_t first, size_t last);
};

/* Call from type_init() or a constructor; @backend must stay. */
void ksm_backend_register(const KsmBackend *backend);

/*
 * The backend of @type that serves @block, or for KSM_BACKEND_TYPE_AUTO the
 * preferred one.  Returns NULL and sets block->reason if there is none.
 */
const KsmBackend *ksm_backend_find(KsmBackendType type, KsmBlock *block);
/* @page of @block is not what was submitted any more, if it was. */
void ksm_backend_withdraw(KsmTwins *twins, KsmBlock *block, size_t page);
/* Ask the backend of @type, or for AUTO the preferred one. */
bool ksm_backend_available(KsmBackendType type, Error **errp);

#endif
