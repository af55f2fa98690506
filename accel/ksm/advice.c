/*
 * The guest's advice, carried out: pages that nobody reads, nor merges
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a guest advises is a set of ranges, of which each takes the place of the
 * last.  For each, all memory is gone through twice, in steps.  First records
 * are made to match it: pages that are to be left alone are forgotten and
 * excluded, so that nobody reads them, nor has them merged from then on.  That
 * needs no memory.  Then those that are never to be merged, and were, are
 * parted: they get memory of their own.  So a guest may advise as often, and of
 * as much, as it likes: that costs what the engine may use, and memory for some
 * bitmaps in regions of which something is advised.
 *
 * No pass goes on while there are records which don't know what is advised of
 * their pages.
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "advice.h"
#include "backend.h"
#include "promotion.h"
#include "ram.h"
#include "reserve.h"
#include "trace.h"

/* So many regions in a step, if nothing is to be done there. */
#define STEP_REGIONS    64

/* The first of @ranges that ends behind @host; @n if there is none. */
static size_t first_behind(const KsmAdvisedRange *ranges, size_t n,
                           const uint8_t *host)
{
    size_t low = 0, high = n;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const KsmAdvisedRange *range = &ranges[middle];

        if (range->host + range->size > host) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

const KsmAdvisedRange *ksm_advice_find_never(const KsmAdvisedRange *ranges,
                                             size_t n, const uint8_t *host,
                                             const uint8_t *end)
{
    for (size_t i = first_behind(ranges, n, host);
         i < n && ranges[i].host < end; i++) {
        if (ranges[i].advice == KSM_ADVICE_NEVER) {
            return &ranges[i];
        }
    }
    return NULL;
}

/* The first piece from @host on of @block that is never to be merged. */
static const KsmAdvisedRange *find_never(const KsmAdviceState *advice,
                                         const KsmBlock *block,
                                         const uint8_t *host)
{
    return ksm_advice_find_never(advice->ranges, advice->n_ranges, host,
                                 block->host + block->size);
}

/* Where no backend serves @block now: one by which another object may have. */
static const KsmBackend *find_former(KsmBlock *block)
{
    const KsmIneligible reason = block->reason;
    const KsmBackend *backend = ksm_backend_find(KSM_BACKEND_TYPE_AUTO, block);

    block->reason = reason;
    return backend && backend->split ? backend : NULL;
}

static void go_to(KsmAdviceState *advice, KsmBlock *block)
{
    advice->place = (KsmPlace) { block, 0 };
    advice->page = 0;
    advice->never = block && find_never(advice, block, block->host);
    advice->former = advice->never && !block->eligible ? find_former(block)
                                                       : NULL;
}

void ksm_advice_renew(KsmEngine *e)
{
    KsmAdviceState *advice = &e->advice;

    qatomic_set(&advice->due, true);
    advice->parting = false;
    go_to(advice, QTAILQ_FIRST(&e->blocks));
}

void ksm_advice_block_started(KsmEngine *e)
{
    e->advice.fresh |= e->advice.n_ranges > 0;
    ksm_advice_renew(e);
}

KsmAdvisedRange *ksm_advice_set(KsmEngine *e, KsmAdvisedRange *ranges, size_t n)
{
    KsmAdvisedRange *old = e->advice.ranges;

    e->advice.ranges = ranges;
    e->advice.n_ranges = n;
    /* It may be of memory that has come, and is known to be advised of. */
    e->advice.fresh |= n > 0;
    ksm_advice_renew(e);
    return old;
}

void ksm_advice_cleanup(KsmEngine *e)
{
    g_clear_pointer(&e->advice.ranges, g_free);
}

void ksm_advice_skip(KsmEngine *e, KsmBlock *block)
{
    if (e->advice.due && e->advice.place.block == block) {
        go_to(&e->advice, QTAILQ_NEXT(block, next));
    }
}

/* What is advised of pages [@first, @last), of which the first is bit 0. */
static void find_advised(const KsmEngine *e, const KsmBlock *block,
                         size_t first, size_t last, KsmAdvisedPages *advised)
{
    const KsmAdviceState *advice = &e->advice;
    const size_t page_size = 1ul << block->page_bits;
    uint8_t *const start = ksm_block_page_host(block, first);
    uint8_t *const end = ksm_block_page_host(block, last);

    memset(advised, 0, sizeof(*advised));
    for (size_t i = first_behind(advice->ranges, advice->n_ranges, start);
         i < advice->n_ranges && advice->ranges[i].host < end; i++) {
        const KsmAdvisedRange *range = &advice->ranges[i];
        const size_t from = (MAX(range->host, start) - start) / page_size;
        const size_t to = DIV_ROUND_UP(MIN(range->host + range->size, end) -
                                       start, page_size);

        bitmap_set(range->advice == KSM_ADVICE_NEVER ? advised->never
                                                     : advised->rewritten,
                   from, to - from);
    }
    advised->n_never = bitmap_count_one(advised->never, KSM_REGION_MAX_PAGES);
    advised->n_rewritten = bitmap_count_one(advised->rewritten,
                                            KSM_REGION_MAX_PAGES);
}

static bool is_advised(const KsmAdvisedPages *advised, size_t bit)
{
    return advised && (test_bit(bit, advised->never) ||
                       test_bit(bit, advised->rewritten));
}

/*
 * Records
 */

/* Returns true if it was excluded before: it met a memory error. */
static bool exclude(KsmEngine *e, KsmBlock *block, size_t p)
{
    const bool poisoned = block->pages[p] & KSM_PAGE_EXCLUDED;

    ksm_ram_forget(e, block, p);
    ksm_block_set_page(block, p, block->pages[p] | KSM_PAGE_EXCLUDED);
    return poisoned;
}

/* As if nothing had ever been known of it. */
static void include(KsmBlock *block, size_t p)
{
    KsmRegion *region = &block->regions[ksm_block_region_of(block, p)];
    KsmPage page = block->pages[p] & ~KSM_PAGE_EXCLUDED;

    if (region->armed) {
        page |= KSM_PAGE_WRITTEN;
        region->pending = true;
    } else {
        region->due = 0;
        region->interval = 1;
    }
    ksm_block_set_page(block, p, page);
}

/* The records of region @r become @wanted. */
static void update_records(KsmEngine *e, KsmBlock *block, size_t r,
                           KsmAdvisedPages *wanted)
{
    KsmRegion *region = &block->regions[r];
    KsmAdvisedPages *advised = region->advised;
    size_t first, last;

    ksm_region_pages(block, r, &first, &last);
    for (size_t p = first; p < last; p++) {
        const size_t bit = p - first;
        const bool before = is_advised(advised, bit);
        bool poisoned = before && test_bit(bit, advised->poisoned);

        if (is_advised(wanted, bit)) {
            if (!before) {
                poisoned = exclude(e, block, p);
            }
            if (poisoned) {
                set_bit(bit, wanted->poisoned);
            }
        } else if (before && !poisoned) {
            include(block, p);
        }
    }
    if (!wanted->n_never && !wanted->n_rewritten) {
        g_clear_pointer(&region->advised, g_free);
        return;
    }
    if (!advised) {
        region->advised = g_memdup2(wanted, sizeof(*wanted));
        return;
    }
    bitmap_and(wanted->apart, advised->apart, wanted->never,
               KSM_REGION_MAX_PAGES);
    *advised = *wanted;
}

/*
 * Goes on, in blocks that have records, and counts @pages.  False: it waits for
 * ksmtuned.
 */
static bool records_step(KsmEngine *e, size_t *pages)
{
    KsmAdviceState *advice = &e->advice;
    KsmBlock *block = advice->place.block;
    KsmAdvisedPages wanted;
    size_t r = advice->place.region, first, last;

    if (!block->eligible || r >= block->n_regions) {
        go_to(advice, QTAILQ_NEXT(block, next));
        return true;
    }
    ksm_region_pages(block, r, &first, &last);
    find_advised(e, block, first, last, &wanted);
    if (block->regions[r].advised || wanted.n_never || wanted.n_rewritten) {
        if (ksm_rendezvous_is_congested(&e->twins.rendezvous)) {
            return false;
        }
        update_records(e, block, r, &wanted);
        *pages += last - first;
    }
    advice->place.region++;
    return true;
}

/*
 * Parting
 */

/* Has @block a mark of somebody else's, which no backend takes away? */
static bool is_marked(const KsmBlock *block)
{
    return block->blanket &&
           !(block->eligible && block->backend->unmerge);
}

/*
 * Goes on taking that mark away: of all of @block, as each range in it would
 * need mappings of its own, and nobody else has anything of it merged.
 */
static bool withdraw_mark(KsmEngine *e, KsmBlock *block, size_t *pages)
{
    const size_t end = block->size >> block->page_bits;
    const size_t first = e->advice.page;
    const size_t last = MIN(first + KSM_BATCH_PAGES, end);
    uint8_t *host = ksm_block_page_host(block, first);

    if (!ksm_reserve_allows(e)) {
        return false;
    }
    if (!ksm_backend_unmark(host, ksm_block_page_host(block, last) - host)) {
        ksm_state_refused(e, errno);
        return false;
    }
    *pages += last - first;
    e->advice.page = last;
    if (last == end) {
        block->blanket = false;
        e->advice.page = 0;
    }
    return true;
}

/* The next pages of the region, some at most, that are to be parted. */
static bool next_to_part(const KsmAdvisedPages *advised, size_t n,
                         size_t *first, size_t *last)
{
    size_t bit = 0;

    while (bit < n && (!test_bit(bit, advised->never) ||
                       test_bit(bit, advised->apart))) {
        bit++;
    }
    *first = bit;
    while (bit < n && bit < *first + KSM_BATCH_PAGES &&
           test_bit(bit, advised->never) && !test_bit(bit, advised->apart)) {
        bit++;
    }
    *last = bit;
    return *first < bit;
}

static bool part(KsmEngine *e, KsmBlock *block, size_t first, size_t last)
{
    trace_ksm_advice_part(ksm_block_page_host(block, first), last - first);
    if (block->backend->split) {
        return block->backend->split(block, first, last);
    }
    return !block->backend->unmerge ||
           ksm_marks_exclude(&e->marks, block, first, last);
}

/*
 * Some of region @r.  False if there is nothing to be done, else @ok says
 * whether it was.
 */
static bool part_some(KsmEngine *e, KsmBlock *block, size_t r, bool *ok,
                      size_t *pages)
{
    KsmRegion *region = &block->regions[r];
    size_t base, end, first, last;

    ksm_region_pages(block, r, &base, &end);
    if (e->advice.never && region->blanket) {
        /* One after the other, so that this needs no mappings. */
        *ok = ksm_reserve_allows(e) &&
              ksm_promotion_withdraw(e, block, r);
        *pages += end - base;
        return true;
    }
    if (!region->advised ||
        !next_to_part(region->advised, end - base, &first, &last)) {
        return false;
    }
    *ok = ksm_reserve_allows(e);
    if (*ok && !part(e, block, base + first, base + last)) {
        ksm_state_refused(e, errno);
        *ok = false;
    }
    if (*ok) {
        bitmap_set(region->advised->apart, first, last - first);
        *pages += last - first;
    }
    return true;
}

/*
 * Goes on with what another object may have merged of @block.  False if there
 * is nothing more to be done, else @ok says whether it was.
 */
static bool split_former(KsmEngine *e, KsmBlock *block, bool *ok, size_t *pages)
{
    KsmAdviceState *advice = &e->advice;
    uint8_t *host = ksm_block_page_host(block, advice->page), *end;
    const KsmAdvisedRange *range = find_never(advice, block, host);
    size_t first, last;

    if (!range) {
        return false;
    }
    first = (MAX(host, range->host) - block->host) >> block->page_bits;
    end = MIN(block->host + block->size, range->host + range->size);
    last = MIN(first + KSM_BATCH_PAGES,
               (end - block->host) >> block->page_bits);
    *ok = ksm_reserve_allows(e);
    if (*ok && !advice->former->split(block, first, last)) {
        ksm_state_refused(e, errno);
        *ok = false;
    }
    if (*ok) {
        advice->page = last;
        *pages += last - first;
    }
    return true;
}

/*
 * Goes on, and counts @pages.  False: it waits for memory, or the kernel has
 * refused.
 */
static bool parting_step(KsmEngine *e, size_t *pages)
{
    KsmAdviceState *advice = &e->advice;
    KsmBlock *block = advice->place.block;
    bool ok = true;

    if (advice->never && is_marked(block)) {
        return withdraw_mark(e, block, pages);
    }
    if (advice->former && split_former(e, block, &ok, pages)) {
        return ok;
    }
    if (!block->eligible || advice->place.region >= block->n_regions) {
        go_to(advice, QTAILQ_NEXT(block, next));
    } else if (!part_some(e, block, advice->place.region, &ok, pages)) {
        advice->place.region++;
    }
    return ok;
}

/* All blocks were gone through. */
static void end_walk(KsmEngine *e)
{
    KsmAdviceState *advice = &e->advice;

    if (advice->parting) {
        qatomic_store_release(&advice->due, false);
        trace_ksm_advice_done(advice->n_ranges);
        return;
    }
    advice->fresh = false;
    advice->parting = true;
    go_to(advice, QTAILQ_FIRST(&e->blocks));
}

bool ksm_advice_step(KsmEngine *e)
{
    KsmAdviceState *advice = &e->advice;
    size_t pages = 0;
    int i;

    for (i = 0; advice->due && i < STEP_REGIONS && pages < KSM_BATCH_PAGES;
         i++) {
        if (!advice->place.block) {
            end_walk(e);
        } else if (!(advice->parting ? parting_step(e, &pages)
                                     : records_step(e, &pages))) {
            break;
        }
    }
    return i > 0;
}

KsmAdviceFigures ksm_advice_figures(const KsmEngine *e)
{
    KsmAdviceFigures figures = {
        .ranges = e->advice.n_ranges,
        .done = ksm_advice_is_done(e),
    };
    KsmBlock *block;

    QTAILQ_FOREACH(block, &e->blocks, next) {
        for (size_t r = 0; r < block->n_regions; r++) {
            const KsmAdvisedPages *advised = block->regions[r].advised;

            if (advised) {
                figures.pages_never += advised->n_never;
                figures.pages_volatile += advised->n_rewritten;
            }
        }
    }
    return figures;
}
