/*
 * The reader: hash a region's pages that are due, and submit the stable ones
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Only resident pages are touched.  An unarmed region is read whole, and less
 * and less often while nothing in it changes; of an armed one the pages that
 * the tracker found written, once they are left alone.
 */
#include "qemu/osdep.h"
#include "ram.h"
#include "reader.h"
#include "spot-check.h"
#include "trace.h"

/* What is known of a page whatever it holds. */
#define KEPT    (KSM_PAGE_MARKED | KSM_PAGE_HEAT | KSM_PAGE_REUSED)

/* What reading a region has brought. */
typedef struct RegionNews {
    unsigned hashed;        /* pages */
    unsigned fresh;         /* of which nothing was known before */
    unsigned changed;       /* of which something else was */
    unsigned found;         /* found stable: submitted, or zero */
} RegionNews;

/* What is read of a region at once. */
typedef struct Reading {
    KsmEngine *e;
    KsmBlock *block;
    KsmRegion *region;
    bool hinted;            /* by a device that has just filled it */
    RegionNews news;
    size_t n_candidates;
    KsmCandidate candidates[KSM_REGION_MAX_PAGES];
} Reading;

/* The page is zero now. */
static void note_zero(Reading *reading, size_t p)
{
    KsmEngine *e = reading->e;
    KsmBlock *block = reading->block;
    RegionNews *news = &reading->news;
    const bool stable = reading->region->armed;
    const KsmPage old = block->pages[p];
    KsmPage state = KSM_PAGE_ZERO;

    ksm_backend_withdraw(&e->twins, block, p);
    if (!(old & KSM_PAGE_ZERO)) {
        /*
         * A huge page comes zeroed, and fills up: a page is taken for a zero
         * page when it reads so twice.  The digest 0 remembers the first time.
         */
        if (stable || ((old & KSM_PAGE_HASHED) && !(old & KSM_PAGE_DIGEST))) {
            news->found++;
        } else {
            news->fresh += !(old & KSM_PAGE_HASHED);
            state = KSM_PAGE_HASHED;
        }
    }
    ksm_block_set_page(block, p, (old & KEPT) | state);
}

/* The page's @digest is known.  Returns true if it is to be submitted. */
static bool note_digest(Reading *reading, size_t p, uint64_t digest)
{
    KsmEngine *e = reading->e;
    KsmBlock *block = reading->block;
    RegionNews *news = &reading->news;
    const bool armed = reading->region->armed;
    const KsmPage old = block->pages[p];
    const bool known = old & (KSM_PAGE_HASHED | KSM_PAGE_ZERO);
    const bool same = (old & KSM_PAGE_HASHED) &&
                      (old & KSM_PAGE_DIGEST) == digest;
    KsmPage page = digest | (old & KEPT) | KSM_PAGE_HASHED;
    unsigned age;

    if (same && (old & KSM_PAGE_SUBMITTED)) {
        /*
         * A page beyond the candidates of its digest is not told when its last
         * twin goes: ask again now and then.
         */
        bool ask = armed && (old & KSM_PAGE_TWIN);

        ksm_block_set_page(block, p, page | KSM_PAGE_SUBMITTED |
                                     (ask ? 0 : old & KSM_PAGE_TWIN));
        return ask;
    }
    if (!same) {
        page |= old & KSM_PAGE_MARKED ? KSM_PAGE_REUSED : 0;
        ksm_backend_withdraw(&e->twins, block, p);
        /* In an armed region the tracker has seen it. */
        e->cow_breaks += known && !armed && (old & KSM_PAGE_MARKED);
    }
    news->fresh += !known;
    news->changed += known && !same;
    age = same ? ksm_page_age(old) + 1 : 0;
    if (!armed && known) {
        /* Written once, for all that the device knows. */
        page = reading->hinted
            ? ksm_page_set_heat(page, ksm_page_heat(page) + !same)
            : ksm_page_reread(page, same);
    }
    if (armed ||
        ((reading->hinted || age >= e->parameters.stable_passes) &&
         ksm_page_heat(page) < KSM_PAGE_VOLATILE)) {
        news->found++;
        ksm_block_set_page(block, p, page | KSM_PAGE_SUBMITTED);
        return true;
    }
    ksm_block_set_page(block, p, ksm_page_set_age(page, age));
    return false;
}

/* Digests made with another seed mean nothing any more. */
static void forget_digests(KsmBlock *block, size_t r)
{
    KsmRegion *region = &block->regions[r];
    size_t first, last;

    ksm_region_pages(block, r, &first, &last);
    for (size_t p = first; p < last; p++) {
        KsmPage page = block->pages[p];

        if (page & KSM_PAGE_HASHED) {
            ksm_block_set_page(block, p, page & (KSM_PAGE_MARKED |
                                                 KSM_PAGE_EXCLUDED));
        }
    }
    region->due = 0;
    region->interval = 1;
    region->resubmit = false;
    region->reseed = false;
}

static void submit(KsmEngine *e, KsmBlock *block,
                   const KsmCandidate *candidates, size_t n)
{
    if (n && !block->backend->submit(&e->twins, block, candidates, n)) {
        ksm_state_refused(e, errno);
    }
    block->figures.pages_submitted += n;
}

/* Submit again what was submitted to another index. */
static void resubmit(KsmEngine *e, KsmBlock *block, size_t r)
{
    KSM_UNINITIALIZED KsmCandidate candidates[KSM_REGION_MAX_PAGES];
    size_t first, last, n = 0;

    ksm_region_pages(block, r, &first, &last);
    for (size_t p = first; p < last; p++) {
        KsmPage page = block->pages[p];

        if (page & KSM_PAGE_SUBMITTED) {
            ksm_block_set_page(block, p, page & ~KSM_PAGE_TWIN);
            candidates[n++] = (KsmCandidate) { page & KSM_PAGE_DIGEST, p };
        }
    }
    submit(e, block, candidates, n);
    block->regions[r].resubmit = false;
}

/*
 * The pages [@first, @last) that may be read.  Those that a backend reports as
 * written were there.  One that was discarded since reads as zeros, which
 * brings no memory in.
 */
static int resident(KsmEngine *e, KsmBlock *block, size_t first, size_t last,
                    KsmPageRange ranges[KSM_REGION_MAX_PAGES])
{
    const uint64_t start = (uintptr_t)ksm_block_page_host(block, first);
    const uint64_t end = (uintptr_t)ksm_block_page_host(block, last);
    uint64_t next;

    if (ksm_backend_tracks(block)) {
        ranges[0] = (KsmPageRange) { .start = start, .end = end };
        return 1;
    }
    return ksm_pagemap_present(&e->pagemap, start, end, ranges,
                               KSM_REGION_MAX_PAGES, &next);
}

static void read_page(Reading *reading, size_t p, uint64_t categories)
{
    KsmEngine *e = reading->e;
    KsmBlock *block = reading->block;
    const KsmHasher *hasher = block->hasher ?: &e->hasher;
    const KsmPage page = block->pages[p];
    uint64_t digest = 0;

    if ((page & KSM_PAGE_EXCLUDED) || ksm_state_is_free(e, page)) {
        return;
    }
    if (categories & KSM_PAGE_IS_PFNZERO) {
        ksm_backend_withdraw(&e->twins, block, p);
        ksm_block_set_page(block, p, (page & KSM_PAGE_MARKED) |
                                     KSM_PAGE_ZERO | KSM_PAGE_ZEROPAGE);
        return;
    }
    reading->news.hashed++;
    switch (ksm_hasher_page(hasher, ksm_block_page_host(block, p),
                            qemu_real_host_page_size(), &digest)) {
    case KSM_HASH_ZERO:
        if (!ksm_backend_tracks(block)) {
            note_zero(reading, p);
            break;
        }
        /* To be merged like any other. */
        digest = hasher->zero_digest;
        /* fall through */
    case KSM_HASH_OK:
        if (note_digest(reading, p, digest)) {
            reading->candidates[reading->n_candidates++] =
                (KsmCandidate) { digest, p };
        }
        break;
    case KSM_HASH_POISONED:
        ksm_ram_note_poisoned(e, block, p);
        break;
    }
}

/* Read those of the pages [@first, @last) that are resident. */
static bool read_resident(Reading *reading, size_t first, size_t last)
{
    KsmBlock *block = reading->block;
    const uint64_t host = (uintptr_t)block->host;
    KSM_UNINITIALIZED KsmPageRange ranges[KSM_REGION_MAX_PAGES];
    size_t p = first;
    int n = resident(reading->e, block, first, last, ranges);

    if (n < 0) {
        ksm_state_refused(reading->e, -n);
        return false;
    }
    reading->region->huge = n > 0 &&
                            (ranges[0].categories & KSM_PAGE_IS_HUGE);
    reading->region->was_huge |= reading->region->huge;
    for (int i = 0; i < n; i++) {
        size_t start = (ranges[i].start - host) >> block->page_bits;
        size_t end = (ranges[i].end - host) >> block->page_bits;

        while (p < start) {
            ksm_ram_forget(reading->e, block, p++);
        }
        while (p < end) {
            read_page(reading, p++, ranges[i].categories);
        }
    }
    while (p < last) {
        ksm_ram_forget(reading->e, block, p++);
    }
    return true;
}

/*
 * Is the page of an armed region to be read now?  One that waits has waited for
 * one more pass.
 */
static bool is_due(Reading *reading, size_t p)
{
    KsmEngine *e = reading->e;
    KsmBlock *block = reading->block;
    const size_t r = reading->region - block->regions;
    const KsmPage page = block->pages[p];

    if (!(page & KSM_PAGE_WRITTEN) || (page & KSM_PAGE_EXCLUDED)) {
        return false;
    }
    if (ksm_state_looks_at(e, r, page)) {
        if (ksm_page_age(page) >= e->parameters.stable_passes) {
            return true;
        }
        ksm_block_set_page(block, p, ksm_page_waited(page));
    }
    reading->region->pending = true;
    return false;
}

static bool is_worth_reading(Reading *reading, size_t p)
{
    const KsmPage page = reading->block->pages[p];

    return ksm_page_heat(page) < KSM_PAGE_VOLATILE &&
           !(page & KSM_PAGE_EXCLUDED);
}

static bool is_zero(Reading *reading, size_t p)
{
    const KsmPage page = reading->block->pages[p];

    return (page & KSM_PAGE_ZERO) && !(page & KSM_PAGE_WRITTEN);
}

/* Read those of the pages [@first, @last) that are wanted, in runs. */
static bool read_wanted(Reading *reading, size_t first, size_t last,
                        bool (*is_wanted)(Reading *reading, size_t p))
{
    size_t start = first;
    bool ok = true;

    for (size_t p = first; p < last && ok; p++) {
        if (is_wanted(reading, p)) {
            continue;
        }
        ok = start == p || read_resident(reading, start, p);
        start = p + 1;
    }
    return ok && (start == last || read_resident(reading, start, last));
}

/*
 * Where a huge page is found split, the kernel may have mapped zero pages of it
 * to its shared one, which nothing tells: look at these, too.
 */
static bool read_some(Reading *reading, size_t first, size_t last,
                      bool (*is_wanted)(Reading *reading, size_t p))
{
    KsmBlock *block = reading->block;
    const bool huge = reading->region->huge;
    size_t base, end;

    if (!read_wanted(reading, first, last, is_wanted)) {
        return false;
    }
    if (!huge || reading->region->huge) {
        return true;
    }
    ksm_region_pages(block, ksm_block_region_of(block, first), &base, &end);
    return read_wanted(reading, base, end, is_zero);
}

/* A reading needs no other initialization: it is large. */
static void begin(Reading *reading, KsmEngine *e, KsmBlock *block, size_t r,
                  bool hinted)
{
    reading->e = e;
    reading->block = block;
    reading->region = &block->regions[r];
    reading->hinted = hinted;
    reading->news = (RegionNews) { 0 };
    reading->n_candidates = 0;
}

/* Submit, and count, what was found in @scanned pages. */
static void finish(Reading *reading, size_t scanned)
{
    KsmEngine *e = reading->e;
    KsmBlock *block = reading->block;
    const unsigned hashed = reading->news.hashed;

    submit(e, block, reading->candidates, reading->n_candidates);
    block->figures.pages_scanned += scanned;
    block->figures.pages_hashed += hashed;
    e->pass_hashed += hashed;
    e->batch_hashed += hashed;
}

/*
 * Hash those of the region's resident pages that are due: all of an unarmed
 * region, and of an armed one those that were written and then left alone.
 * Returns false if it is to be called again, to go on at e->at_page.
 */
static bool read_region(KsmEngine *e, KsmBlock *block, size_t r)
{
    KsmRegion *region = &block->regions[r];
    KSM_UNINITIALIZED Reading reading;
    const RegionNews *news = &reading.news;
    size_t first, last;
    bool ok, promising;

    if (!e->at_page) {
        region->pending = false;
    }
    ksm_state_next_pages(e, block, r, ksm_backend_tracks(block)
                         ? KSM_BATCH_PAGES : KSM_REGION_MAX_PAGES,
                         &first, &last);
    begin(&reading, e, block, r, false);
    ok = region->armed ? read_some(&reading, first, last, is_due)
                       : read_resident(&reading, first, last);
    finish(&reading, last - first);
    e->pass_found += news->found;
    if (!ok) {
        /* The next pass tries again. */
        region->pending = region->armed;
        e->at_page = 0;
        return true;
    }
    /* It deserves another look soon. */
    promising = news->fresh > KSM_BUSY_PAGES ||
                (news->changed > KSM_BUSY_PAGES &&
                 ksm_spot_check_read_again(region));
    e->unread |= promising;
    if (news->found) {
        region->restless = 0;
    }
    if (promising || news->found) {
        region->interval = MAX(region->interval / 2, 1);
    } else if (!news->fresh) {
        region->interval = MIN(region->interval * 2, KSM_READ_INTERVAL_MAX);
    }
    if (!region->armed) {
        region->due = region->interval;
    }
    trace_ksm_reader_read(ksm_block_page_host(block, first), news->hashed,
                          news->fresh, reading.n_candidates);
    return !e->at_page;
}

static bool may_bring_news(const KsmBlock *block, KsmPage page)
{
    return !ksm_backend_tracks(block) ||
           (page & (KSM_PAGE_HASHED | KSM_PAGE_SUBMITTED)) == KSM_PAGE_HASHED;
}

/* Have the region's pages hashed again, as if they were written; and cool. */
static void rehash(KsmEngine *e, KsmBlock *block, size_t r)
{
    size_t first, last;

    ksm_region_pages(block, r, &first, &last);
    for (size_t p = first; p < last; p++) {
        KsmPage page = block->pages[p];

        if ((page & (KSM_PAGE_WRITTEN | KSM_PAGE_EXCLUDED)) ||
            ksm_state_is_free(e, page)) {
            continue;
        }
        page = ksm_page_cooled(page);
        if (may_bring_news(block, page)) {
            page = ksm_page_set_age(page, e->parameters.stable_passes);
            page |= KSM_PAGE_WRITTEN;
            block->regions[r].pending = true;
        }
        ksm_block_set_page(block, p, page);
    }
}

bool ksm_reader_step(KsmEngine *e, KsmBlock *block, size_t r)
{
    KsmRegion *region = &block->regions[r];

    if (region->reseed) {
        forget_digests(block, r);
        return false;
    }
    if (region->resubmit) {
        resubmit(e, block, r);
        return false;
    }
    if (e->at_page) {
        return read_region(e, block, r);
    }
    if (region->due &&
        (!region->armed || !region->settled || ksm_state_is_slow(e))) {
        region->due--;
    }
    if (region->armed && !region->due) {
        rehash(e, block, r);
        region->due = KSM_REHASH_INTERVAL;
        if (!region->settled && !ksm_backend_tracks(block)) {
            /* Many settle before the next slow pass: not all at once. */
            region->due += r % KSM_READ_INTERVAL_MAX;
            region->settled = true;
        }
    }
    return !(region->armed ? region->pending : !region->due) ||
           read_region(e, block, r);
}

unsigned ksm_reader_hinted(KsmEngine *e, KsmBlock *block, size_t r,
                           size_t first, size_t last)
{
    KSM_UNINITIALIZED Reading reading;

    begin(&reading, e, block, r, true);
    read_some(&reading, first, last, is_worth_reading);
    finish(&reading, last - first);
    return reading.news.hashed;
}
