/*
 * Merge backends: what becomes of a page and its digest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A backend is one file that registers one ops table.  All of its functions
 * run with the engine's lock held: probe() in any thread, the others in the
 * engine's IOThread unless they say otherwise.  None may block, and each
 * returns within a millisecond, but for split() of many pages.
 */
#ifndef ACCEL_KSM_BACKEND_H
#define ACCEL_KSM_BACKEND_H

#include "tracker.h"
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
     * Begin and end to serve @block, which has page records meanwhile.  NULL
     * if there is nothing to be done.
     */
    void (*attach)(KsmBlock *block);
    void (*detach)(KsmBlock *block);
    /*
     * As ksm_tracker_written() and ksm_tracker_rearm(), of the pages
     * [@first, @last).  Only pages with memory are found.
     *
     * NULL: the engine tracks the memory by userfaultfd, and where enough of
     * it merges.  Otherwise all of the block is tracked by these, from the
     * start, and is neither marked nor kept in huge pages.
     */
    int (*written)(KsmBlock *block, size_t first, size_t last,
                   KsmPageRange ranges[KSM_TRACKER_RANGES], uint64_t *next);
    int (*rearm)(KsmBlock *block, size_t first, size_t last);
    /*
     * Can it merge at all here?  False, with the way out in @errp, where the
     * host lacks what it needs: it then tracks and hashes as usual.  NULL if
     * it depends on the block only.
     */
    bool (*available)(Error **errp);
    /*
     * The digests of @n pages of @block are known, and new.  The backend sets
     * KSM_PAGE_TWIN in the records of those that have a twin, now or later, and
     * clears KSM_PAGE_SUBMITTED in those that it could not take: they come
     * again.  @twins is the index of those that don't find twins themselves.
     * Returns false with errno set if the kernel refuses.
     */
    bool (*submit)(KsmTwins *twins, KsmBlock *block,
                   const KsmCandidate *candidates, size_t n);
    /* The page has no longer the @digest that was submitted.  Or NULL. */
    void (*withdraw)(KsmTwins *twins, KsmBlock *block, size_t page,
                     uint64_t digest);
    /* The next two are NULL where pages are not marked. */
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
    /*
     * Give merged pages of [@first, @last) memory of their own, and merge no
     * page with any of them; or NULL.  Returns false with errno set if it
     * can't.  Any thread, and of a block that is served no more, too.
     */
    bool (*split)(KsmBlock *block, size_t first, size_t last);
    /* Add what only the backend knows.  Or NULL.  Any thread. */
    void (*query)(const KsmBlock *block, KsmRAMBlockInfo *info);
};

/* Does the backend say what was written in @block, all of it? */
static inline bool ksm_backend_tracks(const KsmBlock *block)
{
    return block->backend->written;
}

/* Call from type_init() or a constructor; @backend must stay. */
void ksm_backend_register(const KsmBackend *backend);

/*
 * The backend of @type that serves @block, or for KSM_BACKEND_TYPE_AUTO the
 * preferred one.  Returns NULL and sets block->reason if there is none.
 */
const KsmBackend *ksm_backend_find(KsmBackendType type, KsmBlock *block);
/* Begin and end to serve the eligible @block. */
void ksm_backend_attach(KsmBlock *block);
void ksm_backend_detach(KsmBlock *block);
/*
 * Take the kernel's mark away, whoever made it.  False with errno set if it
 * refuses, but for a kernel without KSM, which has none.  Any thread.
 */
bool ksm_backend_unmark(uint8_t *host, size_t size);
/* @page of @block is not what was submitted any more, if it was. */
void ksm_backend_withdraw(KsmTwins *twins, KsmBlock *block, size_t page);
/* Ask the backend of @type, or for AUTO the preferred one. */
bool ksm_backend_available(KsmBackendType type, Error **errp);

#endif
