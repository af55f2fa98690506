/*
 * Test ranges of page frames against a map of single pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * It is of the guest's side, which has no library but C's.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ranges.h"

#define PAGES   64
#define ROUNDS  20000
#define NOTHING UINT32_MAX

/* Aborts, also where assert() would not. */
static void check(bool right, const char *what, int round)
{
    if (!right) {
        printf("not ok 1 - %s, round %d\n", what, round);
        abort();
    }
}

/* What each page has, the lowest advice where there are several. */
static void draw(const Ranges *ranges, uint32_t map[PAGES])
{
    for (int p = 0; p < PAGES; p++) {
        map[p] = NOTHING;
    }
    for (size_t i = 0; i < ranges->n; i++) {
        const Range *range = &ranges->list[i];

        for (uint64_t p = range->page; p < range->page + range->n; p++) {
            if (range->advice < map[p]) {
                map[p] = range->advice;
            }
        }
    }
}

static void add_random(Ranges *ranges)
{
    const int n = rand() % 12;

    for (int i = 0; i < n; i++) {
        const int page = rand() % PAGES;

        ranges_add(ranges, page, 1 + rand() % (PAGES - page), 1 + rand() % 3);
    }
}

static bool is_tidy(const Ranges *ranges)
{
    for (size_t i = 0; i + 1 < ranges->n; i++) {
        const Range *range = &ranges->list[i], *next = range + 1;

        if (range->page + range->n > next->page ||
            (range->page + range->n == next->page &&
             range->advice == next->advice)) {
            return false;
        }
    }
    return true;
}

int main(void)
{
    char path[] = "/tmp/ksm-guest-ranges-XXXXXX";
    const int fd = mkstemp(path);

    puts("1..1");
    check(fd >= 0, "a file", 0);
    close(fd);
    srand(20261127);
    for (int round = 0; round < ROUNDS; round++) {
        Ranges old = { 0 }, now = { 0 }, missing = { 0 }, loaded = { 0 };
        uint32_t before[PAGES], after[PAGES], other[PAGES], gone[PAGES];
        const uint32_t advice = 1 + rand() % 3;
        bool covered = true;

        add_random(&old);
        draw(&old, before);
        ranges_tidy(&old);
        draw(&old, after);
        check(is_tidy(&old), "tidy", round);
        check(!memcmp(before, after, sizeof(before)), "the same pages", round);

        add_random(&now);
        ranges_tidy(&now);
        draw(&now, other);
        ranges_add_missing(&missing, &old, &now, 0);
        draw(&missing, gone);
        for (int p = 0; p < PAGES; p++) {
            check((gone[p] == 0) ==
                  (after[p] != NOTHING && other[p] == NOTHING),
                  "what is missing", round);
            covered &= other[p] != advice || after[p] == advice;
        }
        check(ranges_cover(&old, &now, advice) == covered, "what is covered",
              round);
        if (round % 100 == 0) {
            ranges_save(&old, path);
            ranges_load(&loaded, path);
            draw(&loaded, other);
            check(!memcmp(after, other, sizeof(after)), "what was saved",
                  round);
        }
        ranges_free(&old);
        ranges_free(&now);
        ranges_free(&missing);
        ranges_free(&loaded);
    }
    unlink(path);
    puts("ok 1 - ranges are what single pages say");
    return 0;
}
