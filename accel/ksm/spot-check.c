/*
 * Spot checks: was memory written in bulk?
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An unarmed region is read rarely while nothing in it changes, and passes are
 * rare while they find nothing.  A check of a region looks at one of its pages,
 * another one each time.
 */
#include "qemu/osdep.h"
#include "ram.h"
#include "spot-check.h"

/* Each of a region's pages in turn, not side by side: any odd number would. */
#define STRIDE          197
/* Seconds between checks of an unarmed region that never rests, less one. */
#define RESTLESS_MAX    63
/* Between two passes, one region in so many at a time, and then another. */
#define INTERLACE       32
/* So many in one step, which is 1 GiB. */
#define STEP_REGIONS    (512 / INTERLACE)
/* Rounds that are left out at most, where they lead to passes in vain. */
#define SKIP_MAX        15

/*
 * Was page @p, which is armed, written, and is that not known yet?  One that is
 * merged seems to be, once.
 */
static bool is_written(KsmEngine *e, KsmBlock *block, size_t p)
{
    KsmPageRange ranges[KSM_TRACKER_RANGES];
    uint64_t next;

    return !(block->pages[p] & (KSM_PAGE_WRITTEN | KSM_PAGE_EXCLUDED)) &&
           ksm_ram_written(e, block, p, p + 1, ranges, &next) > 0;
}

/* Does page @p not hold what it did when it was last read? */
static bool is_changed(KsmEngine *e, KsmBlock *block, size_t p)
{
    const KsmHasher *hasher = block->hasher ?: &e->hasher;
    const KsmPage page = block->pages[p];
    const uint64_t host = (uintptr_t)ksm_block_page_host(block, p);
    KsmPageRange range;
    uint64_t next, digest;

    if ((page & KSM_PAGE_EXCLUDED) || ksm_state_is_free(e, page) ||
        ksm_pagemap_present(&e->pagemap, host,
                            host + qemu_real_host_page_size(), &range, 1,
                            &next) != 1) {
        return false;
    }
    if (range.categories & KSM_PAGE_IS_PFNZERO) {
        return !(page & KSM_PAGE_ZERO);
    }
    switch (ksm_hasher_page(hasher, (void *)(uintptr_t)host,
                            qemu_real_host_page_size(), &digest)) {
    case KSM_HASH_ZERO:
        return !(page & KSM_PAGE_ZERO);
    case KSM_HASH_OK:
        return !(page & KSM_PAGE_HASHED) || (page & KSM_PAGE_DIGEST) != digest;
    default:
        ksm_ram_note_poisoned(e, block, p);
        return false;
    }
}

static bool is_suspect(KsmEngine *e, KsmBlock *block, size_t r, uint64_t turn)
{
    const bool armed = block->regions[r].armed;
    size_t first, last, p;

    ksm_region_pages(block, r, &first, &last);
    if (first == last) {
        return false;
    }
    p = first + turn * STRIDE % (last - first);
    return (!armed || is_written(e, block, p)) && is_changed(e, block, p);
}

/* Were two of the region's pages written?  One alone is often. */
static bool is_in_bulk(KsmEngine *e, KsmBlock *block, size_t r, uint64_t turn)
{
    return is_suspect(e, block, r, turn) && is_suspect(e, block, r, turn + 1);
}

/* Unless a page of it comes to rest, the next check is twice as far away. */
static void check_later(KsmRegion *region)
{
    region->restless = MIN(region->restless * 2 + 1, RESTLESS_MAX);
}

/* Have the pass read the unarmed region, or arm it. */
static void make_due(KsmRegion *region)
{
    check_later(region);
    region->interval = 1;
    region->due = 1;
    region->tried = false;
}

void ksm_spot_check(KsmEngine *e, KsmBlock *block, size_t r)
{
    KsmRegion *region = &block->regions[r];
    const unsigned pause = region->restless + 1;

    if (!region->armed && !region->reseed && region->due > 1 &&
        ksm_state_is_turn(e, r, pause) &&
        is_suspect(e, block, r, (e->seconds + r) / pause)) {
        make_due(region);
        e->unread = true;
    }
}

bool ksm_spot_check_begin(KsmEngine *e)
{
    if (e->spot_skip) {
        e->spot_skip--;
        return false;
    }
    e->spot_rounds++;
    return true;
}

bool ksm_spot_check_some(KsmEngine *e, KsmBlock *block, size_t *r)
{
    const uint64_t turn = e->spot_rounds / INTERLACE;

    *r += *r ? 0 : e->spot_rounds % INTERLACE;
    for (int i = 0; i < STEP_REGIONS && *r < block->n_regions;
         i++, *r += INTERLACE) {
        KsmRegion *region = &block->regions[*r];

        /* Of one that never rests, it is known. */
        if (region->restless || region->reseed ||
            !is_in_bulk(e, block, *r, turn)) {
            continue;
        }
        if (!region->armed) {
            make_due(region);
        }
        e->spot_vain = MIN(e->spot_vain * 2 + 1, SKIP_MAX);
        e->spot_skip = e->spot_vain;
        return true;
    }
    return false;
}

bool ksm_spot_check_read_again(KsmRegion *region)
{
    if (region->restless != 1) {
        return false;
    }
    check_later(region);
    return true;
}

void ksm_spot_check_paid(KsmEngine *e)
{
    e->spot_vain = 0;
    e->spot_skip = 0;
}
