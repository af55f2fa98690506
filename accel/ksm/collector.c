/*
 * The collector: note what was written in armed regions, and arm it again
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "collector.h"
#include "promotion.h"
#include "ram.h"
#include "spot-check.h"

/*
 * Act on what was written for so long, about, at a time: microseconds, of
 * which these calls take as many.
 */
#define COLLECT_BUDGET      500
#define COLLECT_REARM       20
#define COLLECT_WITHDRAW    1
/* Look for it in so many regions at a time, which takes some 50 of them. */
#define COLLECT_REGIONS     32

/* Returns true if the page is to be armed again. */
static bool note_written(KsmEngine *e, KsmBlock *block, size_t p, int *budget)
{
    const size_t r = ksm_block_region_of(block, p);
    const KsmPage merged = ksm_backend_tracks(block) ? KSM_PAGE_TWIN
                                                     : KSM_PAGE_MARKED;
    const KsmPage old = block->pages[p];
    KsmPage page = ksm_page_written(old);
    /* Does READ look at it, unless it is written? */
    const bool looks = ksm_state_looks_at(e, r, old);

    if (old & KSM_PAGE_EXCLUDED) {
        /* That it is written is of no interest, nor to be found again. */
        return false;
    }
    if ((old & KSM_PAGE_WRITTEN) && !looks) {
        return false;
    }
    e->cow_breaks += (old & (merged | KSM_PAGE_WRITTEN)) == merged;
    if (ksm_page_heat(page) < KSM_PAGE_VOLATILE) {
        e->pass_written++;
    } else {
        *budget -= old & KSM_PAGE_SUBMITTED ? COLLECT_WITHDRAW : 0;
        ksm_backend_withdraw(&e->twins, block, p);
        page &= ~(KSM_PAGE_SUBMITTED | KSM_PAGE_TWIN | KSM_PAGE_ZERO |
                  KSM_PAGE_ZEROPAGE);
    }
    ksm_block_set_page(block, p, page);
    block->regions[r].pending = true;
    return looks;
}

void ksm_collector_rearm(KsmEngine *e, KsmBlock *block, size_t p, size_t end)
{
    int ret = ksm_backend_tracks(block)
        ? block->backend->rearm(block, p, end)
        : ksm_tracker_rearm(&e->tracker,
                            (uintptr_t)ksm_block_page_host(block, p),
                            (uintptr_t)ksm_block_page_host(block, end));

    if (ret < 0) {
        ksm_state_refused(e, -ret);
    }
}

static void rearm(KsmEngine *e, KsmBlock *block, size_t p, size_t end,
                  int *budget)
{
    ksm_collector_rearm(e, block, p, end);
    *budget -= COLLECT_REARM;
}

/*
 * Note that pages [@p, @end) were written, and arm them again: exactly these,
 * but for hot ones, whose next write is known to come.  Returns the page to go
 * on at, which is not @end if the @budget has run out.
 */
static size_t collect_written(KsmEngine *e, KsmBlock *block, size_t p,
                              size_t end, int *budget)
{
    size_t from = p;

    for (; p < end && *budget > 0; p++) {
        if (p - from == KSM_BATCH_PAGES) {
            rearm(e, block, from, p, budget);
            from = p;
            if (*budget <= 0) {
                break;
            }
        }
        if (note_written(e, block, p, budget)) {
            continue;
        }
        if (p > from) {
            rearm(e, block, from, p, budget);
        }
        from = p + 1;
    }
    if (p > from) {
        rearm(e, block, from, p, budget);
    }
    return p;
}

void ksm_collector_step(KsmEngine *e, KsmBlock *block, size_t r)
{
    const size_t page_size = qemu_real_host_page_size();
    const uint64_t host = (uintptr_t)block->host;
    KsmPageRange ranges[KSM_TRACKER_RANGES];
    int n, budget = COLLECT_BUDGET;
    size_t size, p, last, end = r;
    uint64_t next;
    uint8_t *start;

    ksm_spot_check(e, block, r);
    if (ksm_promotion_try(e, block, r)) {
        /* The next pass reads it. */
        e->unread = true;
        e->at_region++;
        return;
    }
    while (end < block->n_regions && end < r + COLLECT_REGIONS &&
           block->regions[end].armed) {
        end++;
    }
    if (end == r) {
        e->at_region++;
        return;
    }
    size = ksm_regions_memory(block, r, end, &start);
    last = (start + size - block->host) / page_size;
    /* The block may have shrunk since. */
    p = MIN(MAX((start - block->host) / page_size, e->at_page), last);
    n = ksm_ram_written(e, block, p, last, ranges, &next);
    if (n < 0) {
        ksm_state_refused(e, -n);
        e->at_region = end;
        return;
    }
    for (int i = 0; i < n && budget > 0; i++) {
        p = collect_written(e, block, (ranges[i].start - host) / page_size,
                            (ranges[i].end - host) / page_size, &budget);
    }
    e->at_page = budget > 0 ? (next - host) / page_size : p;
    e->at_region = e->at_page < last ? ksm_block_region_of(block, e->at_page)
                                     : end;
}

void ksm_collector_note(KsmEngine *e, KsmBlock *block, size_t first,
                        size_t last)
{
    int budget = INT_MAX;

    collect_written(e, block, first, last, &budget);
}

void ksm_collector_look(KsmEngine *e, KsmBlock *block, size_t first,
                        size_t last)
{
    const uint64_t host = (uintptr_t)block->host;
    KsmPageRange ranges[KSM_TRACKER_RANGES];
    uint64_t next;

    while (first < last) {
        const int n = ksm_ram_written(e, block, first, last, ranges, &next);

        if (n < 0) {
            ksm_state_refused(e, -n);
            return;
        }
        for (int i = 0; i < n; i++) {
            ksm_collector_note(e, block,
                               (ranges[i].start - host) >> block->page_bits,
                               (ranges[i].end - host) >> block->page_bits);
        }
        first = (next - host) >> block->page_bits;
    }
}
