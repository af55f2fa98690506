/*
 * Counts pages that are alike
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * First all pages, which tells those that have a twin.  Then once more without
 * those that the engine would leave in whole huge pages: a page whose only twin
 * is there saves nothing.
 */
#include "host/memory.h"
#include "tally.h"

typedef struct Tally {
    const Census *census;
    bool engine;                /* the second time */
    CensusPool pool;
    CensusSavings savings;
    uint64_t pages;
    uint64_t without_frame;
    /* Of the digest at hand: pages of each guest, and the guests with any. */
    uint64_t *pages_of;
    unsigned *guests;
    unsigned number_of_guests;
} Tally;

static CensusMapping *tally_mapping(const Tally *tally, const DigestPage *page)
{
    return g_ptr_array_index(tally->census->mappings, page->mapping);
}

static CensusGuest *tally_guest(const Tally *tally, unsigned number)
{
    return g_ptr_array_index(tally->census->guests, number);
}

static bool tally_counts(const Tally *tally, const DigestPage *page)
{
    const CensusMapping *mapping = tally_mapping(tally, page);

    return !tally_guest(tally, mapping->guest)->lost &&
           !(tally->engine && mapping->marks[page->page] & CENSUS_WHOLE);
}

/* Each guest's equal share of @saved, of @pages in all, and its own. */
static void tally_share(Tally *tally, bool zeros, uint64_t pages)
{
    const double guests = tally->number_of_guests;
    unsigned i;

    for (i = 0; i < tally->number_of_guests; i++) {
        CensusShare *share =
            &tally_guest(tally, tally->guests[i])->shares[tally->pool];
        uint64_t own = tally->pages_of[tally->guests[i]];

        if (zeros) {
            share->zero += own * (pages - 1.0) / pages;
        } else {
            share->within += own - 1;
            share->between += (guests - 1) / guests;
        }
    }
}

static void tally_mark_twins(const Tally *tally, const DigestPage *page,
                             size_t number)
{
    const DigestPage *end;

    for (end = page + number; page < end; page++) {
        if (tally_counts(tally, page)) {
            tally_mapping(tally, page)->marks[page->page] |= CENSUS_TWIN;
        }
    }
}

/* Counts the pages of a digest; returns how many frames they take. */
static uint64_t tally_pages(Tally *tally, const DigestPage *page,
                            size_t number, uint64_t *pages)
{
    const DigestPage *end, *last = NULL;
    uint64_t frames = 0;

    for (end = page + number; page < end; page++) {
        unsigned guest = tally_mapping(tally, page)->guest;

        if (!tally_counts(tally, page)) {
            continue;
        }
        if (!tally->pages_of[guest]++) {
            tally->guests[tally->number_of_guests++] = guest;
        }
        frames += !last || last->frame != page->frame;
        tally->without_frame += !page->frame;
        (*pages)++;
        last = page;
    }
    return frames;
}

static void tally_group(const DigestPage *page, size_t number, bool zeros,
                        void *opaque)
{
    Tally *tally = opaque;
    uint64_t pages = 0;
    uint64_t frames = tally_pages(tally, page, number, &pages);
    unsigned i;

    tally->pages += pages;
    if (pages > 1) {
        if (zeros) {
            tally->savings.zero += pages - 1;
        } else {
            tally->savings.within += pages - tally->number_of_guests;
            tally->savings.between += tally->number_of_guests - 1;
        }
        tally->savings.merged += pages - frames;
        if (!tally->engine) {
            tally_share(tally, zeros, pages);
            tally_mark_twins(tally, page, number);
        }
    }
    for (i = 0; i < tally->number_of_guests; i++) {
        tally->pages_of[tally->guests[i]] = 0;
    }
    tally->number_of_guests = 0;
}

static void tally_all(Tally *tally, const Digests *digests)
{
    tally->pages_of = g_new0(uint64_t, tally->census->guests->len);
    tally->guests = g_new(unsigned, tally->census->guests->len);
    digests_each(digests, tally_group, tally);
    g_free(tally->pages_of);
    g_free(tally->guests);
}

/* A huge page from @page of @mapping on; @pages of them has a region. */
static void tally_huge_page(const Census *census, CensusFigures *figures,
                            CensusMapping *mapping, uint64_t page,
                            uint64_t pages)
{
    uint64_t twins = 0, i;

    for (i = page; i < page + pages; i++) {
        twins += mapping->marks[i] & CENSUS_TWIN;
    }
    figures->huge_pages++;
    if (twins >= census->threshold) {
        return;
    }
    figures->huge_pages_whole++;
    for (i = page; i < page + pages; i++) {
        mapping->marks[i] |= CENSUS_WHOLE;
    }
}

static void tally_huge_pages(Census *census, CensusMapping *mapping)
{
    const uint64_t pages = CENSUS_REGION_BYTES / ksm_page_size();
    uint64_t page = -(mapping->start / ksm_page_size()) % pages;

    for (; page + pages <= mapping->pages; page += pages) {
        if (mapping->marks[page] & CENSUS_HUGE) {
            tally_huge_page(census, &census->figures[mapping->pool], mapping,
                            page, pages);
        }
    }
}

void tally_pool(Census *census, CensusPool pool, const Digests *digests)
{
    CensusFigures *figures = &census->figures[pool];
    Tally all = { .census = census, .pool = pool };
    Tally engine = { .census = census, .pool = pool, .engine = true };
    guint i;

    tally_all(&all, digests);
    figures->resident = all.pages;
    figures->merged_known = !all.without_frame;
    figures->huge_known = census->scanned || pool != CENSUS_PRIVATE;
    figures->savings = all.savings;
    for (i = 0; i < census->mappings->len; i++) {
        CensusMapping *mapping = g_ptr_array_index(census->mappings, i);

        /* What is shared is on no ksmfs yet, which has no huge pages. */
        if (pool == CENSUS_PRIVATE && mapping->pool == pool &&
            !tally_guest(&all, mapping->guest)->lost) {
            tally_huge_pages(census, mapping);
        }
    }
    tally_all(&engine, digests);
    figures->engine_savings = engine.savings;
}
