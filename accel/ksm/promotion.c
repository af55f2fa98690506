/*
 * Promotion: which regions are armed, and may be marked
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "promotion.h"
#include "ram.h"

bool ksm_promotion_withdraw(KsmEngine *e, KsmBlock *block, size_t r)
{
    if (!ksm_marks_withdraw(&e->marks, block, r)) {
        ksm_state_refused(e, errno);
        return false;
    }
    return true;
}

/*
 * Would merging pages of the region be worth it?  What was one huge page when
 * it was found goes on being measured as such.
 */
static bool is_worth_it(const KsmEngine *e, const KsmRegion *region)
{
    unsigned n = region->twins + region->zeros - region->zeropages;

    return n >= (region->was_huge ? e->parameters.huge_split_threshold : 1);
}

/*
 * Is so little of it alike by now that it may be a huge page again?  What was
 * merged before the guest said that it is volatile is not known, but stays.
 */
static bool is_worth_no_more(const KsmEngine *e, const KsmRegion *region)
{
    unsigned n = region->twins + region->zeros;

    if (region->advised && region->advised->n_rewritten && region->marked) {
        return false;
    }
    return region->quiet >= KSM_MARKS_QUIET_PASSES &&
           n < (region->was_huge ?
                DIV_ROUND_UP(e->parameters.huge_split_threshold, 2) : 1);
}

/* Arming splits a huge page at the next write: only if that may save memory. */
static bool may_arm(const KsmEngine *e, const KsmBlock *block,
                    const KsmRegion *region)
{
    return ksm_tracker_can_arm(&e->tracker) &&
           (!region->huge || (block->backend->merge && !e->backend_message));
}

static bool arm(KsmEngine *e, KsmBlock *block, size_t r)
{
    KsmRegion *region = &block->regions[r];
    uint8_t *host;
    size_t size = ksm_regions_memory(block, r, r + 1, &host);
    int ret = ksm_tracker_arm(&e->tracker, host, size);

    if (ret < 0) {
        ksm_state_refused(e, -ret);
        return false;
    }
    region->armed = true;
    return true;
}

/* The pass, or the next one, reads page @p of an armed region. */
static void have_read(KsmBlock *block, size_t p)
{
    KsmPage page = block->pages[p];

    page = ksm_page_set_age(page, 0) | KSM_PAGE_WRITTEN;
    ksm_block_set_page(block, p, page);
    block->regions[ksm_block_region_of(block, p)].pending = true;
}

/* Arm a region that was read before. */
static void arm_known(KsmEngine *e, KsmBlock *block, size_t r)
{
    KsmRegion *region = &block->regions[r];
    size_t first, last;

    if (!arm(e, block, r)) {
        return;
    }
    /*
     * What was submitted may have been written since it was read, but has
     * read the same twice: look again soon, not at all regions at once.  What
     * has been read once must be read again.
     */
    region->settled = false;
    region->due = KSM_READ_INTERVAL_MAX / 2 + r % KSM_READ_INTERVAL_MAX;
    ksm_region_pages(block, r, &first, &last);
    for (size_t p = first; p < last; p++) {
        if ((block->pages[p] & (KSM_PAGE_HASHED | KSM_PAGE_SUBMITTED)) ==
            KSM_PAGE_HASHED) {
            have_read(block, p);
        }
    }
}

/* Neither track nor merge the region; nothing happens if it isn't. */
static void release(KsmEngine *e, KsmBlock *block, size_t r)
{
    KsmRegion *region = &block->regions[r];

    if (!ksm_promotion_withdraw(e, block, r)) {
        return;
    }
    if (region->armed) {
        ksm_ram_disarm(e, block, r, r + 1);
        region->pending = false;
        region->interval = KSM_READ_INTERVAL_MAX;
        region->due = region->interval;
    }
}

/* Is it of small pages, of which some are there? */
static bool is_small(KsmEngine *e, const KsmBlock *block, size_t r)
{
    KsmPageRange range;
    uint64_t next;
    uint8_t *host;
    size_t size = ksm_regions_memory(block, r, r + 1, &host);
    int n = ksm_pagemap_present(&e->pagemap, (uintptr_t)host,
                                (uintptr_t)host + size, &range, 1, &next);

    return n == 1 && !(range.categories & KSM_PAGE_IS_HUGE);
}

/* All that is there, or was, of region @r, which was just armed. */
static void have_all_read(KsmEngine *e, KsmBlock *block, size_t r)
{
    const uint64_t host = (uintptr_t)block->host;
    KSM_UNINITIALIZED KsmPageRange ranges[KSM_REGION_MAX_PAGES];
    uint64_t next;
    uint8_t *start;
    size_t size = ksm_regions_memory(block, r, r + 1, &start);
    size_t first, last;
    int n = ksm_pagemap_present(&e->pagemap, (uintptr_t)start,
                                (uintptr_t)start + size, ranges,
                                KSM_REGION_MAX_PAGES, &next);

    if (n < 0) {
        ksm_state_refused(e, -n);
    }
    for (int i = 0; i < n; i++) {
        size_t p = (ranges[i].start - host) >> block->page_bits;

        for (; p < (ranges[i].end - host) >> block->page_bits; p++) {
            if (!(block->pages[p] & KSM_PAGE_EXCLUDED)) {
                have_read(block, p);
            }
        }
    }
    ksm_region_pages(block, r, &first, &last);
    for (size_t p = first; p < last; p++) {
        if (block->pages[p] & (KSM_PAGE_HASHED | KSM_PAGE_ZERO)) {
            have_read(block, p);
        }
    }
}

bool ksm_promotion_try(KsmEngine *e, KsmBlock *block, size_t r)
{
    KsmRegion *region = &block->regions[r];

    if (region->armed || region->tried || region->was_huge ||
        region->blanket || region->due > 1 ||
        !may_arm(e, block, region) || !is_small(e, block, r)) {
        return false;
    }
    region->promoted = true;
    if (!ksm_marks_admit(&e->marks, region) ||
        !ksm_marks_take(&e->marks, block, r) || !arm(e, block, r)) {
        region->promoted = false;
        return false;
    }
    region->tried = true;
    region->quiet = 0;
    region->settled = true;
    region->due = KSM_REHASH_INTERVAL + r % KSM_READ_INTERVAL_MAX;
    have_all_read(e, block, r);
    return true;
}

bool ksm_promotion_update(KsmEngine *e, KsmBlock *block, size_t r)
{
    KsmRegion *region = &block->regions[r];
    /* Its mappings were counted when marking began. */
    const bool counted = region->promoted;

    if (!region->promoted) {
        region->promoted = is_worth_it(e, region);
    } else if (is_worth_no_more(e, region)) {
        region->promoted = false;
    }
    if (!ksm_marks_admit(&e->marks, region)) {
        release(e, block, r);
        return false;
    }
    if (!counted && !ksm_marks_take(&e->marks, block, r)) {
        /* Others may have to make room for it, which the next pass decides. */
        return false;
    }
    if (!region->armed && may_arm(e, block, region)) {
        arm_known(e, block, r);
    }
    return true;
}
