/*
 * What the first write to a merged page costs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *   ksmfs-cow ksmfs DIRECTORY PAGES
 *   ksmfs-cow ksmd PAGES
 *
 * Each page of one half of the memory is merged with one of the other half:
 * by MERGE, or by ksmd, while it waits for a line of input.  Then a word of
 * each page of the second half is written.  Some of these pages are read
 * before, so that they are mapped in any case.  Says how many nanoseconds a
 * write took.
 */
#include "ksmfs-client.h"

static uint64_t nanoseconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

static volatile uint64_t *page_at(char *map, unsigned long page)
{
    return (void *)(map + page * PAGE);
}

/* Word by word other than those of any other page of the same half. */
static void fill(char *map, unsigned long pages)
{
    for (unsigned long page = 0; page < 2 * pages; page++) {
        for (unsigned int word = 0; word < WORDS; word++) {
            page_at(map, page)[word] = (page % pages + 1) * WORDS + word;
        }
    }
}

static void merge_all(int fd, unsigned long pages)
{
    for (unsigned long page = 0; page < 2 * pages; page++) {
        struct ksmfs_merge_entry entry = {
            .index = page, .digest = page % pages + 1,
        };
        uint32_t wanted = page < pages ? KSMFS_INDEXED : KSMFS_MERGED;

        if (merge_pages(fd, &entry, 1, NULL) || entry.result != wanted) {
            die("page %lu: result %u", page, entry.result);
        }
    }
}

static void wait_merged(void)
{
    char line[16];

    puts("filled");
    fflush(stdout);
    if (!fgets(line, sizeof(line), stdin)) {
        die("nobody says that it is merged");
    }
}

static void write_pages(const char *name, char *map, unsigned long first,
                        unsigned long end)
{
    uint64_t begin = nanoseconds_now();

    for (unsigned long page = first; page < end; page++) {
        *page_at(map, page) = page;
    }
    printf("%s %" PRIu64 "\n", name,
           (nanoseconds_now() - begin) / (end - first));
}

/* What was written is there, and all else is as it was. */
static void verify(char *map, unsigned long pages)
{
    for (unsigned long page = 0; page < 2 * pages; page++) {
        for (unsigned int word = 0; word < WORDS; word++) {
            uint64_t wanted = page >= pages && !word ?
                page : (page % pages + 1) * WORDS + word;

            if (page_at(map, page)[word] != wanted) {
                die("MISMATCH: page %lu, word %u", page, word);
            }
        }
    }
}

int main(int argc, char **argv)
{
    bool on_ksmfs = argc == 4 && !strcmp(argv[1], "ksmfs");
    unsigned long pages;
    char *map;

    if (!on_ksmfs && (argc != 3 || strcmp(argv[1], "ksmd"))) {
        die("usage: %s ksmfs DIRECTORY PAGES | ksmd PAGES", argv[0]);
    }
    pages = strtoul(argv[argc - 1], NULL, 10);
    if (on_ksmfs) {
        int fd = open_file(argv[2], "cow", 2 * pages);

        map = map_file(fd, 2 * pages);
        fill(map, pages);
        merge_all(fd, pages);
    } else {
        map = MUST(mmap(NULL, 2 * pages * PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        MUST(madvise(map, 2 * pages * PAGE, MADV_NOHUGEPAGE));
        fill(map, pages);
        MUST(madvise(map, 2 * pages * PAGE, MADV_MERGEABLE));
    }
    wait_merged();

    for (unsigned long page = pages; page < pages + pages / 2; page++) {
        (void)*page_at(map, page);
    }
    write_pages("read", map, pages, pages + pages / 2);
    write_pages("unread", map, pages + pages / 2, 2 * pages);
    verify(map, pages);
    return 0;
}
