/*
 * Ranges of guest-physical memory, and what is advised of them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ranges.h"

void ranges_add(Ranges *ranges, uint64_t page, uint64_t n, uint32_t advice)
{
    if (ranges->n == ranges->room) {
        ranges->room = ranges->room ? 2 * ranges->room : 64;
        ranges->list = reallocarray(ranges->list, ranges->room,
                                    sizeof(ranges->list[0]));
        if (!ranges->list) {
            err(1, "no memory for %zu ranges", ranges->room);
        }
    }
    ranges->list[ranges->n++] = (Range) { page, n, advice };
}

void ranges_add_all(Ranges *ranges, const Ranges *more)
{
    for (size_t i = 0; i < more->n; i++) {
        ranges_add(ranges, more->list[i].page, more->list[i].n,
                   more->list[i].advice);
    }
}

static int compare(const void *a, const void *b)
{
    const Range *one = a, *other = b;

    return one->page < other->page ? -1 : one->page > other->page;
}

/* In order, and as one where they touch, if they are of the same advice. */
static void join(Ranges *ranges)
{
    size_t kept = 0;

    if (ranges->n) {
        qsort(ranges->list, ranges->n, sizeof(ranges->list[0]), compare);
    }
    for (size_t i = 0; i < ranges->n; i++) {
        const Range range = ranges->list[i];
        Range *last = kept ? &ranges->list[kept - 1] : NULL;

        if (!last || range.advice != last->advice ||
            range.page > last->page + last->n) {
            ranges->list[kept++] = range;
        } else if (range.page + range.n > last->page + last->n) {
            last->n = range.page + range.n - last->page;
        }
    }
    ranges->n = kept;
}

void ranges_add_missing(Ranges *out, const Ranges *old, const Ranges *now,
                        uint32_t advice)
{
    size_t j = 0;

    for (size_t i = 0; i < old->n; i++) {
        uint64_t page = old->list[i].page;
        const uint64_t end = page + old->list[i].n;

        while (page < end) {
            uint64_t next = end;

            while (j < now->n && now->list[j].page + now->list[j].n <= page) {
                j++;
            }
            if (j < now->n && now->list[j].page <= page) {
                page = now->list[j].page + now->list[j].n;
                continue;
            }
            if (j < now->n && now->list[j].page < end) {
                next = now->list[j].page;
            }
            ranges_add(out, page, next - page, advice);
            page = next;
        }
    }
}

/* Those of @ranges that are of such @advice. */
static Ranges of_advice(const Ranges *ranges, uint32_t advice)
{
    Ranges found = { 0 };

    for (size_t i = 0; i < ranges->n; i++) {
        if (ranges->list[i].advice == advice) {
            ranges_add(&found, ranges->list[i].page, ranges->list[i].n,
                       advice);
        }
    }
    return found;
}

bool ranges_cover(const Ranges *all, const Ranges *some, uint32_t advice)
{
    Ranges had = of_advice(all, advice), wanted = of_advice(some, advice);
    Ranges missing = { 0 };
    bool covered;

    ranges_add_missing(&missing, &wanted, &had, advice);
    covered = !missing.n;
    ranges_free(&had);
    ranges_free(&wanted);
    ranges_free(&missing);
    return covered;
}

void ranges_tidy(Ranges *ranges)
{
    Ranges tidy = { 0 };
    uint32_t advice = 0, next;

    do {
        Ranges level = of_advice(ranges, advice), more = { 0 };

        next = UINT32_MAX;
        for (size_t i = 0; i < ranges->n; i++) {
            const Range *range = &ranges->list[i];

            if (range->advice > advice && range->advice < next) {
                next = range->advice;
            }
        }
        join(&level);
        ranges_add_missing(&more, &level, &tidy, advice);
        ranges_add_all(&tidy, &more);
        join(&tidy);
        ranges_free(&level);
        ranges_free(&more);
        advice = next;
    } while (next != UINT32_MAX);
    ranges_free(ranges);
    *ranges = tidy;
}

uint64_t ranges_pages(const Ranges *ranges)
{
    uint64_t n = 0;

    for (size_t i = 0; i < ranges->n; i++) {
        n += ranges->list[i].n;
    }
    return n;
}

void ranges_free(Ranges *ranges)
{
    free(ranges->list);
    *ranges = (Ranges) { 0 };
}

void ranges_load(Ranges *ranges, const char *path)
{
    FILE *file = fopen(path, "re");
    uint64_t page, n;
    uint32_t advice;
    int got;

    if (!file) {
        if (errno != ENOENT) {
            err(1, "%s", path);
        }
        return;
    }
    while ((got = fscanf(file, "%" SCNu64 " %" SCNu64 " %" SCNu32, &page, &n,
                         &advice)) == 3) {
        ranges_add(ranges, page, n, advice);
    }
    if (got != EOF || ferror(file)) {
        errx(1, "%s: line %zu is not PAGE N ADVICE: remove the file, and what"
             " it should say stays advised until 'ksm-guest release'", path,
             ranges->n + 1);
    }
    fclose(file);
}

void ranges_save(const Ranges *ranges, const char *path)
{
    char *partial = NULL;
    FILE *file;

    if (asprintf(&partial, "%s.new", path) < 0) {
        err(1, "%s", path);
    }
    file = fopen(partial, "we");
    if (!file) {
        err(1, "%s", partial);
    }
    for (size_t i = 0; i < ranges->n; i++) {
        fprintf(file, "%" PRIu64 " %" PRIu64 " %" PRIu32 "\n",
                ranges->list[i].page, ranges->list[i].n,
                ranges->list[i].advice);
    }
    if (ferror(file) || fclose(file) || rename(partial, path)) {
        err(1, "%s", path);
    }
    free(partial);
}
