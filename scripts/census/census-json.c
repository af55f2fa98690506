/*
 * What merging would save, as JSON
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdio.h>

#include "census.h"
#include "host/memory.h"
#include "ksmctl/json.h"

static const char *const pool_names[] = {
    [CENSUS_PRIVATE] = "private",
    [CENSUS_SHARED] = "shared",
    [CENSUS_NEITHER] = "neither",
};

static void json_number(KsmctlJson *json, const char *name, uint64_t value)
{
    ksmctl_json_figure(json, name, (KsmFigure) { true, value });
}

static void json_parts(KsmctlJson *json, const CensusMapping *mapping)
{
    unsigned part;

    ksmctl_json_open(json, "twins_of_parts", '[');
    for (part = 0; part < CENSUS_PARTS; part++) {
        json_number(json, NULL, mapping->parts[part]);
    }
    ksmctl_json_close(json, ']');
}

static void json_mappings(KsmctlJson *json, const Census *census,
                          unsigned guest)
{
    guint i;

    ksmctl_json_open(json, "mappings", '[');
    for (i = 0; i < census->mappings->len; i++) {
        const CensusMapping *mapping = g_ptr_array_index(census->mappings, i);

        if (mapping->guest != guest) {
            continue;
        }
        ksmctl_json_open(json, NULL, '{');
        ksmctl_json_string(json, "memory", pool_names[mapping->pool]);
        json_number(json, "address", mapping->start);
        json_number(json, "pages", mapping->pages);
        if (mapping->pool != CENSUS_NEITHER) {
            json_number(json, "twins", mapping->twins);
            json_parts(json, mapping);
        }
        ksmctl_json_close(json, '}');
    }
    ksmctl_json_close(json, ']');
}

static void json_guest(KsmctlJson *json, const Census *census, unsigned number)
{
    const CensusGuest *guest = g_ptr_array_index(census->guests, number);
    CensusShare share = census_guest_share(guest);

    ksmctl_json_open(json, NULL, '{');
    json_number(json, "pid", guest->process->pid);
    if (guest->process->name) {
        ksmctl_json_string(json, "name", guest->process->name);
    }
    json_number(json, "resident_pages", share.resident);
    ksmctl_json_decimal(json, "zero_pages", share.zero);
    ksmctl_json_decimal(json, "within_pages", share.within);
    ksmctl_json_decimal(json, "between_pages", share.between);
    json_number(json, "swapped_bytes", guest->swapped_bytes);
    json_number(json, "huge_bytes", guest->huge_bytes);
    json_number(json, "neither_bytes", guest->neither_bytes);
    ksmctl_json_figure(json, "kernel_zero_pages",
                       (KsmFigure) { census->scanned, guest->zero_mapped });
    json_number(json, "unreadable_pages", guest->unreadable);
    json_mappings(json, census, number);
    ksmctl_json_close(json, '}');
}

static void json_guests(KsmctlJson *json, const Census *census)
{
    guint i;

    ksmctl_json_open(json, "guests", '[');
    for (i = 0; i < census->guests->len; i++) {
        const CensusGuest *guest = g_ptr_array_index(census->guests, i);

        if (!guest->lost) {
            json_guest(json, census, i);
        }
    }
    ksmctl_json_close(json, ']');
}

static void json_savings(KsmctlJson *json, const char *name,
                         const CensusSavings *savings, bool merged_known)
{
    ksmctl_json_open(json, name, '{');
    json_number(json, "pages", census_saved(savings));
    json_number(json, "zero_pages", savings->zero);
    json_number(json, "within_pages", savings->within);
    json_number(json, "between_pages", savings->between);
    ksmctl_json_figure(json, "merged_pages",
                       (KsmFigure) { merged_known, savings->merged });
    ksmctl_json_close(json, '}');
}

static void json_runs(KsmctlJson *json, const CensusRuns *runs)
{
    unsigned i;

    ksmctl_json_open(json, "runs", '{');
    json_number(json, "count", runs->count);
    json_number(json, "pages", runs->pages);
    json_number(json, "median", runs->median);
    ksmctl_json_open(json, "lengths", '[');
    for (i = 0; i < CENSUS_RUN_CLASSES; i++) {
        if (runs->runs_of[i]) {
            ksmctl_json_open(json, NULL, '{');
            json_number(json, "from", UINT64_C(1) << i);
            json_number(json, "runs", runs->runs_of[i]);
            json_number(json, "pages", runs->pages_of[i]);
            ksmctl_json_close(json, '}');
        }
    }
    ksmctl_json_close(json, ']');
    ksmctl_json_close(json, '}');
}

static void json_pool(KsmctlJson *json, const Census *census, CensusPool pool)
{
    const CensusFigures *figures = &census->figures[pool];

    ksmctl_json_open(json, pool_names[pool], '{');
    json_number(json, "resident_pages", figures->resident);
    json_savings(json, "saved", &figures->savings, figures->merged_known);
    if (figures->huge_known) {
        json_savings(json, "saved_by_engine", &figures->engine_savings,
                     figures->merged_known);
        json_number(json, "huge_pages", figures->huge_pages);
        json_number(json, "huge_pages_whole", figures->huge_pages_whole);
    }
    json_runs(json, &figures->runs);
    ksmctl_json_close(json, '}');
}

void census_print_json(const Census *census)
{
    KsmctlJson json;

    ksmctl_json_init(&json);
    ksmctl_json_open(&json, NULL, '{');
    json_number(&json, "page_size", ksm_page_size());
    json_number(&json, "huge_split_threshold", census->threshold);
    json_guests(&json, census);
    json_pool(&json, census, CENSUS_PRIVATE);
    json_pool(&json, census, CENSUS_SHARED);
    ksmctl_json_close(&json, '}');
    puts(json.text->str);
    ksmctl_json_clear(&json);
}
