/*
 * What merging would save, as tables
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <inttypes.h>
#include <stdio.h>

#include "census.h"
#include "host/memory.h"
#include "ksmctl/printable.h"
#include "layout.h"

#define BAR_WIDTH       40

static double mib(double pages)
{
    return pages * ksm_page_size() / (1 << 20);
}

static double percent(double part, double whole)
{
    return whole ? 100 * part / whole : 0;
}

static char *guest_name(const CensusGuest *guest)
{
    return guest->process->name ? ksmctl_printable(guest->process->name) :
                                  g_strdup("-");
}

static void text_guest(const CensusGuest *guest)
{
    CensusShare share = census_guest_share(guest);
    g_autofree char *name = guest_name(guest);

    printf("%8ld %9.1f %9.1f %9.1f %8.1f %8.1f %8.1f %8.1f  %s\n",
           (long)guest->process->pid, mib(share.resident),
           guest->swapped_bytes / 1048576.0, guest->huge_bytes / 1048576.0,
           mib(share.zero), mib(share.within), mib(share.between),
           mib(share.zero + share.within + share.between), name);
}

/* What of guests is in no table: only where there is something. */
static void text_rest(const Census *census)
{
    uint64_t neither = 0, zeros = 0, unreadable = 0;
    guint i;

    for (i = 0; i < census->guests->len; i++) {
        const CensusGuest *guest = g_ptr_array_index(census->guests, i);

        if (!guest->lost) {
            neither += guest->neither_bytes;
            zeros += guest->zero_mapped;
            unreadable += guest->unreadable;
        }
    }
    if (zeros) {
        printf("%" PRIu64 " pages more are the kernel's page of zeros: they "
               "take no memory\n", zeros);
    }
    if (neither) {
        printf("%.1f MiB more were not looked at: hugetlb, or private memory "
               "of a file, which qemu-ksm does not merge\n",
               neither / 1048576.0);
    }
    if (unreadable) {
        printf("%" PRIu64 " pages more could not be read\n", unreadable);
    }
}

static void text_guests(const Census *census)
{
    guint i;

    /* The name last: whatever it has, it moves no column. */
    printf("Guests, in MiB; of what is saved, each guest's equal share\n"
           "%8s %9s %9s %9s %8s %8s %8s %8s  %s\n", "PID", "RESIDENT",
           "SWAPPED", "HUGE", "ZERO", "WITHIN", "BETWEEN", "SAVED", "NAME");
    for (i = 0; i < census->guests->len; i++) {
        const CensusGuest *guest = g_ptr_array_index(census->guests, i);

        if (!guest->lost) {
            text_guest(guest);
        }
    }
    text_rest(census);
}

static void text_saved(const char *label, uint64_t pages, uint64_t resident)
{
    printf("%-30s %10" PRIu64 " %10.1f %6.1f %%\n", label, pages, mib(pages),
           percent(pages, resident));
}

static void text_savings(const Census *census, const CensusFigures *figures)
{
    const CensusSavings *savings = &figures->savings;
    g_autofree char *engine =
        g_strdup_printf("with huge pages below %u whole", census->threshold);

    printf("%-30s %10s %10s\n", "", "PAGES", "MIB");
    text_saved("resident", figures->resident, figures->resident);
    text_saved("saved if all is merged", census_saved(savings),
               figures->resident);
    text_saved("  pages of zeros", savings->zero, figures->resident);
    text_saved("  twins within a guest", savings->within, figures->resident);
    text_saved("  twins between guests", savings->between, figures->resident);
    if (figures->merged_known) {
        text_saved("of these saved already", savings->merged,
                   figures->resident);
    } else {
        printf("%-30s %10s\n", "of these saved already", "unknown");
    }
    if (!figures->huge_known) {
        printf("%-30s %10s: Linux before 6.7 does not tell which are huge\n",
               engine, "unknown");
    } else if (figures->huge_pages) {
        text_saved(engine, census_saved(&figures->engine_savings),
                   figures->resident);
        printf("%-30s %10" PRIu64 " of %" PRIu64 "\n",
               "  huge pages left whole", figures->huge_pages_whole,
               figures->huge_pages);
    }
}

static void text_runs(const CensusRuns *runs)
{
    unsigned i;

    if (!runs->count) {
        return;
    }
    printf("\nRuns of twins: %" PRIu64 ", mean %.1f, median %" PRIu64
           " pages\n%10s %10s %10s %8s\n", runs->count,
           (double)runs->pages / runs->count, runs->median, "FROM", "RUNS",
           "PAGES", "OF ALL");
    for (i = 0; i < CENSUS_RUN_CLASSES; i++) {
        double share = percent(runs->pages_of[i], runs->pages);
        unsigned length = share * BAR_WIDTH / 100 + 0.5;

        if (runs->runs_of[i]) {
            g_autofree char *bar = g_strnfill(length, '#');

            printf("%10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %6.1f %%%s%s\n",
                   UINT64_C(1) << i, runs->runs_of[i], runs->pages_of[i],
                   share, length ? "  " : "", bar);
        }
    }
}

/* A character for each part: how much of it has a twin. */
static void text_parts(const CensusMapping *mapping)
{
    static const char *const blocks[] = {
        " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"
    };
    static const char *const letters[] = {
        " ", ".", ":", "-", "=", "+", "*", "#", "@"
    };
    const char *const *steps = g_get_charset(NULL) ? blocks : letters;
    unsigned part;

    for (part = 0; part < CENSUS_PARTS; part++) {
        uint64_t pages = layout_part_begin(mapping, part + 1) -
                         layout_part_begin(mapping, part);

        /* Rounded up: what has any twin is not blank. */
        printf("%s", steps[pages ? (mapping->parts[part] * 8 + pages - 1) /
                                   pages : 0]);
    }
}

static bool text_shows(const Census *census, const CensusMapping *mapping)
{
    const CensusGuest *guest = g_ptr_array_index(census->guests,
                                                 mapping->guest);

    return !guest->lost && mapping->pages * ksm_page_size() >=
                           CENSUS_SHOWN_BYTES;
}

static void text_layout(const Census *census, CensusPool pool)
{
    guint i;

    printf("\nWhere twins are, in mappings from %" PRIu64 " MiB: each "
           "character is 1/%u of one\n%8s %10s  %s\n",
           CENSUS_SHOWN_BYTES >> 20, CENSUS_PARTS, "PID", "MIB", "TWINS");
    for (i = 0; i < census->mappings->len; i++) {
        const CensusMapping *mapping = g_ptr_array_index(census->mappings, i);

        if (mapping->pool == pool && text_shows(census, mapping)) {
            const CensusGuest *guest = g_ptr_array_index(census->guests,
                                                         mapping->guest);

            printf("%8ld %10.1f |", (long)guest->process->pid,
                   mib(mapping->pages));
            text_parts(mapping);
            printf("|\n");
        }
    }
}

static void text_pool(const Census *census, CensusPool pool,
                      const char *heading)
{
    const CensusFigures *figures = &census->figures[pool];

    if (figures->resident) {
        printf("\n%s\n", heading);
        text_savings(census, figures);
        text_runs(&figures->runs);
        if (figures->runs.count) {
            text_layout(census, pool);
        }
    }
}

void census_print_text(const Census *census)
{
    text_guests(census);
    text_pool(census, CENSUS_PRIVATE, "Private memory, which KSM can merge");
    text_pool(census, CENSUS_SHARED,
              "Shared memory, which only ksmfs can merge");
}
