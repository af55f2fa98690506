/*
 * Where twins are: in which runs, and in which parts of a mapping
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdlib.h>

#include "layout.h"

uint64_t layout_part_begin(const CensusMapping *mapping, unsigned part)
{
    /* In two steps, which can't overflow. */
    return mapping->pages / CENSUS_PARTS * part +
           mapping->pages % CENSUS_PARTS * part / CENSUS_PARTS;
}

static void layout_parts(CensusMapping *mapping)
{
    unsigned part;

    for (part = 0; part < CENSUS_PARTS; part++) {
        uint64_t page = layout_part_begin(mapping, part);

        for (; page < layout_part_begin(mapping, part + 1); page++) {
            mapping->parts[part] += mapping->marks[page] & CENSUS_TWIN;
        }
        mapping->twins += mapping->parts[part];
    }
}

static unsigned run_class(uint64_t pages)
{
    return MIN(g_bit_storage(pages) - 1, CENSUS_RUN_CLASSES - 1);
}

static void layout_add_run(CensusRuns *runs, GArray *lengths, uint64_t pages)
{
    unsigned class = run_class(pages);

    runs->count++;
    runs->pages += pages;
    runs->runs_of[class]++;
    runs->pages_of[class] += pages;
    g_array_append_val(lengths, pages);
}

static void layout_runs(const CensusMapping *mapping, CensusRuns *runs,
                        GArray *lengths)
{
    uint64_t page = 0, first;

    while (page < mapping->pages) {
        first = page;
        while (page < mapping->pages && mapping->marks[page] & CENSUS_TWIN) {
            page++;
        }
        if (page > first) {
            layout_add_run(runs, lengths, page - first);
        } else {
            page++;
        }
    }
}

static int length_compare(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

    return (one > other) - (one < other);
}

void layout_pool(Census *census, CensusPool pool)
{
    CensusRuns *runs = &census->figures[pool].runs;
    g_autoptr(GArray) lengths = g_array_new(false, false, sizeof(uint64_t));
    guint i;

    for (i = 0; i < census->mappings->len; i++) {
        CensusMapping *mapping = g_ptr_array_index(census->mappings, i);
        const CensusGuest *guest = g_ptr_array_index(census->guests,
                                                     mapping->guest);

        if (mapping->pool == pool && !guest->lost) {
            layout_parts(mapping);
            layout_runs(mapping, runs, lengths);
        }
    }
    if (lengths->len) {
        qsort(lengths->data, lengths->len, sizeof(uint64_t), length_compare);
        runs->median = g_array_index(lengths, uint64_t, lengths->len / 2);
    }
}
