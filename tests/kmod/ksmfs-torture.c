/*
 * Writers that verify what they wrote, while their pages are merged and split
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *   ksmfs-torture DIRECTORY [--operations=N] [--device=FILE] [--seed=N]
 *                 [--pause=MICROSECONDS]
 *
 * Each page has one writer, a thread, which knows what it wrote last and
 * checks it in every operation, by other ways than it was written.  Pages
 * hold one of few values, so most have twins, and neighbours have different
 * writers, in different processes.  Others merge, split and collect all the
 * time.  A writer's tail is a file of its own, which it truncates.
 *
 * FILE is a block device that is overwritten: what is read by direct I/O.
 * Mergers and their like pause between rounds: the longer, the more is written
 * and the less is merged.
 */
#include <getopt.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "ksmfs-writer.h"

/* Seconds that one operation may take on a busy machine. */
#define PATIENCE 30

static void open_all(int all[FILES + WRITERS])
{
    char name[16];

    for (int i = 0; i < FILES + WRITERS; i++) {
        if (i < FILES) {
            snprintf(name, sizeof(name), "file%d", i);
        } else {
            tail_name(i - FILES, name);
        }
        all[i] = open_file(torture.directory, name,
                           i < FILES ? PAGES : TAIL_PAGES);
    }
}

static void merge_file(uint64_t *random, int fd, unsigned int pages,
                       const char *map)
{
    struct ksmfs_merge_entry entries[PAGES];
    unsigned int n = 0;
    uint32_t done;
    int err;

    for (unsigned int page = 0; page < pages; page++) {
        uint64_t digest = 0;

        if (!random_below(random, 8)) {
            continue;
        }
        /* A tail may be cut meanwhile, and is not mapped here. */
        if (map) {
            digest = *(volatile uint64_t *)(map + page * PAGE);
        } else {
            MUST(pread(fd, &digest, sizeof(digest), page * PAGE));
        }
        entries[n++] = (struct ksmfs_merge_entry) {
            .index = page,
            .digest = digest,
        };
    }
    err = merge_pages(fd, entries, n, &done);
    if (err || done != n) {
        die("MERGE: %s, %u of %u done", strerror(-err), done, n);
    }
    for (unsigned int i = 0; i < n; i++) {
        if (entries[i].result < KSMFS_MERGED ||
            entries[i].result > KSMFS_ABSENT) {
            die("MERGE: result %u of page %u", entries[i].result, i);
        }
    }
}

static void run_merger(void)
{
    uint64_t random = torture.seed + 77;
    int all[FILES + WRITERS];

    open_all(all);
    while (!torture.common->stop) {
        for (int i = 0; i < FILES + WRITERS; i++) {
            merge_file(&random, all[i], i < FILES ? PAGES : TAIL_PAGES,
                       i < FILES ? torture.maps[1][i] : NULL);
        }
        usleep(torture.pause_us);
    }
}

static void run_splitter(void)
{
    uint64_t random = torture.seed + 78;
    int all[FILES + WRITERS];

    open_all(all);
    while (!torture.common->stop) {
        uint64_t start = random_below(&random, PAGES);
        int err = split_pages(all[random_below(&random, FILES + WRITERS)],
                              start, start + random_below(&random, 16),
                              1 + random_below(&random, 16));

        if (err) {
            die("SPLIT: %s", strerror(-err));
        }
        usleep(torture.pause_us);
    }
}

static void run_collector(void)
{
    struct ksmfs_range ranges[8];
    int all[FILES + WRITERS];

    open_all(all);
    while (!torture.common->stop) {
        for (int i = 0; i < FILES + WRITERS; i++) {
            uint64_t next = 0, before = 0;
            uint32_t count;

            while (next < EVERYTHING) {
                int err = collect_pages(all[i], &next, EVERYTHING, ranges,
                                        ARRAY_SIZE(ranges), &count);

                if (err || next < before) {
                    die("COLLECT: %s, next %" PRIu64, strerror(-err), next);
                }
                before = next;
            }
        }
        usleep(torture.pause_us);
    }
}

static pid_t start(void (*run)(void), int process)
{
    pid_t pid = MUST(fork());

    if (pid) {
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; i < FILES; i++) {
        torture.maps[1][i] = map_file(torture.fds[i], PAGES);
    }
    if (run) {
        run();
    } else {
        run_writers(process);
    }
    _exit(0);
}

static uint64_t operations_done(void)
{
    uint64_t total = 0;

    for (unsigned int i = 0; i < n_operations; i++) {
        total += torture.common->operations[i];
    }
    return total;
}

/* The next one to end has to end well, and within a time if nothing is done. */
static pid_t await(void)
{
    uint64_t done = 0;
    int status, idle = 0;
    pid_t pid;

    while (!(pid = MUST(waitpid(-1, &status, WNOHANG)))) {
        usleep(100000);
        idle = operations_done() == done ? idle + 1 : 0;
        done = operations_done();
        if (idle > PATIENCE * 10) {
            die("no operation in %d s", PATIENCE);
        }
    }
    if (status) {
        /* It said why; the others end with us. */
        die("process %d ended with status 0x%x", pid, status);
    }
    return pid;
}

static void prepare(void)
{
    for (int value = 0; value < VALUES; value++) {
        uint64_t *pattern = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

        for (unsigned int i = 0; value && i < WORDS; i++) {
            pattern[i] = UINT64_C(0x9e3779b97f4a7c15) * value + i;
        }
        torture.patterns[value] = pattern;
    }
    for (int file = 0; file < FILES; file++) {
        char name[16];

        snprintf(name, sizeof(name), "file%d", file);
        torture.fds[file] = open_file(torture.directory, name, PAGES);
        torture.maps[0][file] = map_file(torture.fds[file], PAGES);
    }
    torture.common = MUST(mmap(NULL, sizeof(*torture.common),
                               PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    if (torture.device) {
        int fd = MUST(open(torture.device, O_RDWR | O_DIRECT));

        for (int page = 0; page < DEVICE_PAGES; page++) {
            MUST(pwrite(fd, torture.patterns[device_value(page)], PAGE,
                        page * PAGE));
        }
        close(fd);
        return;
    }
    for (unsigned int i = 0; i < n_operations; i++) {
        if (!strncmp(operations[i].name, "direct", 6)) {
            operations[i].weight = 0;
        }
    }
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {
        { "operations", required_argument, NULL, 'n' },
        { "device", required_argument, NULL, 'd' },
        { "seed", required_argument, NULL, 's' },
        { "pause", required_argument, NULL, 'p' },
        { }
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'n':
            torture.operations_wanted = strtoull(optarg, NULL, 0);
            break;
        case 'd':
            torture.device = optarg;
            break;
        case 'p':
            torture.pause_us = strtoul(optarg, NULL, 0);
            break;
        case 's':
            torture.seed = strtoull(optarg, NULL, 0);
            break;
        default:
            exit(2);
        }
    }
    if (optind != argc - 1) {
        die("usage: ksmfs-torture DIRECTORY [--operations=N] [--device=FILE] "
            "[--seed=N] [--pause=MICROSECONDS]");
    }
    torture.directory = argv[optind];
}

int main(int argc, char **argv)
{
    double began;
    int left = PROCESSES;

    parse(argc, argv);
    prepare();
    began = seconds_now();
    for (int i = 0; i < PROCESSES; i++) {
        torture.common->pids[i] = start(NULL, i);
    }
    torture.common->ready++;
    torture.common->finished++;
    start(run_merger, 0);
    start(run_splitter, 0);
    start(run_collector, 0);
    while (left) {
        pid_t pid = await();

        for (int i = 0; i < PROCESSES; i++) {
            left -= pid == torture.common->pids[i];
        }
    }
    torture.common->stop = true;
    for (int i = 0; i < 3; i++) {
        await();
    }
    for (unsigned int i = 0; i < n_operations; i++) {
        printf("%s %" PRIu64 "\n", operations[i].name,
               torture.common->operations[i]);
    }
    printf("operations %" PRIu64 "\nmilliseconds %.0f\n", operations_done(),
           (seconds_now() - began) * 1000);
    return 0;
}
