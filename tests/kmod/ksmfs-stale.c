/*
 * A page that one process changes, and another must never see as it was
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *   ksmfs-stale DIRECTORY [--rounds=N] [--seconds=N]
 *
 * The changer gives all pages of a file one contents after another, which are
 * numbered: a page holds its number, or nothing where it was punched or cut
 * off.  It says when it starts with a number and when all pages have it.  What
 * the reader finds in its own mapping in between has to be of a number that
 * was current: not older than the last one that was complete before it looked.
 * Merging and splitting change no contents, and so are no excuse.
 *
 * A round is one change of one page.
 */
#include <getopt.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "ksmfs-client.h"

#define PAGES 64
#define PATIENCE 30

typedef struct {
    /* Numbers of contents. */
    _Atomic uint64_t started;
    _Atomic uint64_t complete;
    _Atomic uint64_t reads;
    /* Of these, the first ones after something was complete. */
    _Atomic uint64_t changed_reads;
    _Atomic bool stop;
} Common;

static const char *directory;
static uint64_t rounds_wanted = 100000;
static double seconds = 3600;
static Common *common;
static sigjmp_buf beyond_end;

/* Every fourth number is an empty page: by a punch, or by a truncate. */
static bool is_empty(uint64_t number)
{
    return number % 4 == 0;
}

static void changer_write(int fd, char *map, uint64_t number)
{
    /* By write(2) as well: our own mapping is a second one then. */
    for (int page = 0; page < PAGES; page++) {
        if (number % 3) {
            *(volatile uint64_t *)(map + page * PAGE) = number;
        } else {
            MUST(pwrite(fd, &number, sizeof(number), page * PAGE));
        }
    }
}

static void changer_empty(int fd, uint64_t number)
{
    if (number % 8) {
        punch_pages(fd, 0, PAGES);
    } else {
        MUST(ftruncate(fd, 0));
        MUST(ftruncate(fd, PAGES * PAGE));
    }
}

static unsigned int changer_merge(int fd, uint64_t number)
{
    struct ksmfs_merge_entry entries[PAGES];
    unsigned int merged = 0;
    int err;

    for (int page = 0; page < PAGES; page++) {
        entries[page] = (struct ksmfs_merge_entry) {
            .index = page,
            .digest = number,
        };
    }
    err = merge_pages(fd, entries, PAGES, NULL);
    if (err) {
        die("MERGE: %s", strerror(-err));
    }
    for (int page = 0; page < PAGES; page++) {
        merged += entries[page].result == KSMFS_MERGED;
    }
    return merged;
}

static void check_own(const char *map, uint64_t number)
{
    uint64_t wanted = is_empty(number) ? 0 : number;

    for (int page = 0; page < PAGES; page++) {
        uint64_t is = *(volatile uint64_t *)(map + page * PAGE);

        if (is != wanted) {
            die("STALE: the changer's page %d holds %" PRIu64 ", not %" PRIu64,
                page, is, wanted);
        }
    }
}

static void run_changer(int fd)
{
    char *map = map_file(fd, PAGES);
    uint64_t rounds = 0, merged = 0, split = 0, number = 0;
    double began = seconds_now(), took;

    while (rounds < rounds_wanted && seconds_now() - began < seconds) {
        common->started = ++number;
        if (is_empty(number)) {
            changer_empty(fd, number);
        } else {
            changer_write(fd, map, number);
        }
        common->complete = number;
        rounds += PAGES;
        check_own(map, number);
        if (is_empty(number)) {
            continue;
        }
        merged += changer_merge(fd, number);
        check_own(map, number);
        rounds += PAGES;
        if (number % 4 == 2) {
            int err = split_pages(fd, 0, PAGES, PAGES);

            if (err) {
                die("SPLIT: %s", strerror(-err));
            }
            split += PAGES;
            rounds += PAGES;
            check_own(map, number);
        }
    }
    took = seconds_now() - began;
    printf("rounds %" PRIu64 "\nmerged %" PRIu64 "\nsplit %" PRIu64
           "\nreads %" PRIu64 "\nchanged-reads %" PRIu64
           "\nmilliseconds %.0f\n", rounds, merged, split,
           common->reads, common->changed_reads, took * 1000);
}

static void on_bus_error(int unused)
{
    siglongjmp(beyond_end, 1);
}

static uint64_t read_page(const char *map, int page)
{
    /* The file is shorter for a moment. */
    if (sigsetjmp(beyond_end, 1)) {
        return 0;
    }
    return *(volatile uint64_t *)(map + page * PAGE);
}

/* Was there a number in [first, last] whose contents are @is? */
static bool was_current(uint64_t is, uint64_t first, uint64_t last)
{
    if (is) {
        return is >= first && is <= last && !is_empty(is);
    }
    while (first <= last && !is_empty(first)) {
        first++;
    }
    return first <= last;
}

static void run_reader(int fd)
{
    const char *map = map_file(fd, PAGES);
    struct sigaction action = { .sa_handler = on_bus_error };
    uint64_t random = 1, before = 0;

    MUST(sigaction(SIGBUS, &action, NULL));
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (!common->stop) {
        int page = random_below(&random, PAGES);
        uint64_t first = common->complete;
        uint64_t is = read_page(map, page);
        uint64_t last = common->started;

        if (!was_current(is, first, last)) {
            die("STALE: page %d holds %" PRIu64 ", read between %" PRIu64
                " and %" PRIu64, page, is, first, last);
        }
        common->reads++;
        common->changed_reads += first != before;
        before = first;
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "rounds", required_argument, NULL, 'r' },
        { "seconds", required_argument, NULL, 's' },
        { }
    };
    int option, fd, status;
    pid_t reader, ended;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'r':
            rounds_wanted = strtoull(optarg, NULL, 0);
            break;
        case 's':
            seconds = atof(optarg);
            break;
        default:
            exit(2);
        }
    }
    if (optind != argc - 1) {
        die("usage: ksmfs-stale DIRECTORY [--rounds=N] [--seconds=N]");
    }
    directory = argv[optind];
    common = MUST(mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    fd = open_file(directory, "stale", PAGES);
    /* All holes: an empty number, like 0. */
    reader = MUST(fork());
    if (!reader) {
        run_reader(fd);
    }
    if (!MUST(fork())) {
        /* A mapping that can't be changed leaves us in a fault for ever. */
        alarm(seconds + PATIENCE);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run_changer(fd);
        exit(0);
    }
    ended = MUST(wait(&status));
    if (ended == reader || status) {
        die("the %s ended with status 0x%x",
            ended == reader ? "reader" : "changer", status);
    }
    common->stop = true;
    MUST(waitpid(reader, &status, 0));
    return status != 0;
}
