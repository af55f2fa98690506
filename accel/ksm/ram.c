/*
 * The RAM that the engine works on: RAMBlocks come, change and go
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/prctl.h>
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "exec/memory.h"
#include "advice.h"
#include "ram.h"
#include "trace.h"

#ifndef PR_GET_MEMORY_MERGE
/* Since Linux 6.4, newer than some C libraries. */
#define PR_GET_MEMORY_MERGE 68
#endif

KsmFigures ksm_ram_figures(const KsmEngine *e)
{
    KsmFigures sum = e->removed;
    KsmBlock *block;

    QTAILQ_FOREACH(block, &e->blocks, next) {
        ksm_block_add_figures(block, &sum);
    }
    return sum;
}

static KsmBlock *find_block(KsmEngine *e, void *host)
{
    KsmBlock *block;

    QTAILQ_FOREACH(block, &e->blocks, next) {
        if (block->host == host) {
            return block;
        }
    }
    return NULL;
}

void ksm_ram_disarm(KsmEngine *e, KsmBlock *block, size_t r, size_t end)
{
    while (r < end) {
        size_t from = r, size;
        uint8_t *host;

        /* A run of armed regions at a time. */
        while (r < end && block->regions[r].armed) {
            block->regions[r++].armed = false;
        }
        if (r > from) {
            size = ksm_regions_memory(block, from, r, &host);
            ksm_tracker_disarm(&e->tracker, host, size);
        } else {
            r++;
        }
    }
}

int ksm_ram_written(KsmEngine *e, KsmBlock *block, size_t first, size_t last,
                    KsmPageRange ranges[KSM_TRACKER_RANGES], uint64_t *next)
{
    if (ksm_backend_tracks(block)) {
        return block->backend->written(block, first, last, ranges, next);
    }
    return ksm_tracker_written(&e->tracker,
                               (uintptr_t)ksm_block_page_host(block, first),
                               (uintptr_t)ksm_block_page_host(block, last),
                               ranges, next);
}

void ksm_ram_forget(KsmEngine *e, KsmBlock *block, size_t p)
{
    KsmPage page = block->pages[p];

    if (page & ~(KSM_PAGE_MARKED | KSM_PAGE_EXCLUDED)) {
        ksm_backend_withdraw(&e->twins, block, p);
        ksm_block_set_page(block, p,
                           page & (KSM_PAGE_MARKED | KSM_PAGE_EXCLUDED));
    }
}

void ksm_ram_note_poisoned(KsmEngine *e, KsmBlock *block, size_t p)
{
    block->figures.poisoned++;
    ksm_backend_withdraw(&e->twins, block, p);
    ksm_block_set_page(block, p, (block->pages[p] & KSM_PAGE_MARKED) |
                                 KSM_PAGE_EXCLUDED);
    trace_ksm_ram_poisoned(ksm_block_page_host(block, p));
}

/* Where those of @blocks end that have a page numbered [@at, @at + @n). */
static uint64_t numbered_to(const KsmBlockList *blocks, uint64_t at, uint64_t n)
{
    uint64_t end = at;
    KsmBlock *block;

    QTAILQ_FOREACH(block, blocks, next) {
        uint64_t first = block->first;
        uint64_t last = first + block->max_size / qemu_real_host_page_size();

        if (block->pages && first < at + n && at < last) {
            end = MAX(end, last);
        }
    }
    return end;
}

/* The lowest number that leaves room for @block's pages, or false. */
static bool number_pages(KsmEngine *e, const KsmBlock *block, uint32_t *first)
{
    uint64_t n = block->max_size / qemu_real_host_page_size();
    uint64_t at, end = 0;

    do {
        at = end;
        end = MAX(numbered_to(&e->blocks, at, n),
                  numbered_to(&e->leaving, at, n));
    } while (end != at);
    *first = at;
    return at + n <= UINT32_MAX;
}

/* A ROM that QEMU marked before we came: as if we had marked it whole. */
static void adopt_rom(KsmEngine *e, KsmBlock *block)
{
    block->backend = ksm_backend_find(e->parameters.backend, block);
    block->whole = block->backend && block->backend->unmerge;
    block->reason = KSM_INELIGIBLE_READ_ONLY;
}

/* The backend says what is written, in all regions. */
static void watch_all(KsmBlock *block)
{
    for (size_t r = 0; r < block->n_regions; r++) {
        block->regions[r].armed = true;
    }
}

void ksm_ram_start_block(KsmEngine *e, KsmBlock *block)
{
    uint32_t first;

    if (!ksm_block_is_eligible(block)) {
        if (block->blanket && block->reason == KSM_INELIGIBLE_READ_ONLY) {
            adopt_rom(e, block);
        }
        return;
    }
    block->backend = ksm_backend_find(e->parameters.backend, block);
    if (!block->backend) {
        return;
    }
    if (!number_pages(e, block, &first)) {
        block->reason = KSM_INELIGIBLE_TOO_LARGE;
        return;
    }
    ksm_block_start(block, first);
    ksm_backend_attach(block);
    if (ksm_backend_tracks(block)) {
        watch_all(block);
        block->blanket = false;
    }
    for (size_t r = 0; block->blanket && r < block->n_regions; r++) {
        block->regions[r].blanket = true;
    }
    ksm_advice_block_started(e);
    trace_ksm_ram_start_block(block->host, block->size);
}

static void skip_at(KsmPlace *place, KsmBlock *block)
{
    if (place->block == block) {
        *place = (KsmPlace) { QTAILQ_NEXT(block, next), 0 };
    }
}

/* The pass goes on behind @block, which is going away. */
static void skip(KsmEngine *e, KsmBlock *block)
{
    if (e->at_block == block) {
        ksm_state_go_to(e, QTAILQ_NEXT(block, next));
    }
    skip_at(&e->read_place, block);
    skip_at(&e->spot_place, block);
    ksm_advice_skip(e, block);
}

void ksm_ram_stop_block(KsmEngine *e, KsmBlock *block)
{
    KsmBlock *leaving;

    skip(e, block);
    if (block->eligible) {
        if (!ksm_backend_tracks(block)) {
            ksm_ram_disarm(e, block, 0, block->n_regions);
        }
        ksm_backend_detach(block);
        leaving = ksm_block_leave(block);
        QTAILQ_INSERT_TAIL(&e->leaving, leaving, next);
    }
}

/* Does the kernel mark all that is mapped, as systemd's MemoryKSM= asks? */
static bool is_all_marked(void)
{
    return prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0) == 1;
}

static void ram_added(RAMBlockNotifier *n, void *host, size_t size,
                      size_t max_size)
{
    KsmEngine *e = container_of(n, KsmEngine, notifier);
    KsmBlock *block = ksm_block_new(host, size, max_size);

    QEMU_LOCK_GUARD(&e->lock);
    QTAILQ_INSERT_TAIL(&e->blocks, block, next);
    block->merge = ksm_block_merge_enabled(host);
    block->blanket = (e->late || is_all_marked()) && !e->backend_message;
    ksm_ram_start_block(e, block);
}

static void ram_removed(RAMBlockNotifier *n, void *host, size_t size,
                        size_t max_size)
{
    KsmEngine *e = container_of(n, KsmEngine, notifier);
    KsmBlock *block;

    QEMU_LOCK_GUARD(&e->lock);
    block = find_block(e, host);
    if (block) {
        ksm_ram_stop_block(e, block);
        QTAILQ_REMOVE(&e->blocks, block, next);
        block->whole = false;
        ksm_block_add_figures(block, &e->removed);
        ksm_block_free(block);
    }
}

static void ram_resized(RAMBlockNotifier *n, void *host, size_t old_size,
                        size_t new_size)
{
    KsmEngine *e = container_of(n, KsmEngine, notifier);
    KsmBlock *block;

    QEMU_LOCK_GUARD(&e->lock);
    block = find_block(e, host);
    if (!block) {
        return;
    }
    for (size_t p = new_size / qemu_real_host_page_size();
         p < block->n_pages; p++) {
        ksm_backend_withdraw(&e->twins, block, p);
    }
    ksm_block_resize(block, new_size);
    ksm_advice_renew(e);
    if (block->eligible && ksm_backend_tracks(block)) {
        watch_all(block);
    }
}

/*
 * All of it before we return, as the kernel's madvise() would with what its own
 * KSM has merged.  The IOThread, which works on @block no more, gets the lock
 * in between.  BQL.
 */
static void split_all(KsmEngine *e, KsmBlock *block)
{
    const size_t n_pages = block->size / qemu_real_host_page_size();
    bool split = true;

    for (size_t p = 0; split && p < n_pages; p += KSM_BATCH_PAGES) {
        QEMU_LOCK_GUARD(&e->lock);
        split = block->backend->split(block, p,
                                      MIN(p + KSM_BATCH_PAGES, n_pages));
    }
    if (!split) {
        g_autofree char *name = ksm_block_name(block);

        warn_report("ksm: RAMBlock '%s' still has merged pages: %s: free memory"
                    " and set merge to on and off again", name,
                    strerror(errno));
    }
}

void ksm_ram_set_merge(KsmEngine *e, void *host, bool merge)
{
    KsmBlock *block;
    bool may_be_merged;

    WITH_QEMU_LOCK_GUARD(&e->lock) {
        block = find_block(e, host);
        if (!block || block->merge == merge) {
            return;
        }
        may_be_merged = block->eligible && block->backend->split;
        block->merge = merge;
        /* QEMU takes its own mark away when it is told to. */
        block->blanket &= merge;
        ksm_ram_stop_block(e, block);
        ksm_ram_start_block(e, block);
    }
    if (!merge && may_be_merged) {
        split_all(e, block);
    }
}

void ksm_ram_watch(KsmEngine *e)
{
    e->late = true;
    e->notifier = (RAMBlockNotifier) {
        .ram_block_added = ram_added,
        .ram_block_removed = ram_removed,
        .ram_block_resized = ram_resized,
    };
    ram_block_notifier_add(&e->notifier);
    e->late = false;
}

void ksm_ram_unwatch(KsmEngine *e)
{
    ram_block_notifier_remove(&e->notifier);
}
