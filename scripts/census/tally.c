/*
 * Counts pages that are alike
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * First all pages, which tells those that have a twin.  Then once more without
 * those that the engine would leave in whole huge pages: a page whose only twin
 * is there saves nothing.  Pages of zeros need no comparing, but for their
 * frames.
 */
#include <stdlib.h>

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

/* Each guest's equal share of what is saved, and its own. */
static void tally_share(Tally *tally)
{
    const double guests = tally->number_of_guests;
    unsigned i;

    for (i = 0; i < tally->number_of_guests; i++) {
        CensusShare *share =
            &tally_guest(tally, tally->guests[i])->shares[tally->pool];
        uint64_t own = tally->pages_of[tally->guests[i]];

        share->within += own - 1;
        share->between += (guests - 1) / guests;
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

static void tally_group(const DigestPage *page, size_t number, void *opaque)
{
    Tally *tally = opaque;
    uint64_t pages = 0;
    uint64_t frames = tally_pages(tally, page, number, &pages);
    unsigned i;

    tally->pages += pages;
    if (pages > 1) {
        tally->savings.within += pages - tally->number_of_guests;
        tally->savings.between += tally->number_of_guests - 1;
        tally->savings.merged += pages - frames;
        if (!tally->engine) {
            tally_share(tally);
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

static int frame_compare(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

    return (one > other) - (one < other);
}

/* The frames of all guests' pages of zeros, sorted. */
static GArray *tally_zero_frames(const Tally *tally)
{
    GArray *frames = g_array_new(false, false, sizeof(uint64_t));
    guint i;

    for (i = 0; i < tally->census->guests->len; i++) {
        const CensusGuest *guest = tally_guest(tally, i);
        const GArray *own = guest->zero_frames[tally->pool];

        if (!guest->lost && own->len) {
            g_array_append_vals(frames, own->data, own->len);
        }
    }
    if (frames->len) {
        qsort(frames->data, frames->len, sizeof(uint64_t), frame_compare);
    }
    return frames;
}

static void tally_zeros(Tally *tally)
{
    g_autoptr(GArray) frames = tally_zero_frames(tally);
    const uint64_t *frame = (const uint64_t *)frames->data;
    guint i;

    for (i = 0; i < frames->len; i++) {
        tally->without_frame += !frame[i];
        tally->savings.zero += i > 0;
        tally->savings.merged += i > 0 && frame[i] == frame[i - 1];
    }
    tally->pages += frames->len;
    for (i = 0; frames->len && i < tally->census->guests->len; i++) {
        CensusGuest *guest = tally_guest(tally, i);

        guest->shares[tally->pool].zero =
            (double)guest->zero_frames[tally->pool]->len *
            tally->savings.zero / frames->len;
    }
}

/* A huge page from @page of @mapping on; @pages of them has a region. */
static void tally_huge_page(Tally *engine, CensusFigures *figures,
                            CensusMapping *mapping, uint64_t page,
                            uint64_t pages)
{
    uint64_t twins = 0, i;

    for (i = page; i < page + pages; i++) {
        twins += mapping->marks[i] & CENSUS_TWIN;
    }
    figures->huge_pages++;
    if (twins >= engine->census->threshold) {
        return;
    }
    figures->huge_pages_whole++;
    for (i = page; i < page + pages; i++) {
        mapping->marks[i] |= CENSUS_WHOLE;
        /* Of all n zeros n - 1 were counted. */
        if (mapping->marks[i] & CENSUS_ZERO && engine->savings.zero) {
            engine->savings.zero--;
        }
    }
}

static void tally_huge_pages(Tally *engine, CensusFigures *figures,
                             CensusMapping *mapping)
{
    const uint64_t pages = CENSUS_REGION_BYTES / ksm_page_size();
    uint64_t page = -(mapping->start / ksm_page_size()) % pages;

    for (; page + pages <= mapping->pages; page += pages) {
        if (mapping->marks[page] & CENSUS_HUGE) {
            tally_huge_page(engine, figures, mapping, page, pages);
        }
    }
}

void tally_pool(Census *census, CensusPool pool, const Digests *digests)
{
    CensusFigures *figures = &census->figures[pool];
    Tally all = { .census = census, .pool = pool };
    Tally engine = { .census = census, .pool = pool, .engine = true };
    guint i;

    tally_zeros(&all);
    /* As merged counts those that are: a huge page has frames of its own. */
    engine.savings = all.savings;
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
            tally_huge_pages(&engine, figures, mapping);
        }
    }
    tally_all(&engine, digests);
    figures->engine_savings = engine.savings;
}
