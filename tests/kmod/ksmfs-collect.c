/*
 * COLLECT against a log of writes, and what it costs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *   ksmfs-collect log DIRECTORY DEVICE SECONDS
 *   ksmfs-collect pin DIRECTORY
 *   ksmfs-collect idle DIRECTORY MEBIBYTES
 *
 * log: each page has one writer, who numbers its writes, writes the number
 * into the page, and then into a log.  The collector takes a copy of the log,
 * collects, and looks at the pages that were reported, as one who hashes them
 * would.  What it knows of any page then must not be older than the copy: a
 * write that was over before has been reported, or was there to be seen when
 * the page was last reported.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <linux/userfaultfd.h>

#include "ksmfs-client.h"

#define PAGES 240
#define PROCESSES 2
#define THREADS 2
#define WRITERS (PROCESSES * THREADS)

typedef struct {
    _Atomic bool stop;
    _Atomic uint64_t done[PAGES];
    _Atomic uint64_t merged;
} Common;

static Common *common;
static const char *device;
static int fd;
static char *map;

/* The page holds the number, and is else empty: some are twins. */
static void write_number(uint64_t *random, int disk, char *buffer, int page,
                         uint64_t number)
{
    volatile uint64_t *here = (void *)(map + page * PAGE);

    /* Pages of which the protection changes all the time; see case 3. */
    switch (page < WRITERS ? 3 : random_below(random, 16)) {
    case 0:
        MUST(pwrite(fd, &number, sizeof(number), page * PAGE));
        break;
    case 1: {
        struct iovec remote = { (void *)here, sizeof(number) };
        struct iovec local = { buffer, sizeof(number) };

        /* The target is pinned when this is found not to be there. */
        MUST(pwrite(fd, &number, sizeof(number), PAGES * PAGE +
                    (buffer - (map + PAGES * PAGE))));
        MUST(madvise(buffer, PAGE, MADV_DONTNEED));
        MUST(process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
        break;
    }
    case 2: {
        off_t offset = (PAGES + page) * PAGE;

        *(volatile uint64_t *)buffer = number;
        MUST(pwrite(disk, buffer, PAGE, offset));
        MUST(pread(disk, (void *)here, PAGE, offset));
        break;
    }
    case 3:
        MUST(mprotect((void *)here, PAGE, PROT_READ));
        MUST(mprotect((void *)here, PAGE, PROT_READ | PROT_WRITE));
        *here = number;
        break;
    default:
        *here = number;
    }
}

static void *run_writer(void *opaque)
{
    int id = (intptr_t)opaque;
    uint64_t random = id + 1;
    int disk = MUST(open(device, O_RDWR | O_DIRECT));
    /* Behind the pages that are logged, each writer has one of the file. */
    char *buffer = map + (PAGES + id) * PAGE;

    while (!common->stop) {
        /* Each has one that it writes most of the time, see write_number(). */
        int page = random_below(&random, 2) ? id :
            (int)random_below(&random, PAGES / WRITERS) * WRITERS + id;
        uint64_t number = common->done[page] + 1;

        write_number(&random, disk, buffer, page, number);
        common->done[page] = number;
    }
    return NULL;
}

static void run_writers(int process)
{
    pthread_t threads[THREADS];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    map = map_file(fd, PAGES + WRITERS);
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, run_writer,
                           (void *)(intptr_t)(process * THREADS + i))) {
            die("no thread to be had");
        }
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    _exit(0);
}

static void run_merger(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned int round = 0; !common->stop; round++) {
        struct ksmfs_merge_entry entries[PAGES];
        int err;

        for (int page = 0; page < PAGES; page++) {
            entries[page] = (struct ksmfs_merge_entry) {
                .index = page,
                .digest = *(volatile uint64_t *)(map + page * PAGE),
            };
        }
        err = merge_pages(fd, entries, PAGES, NULL);
        if (err) {
            die("MERGE: %s", strerror(-err));
        }
        for (int page = 0; page < PAGES; page++) {
            common->merged += entries[page].result == KSMFS_MERGED;
        }
        if (round % 8 == 0) {
            err = split_pages(fd, 0, PAGES, PAGES);
        }
        if (err) {
            die("SPLIT: %s", strerror(-err));
        }
        usleep(5000);
    }
    _exit(0);
}

/* One COLLECT of all, with a small array; how many pages were reported. */
static unsigned int collect_all(uint64_t known[PAGES])
{
    struct ksmfs_range ranges[16];
    unsigned int reported = 0;
    uint64_t next = 0;
    uint32_t count;

    while (next < PAGES) {
        int err = collect_pages(fd, &next, PAGES, ranges, ARRAY_SIZE(ranges),
                                &count);

        if (err) {
            die("COLLECT: %s", strerror(-err));
        }
        for (uint32_t i = 0; i < count; i++) {
            for (uint64_t page = ranges[i].start; page < ranges[i].end;
                 page++) {
                /* By read(2): no fault of ours is to change the picture. */
                MUST(pread(fd, &known[page], sizeof(known[page]),
                           page * PAGE));
                reported++;
            }
        }
    }
    return reported;
}

static void check_log(double seconds)
{
    uint64_t known[PAGES] = { }, log[PAGES];
    uint64_t collects = 0, reported = 0, writes = 0, checked = 0;
    double began = seconds_now();
    bool last = false;

    /* Once more when all writers are gone. */
    while (!last) {
        if (!common->stop && seconds_now() - began > seconds) {
            common->stop = true;
            for (int i = 0; i < PROCESSES + 1; i++) {
                int status;

                MUST(wait(&status));
                if (status) {
                    die("a writer ended with status 0x%x", status);
                }
            }
            last = true;
        }
        for (int page = 0; page < PAGES; page++) {
            log[page] = common->done[page];
        }
        reported += collect_all(known);
        collects++;
        for (int page = 0; page < PAGES; page++) {
            if (known[page] < log[page]) {
                die("MISSED: page %d was reported as of write %" PRIu64
                    ", not as of %" PRIu64, page, known[page], log[page]);
            }
            checked++;
        }
    }
    for (int page = 0; page < PAGES; page++) {
        writes += common->done[page];
        if (known[page] != common->done[page]) {
            die("MISSED: page %d ended with write %" PRIu64 ", not %" PRIu64,
                page, known[page], common->done[page]);
        }
    }
    printf("writes %" PRIu64 "\ncollects %" PRIu64 "\nreported %" PRIu64
           "\nmerged %" PRIu64 "\nchecked %" PRIu64 "\n", writes, collects,
           reported, common->merged, checked);
}

static void run_log(double seconds)
{
    common = MUST(mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    map = map_file(fd, PAGES + WRITERS);
    for (int i = 0; i < PROCESSES; i++) {
        if (!MUST(fork())) {
            run_writers(i);
        }
    }
    if (!MUST(fork())) {
        run_merger();
    }
    check_log(seconds);
}

/* Is page 0 reported? */
static bool is_reported(void)
{
    struct ksmfs_range range = { };
    uint64_t next = 0;
    uint32_t count;
    int err = collect_pages(fd, &next, 1, &range, 1, &count);

    if (err) {
        die("COLLECT: %s", strerror(-err));
    }
    return count;
}

static void expect(bool is, bool wanted, const char *what)
{
    if (is != wanted) {
        die("%s: %s", what, is ? "it is" : "it is not");
    }
}

static uint32_t merge_first(void)
{
    struct ksmfs_merge_entry entry = { .index = 0, .digest = 1 };
    int err = merge_pages(fd, &entry, 1, NULL);

    if (err) {
        die("MERGE: %s", strerror(-err));
    }
    return entry.result;
}

static void *write_pinned(void *source)
{
    struct iovec remote = { map, sizeof(uint64_t) };
    struct iovec local = { source, sizeof(uint64_t) };

    MUST(process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
    return NULL;
}

/* Memory whose first use waits for us. */
static char *make_source(int *uffd)
{
    struct uffdio_api api = { .api = UFFD_API };
    char *source = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    struct uffdio_register area = {
        .range = { (uintptr_t)source, PAGE },
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };

    *uffd = MUST(syscall(SYS_userfaultfd, O_CLOEXEC));
    MUST(ioctl(*uffd, UFFDIO_API, &api));
    MUST(ioctl(*uffd, UFFDIO_REGISTER, &area));
    return source;
}

static void run_pin(void)
{
    struct uffd_msg message;
    uint64_t number = 1;
    struct uffdio_copy copy = { .len = PAGE };
    struct pollfd ready = { .events = POLLIN };
    struct ksmfs_merge_entry twin = { .index = 1, .digest = 1 };
    char contents[PAGE] = { 2 };
    pthread_t writer;

    map = map_file(fd, PAGES + WRITERS);
    /* Two twins, of which the second waits in the index. */
    MUST(pwrite(fd, &number, sizeof(number), 0));
    MUST(pwrite(fd, &number, sizeof(number), PAGE));
    MUST(merge_pages(fd, &twin, 1, NULL));
    expect(twin.result == KSMFS_INDEXED, true, "the twin in the index");
    expect(is_reported(), true, "a first write reported");
    expect(is_reported(), false, "what was not written reported");

    copy.dst = (uintptr_t)make_source(&ready.fd);
    copy.src = (uintptr_t)contents;
    if (pthread_create(&writer, NULL, write_pinned, (void *)copy.dst)) {
        die("no thread to be had");
    }
    if (MUST(poll(&ready, 1, 30000)) != 1) {
        die("no fault of the source in 30 s");
    }
    MUST(read(ready.fd, &message, sizeof(message)));
    /* The page is pinned now, to be written, and not written yet. */
    expect(is_reported(), true, "a pinned page reported");
    expect(is_reported(), true, "a page that still is pinned reported");
    expect(merge_first() == KSMFS_BUSY, true, "a pinned page busy");
    expect(*(volatile uint64_t *)map == 1, true, "the page unwritten");
    MUST(ioctl(ready.fd, UFFDIO_COPY, &copy));
    pthread_join(writer, NULL);
    expect(*(volatile uint64_t *)map == 2, true, "the page written");
    expect(is_reported(), true, "a late write reported");
    expect(is_reported(), false, "what was not written reported, at last");
    number = 1;
    MUST(pwrite(fd, &number, sizeof(number), 0));
    expect(merge_first() == KSMFS_MERGED, true, "the page merged, at last");
}

static long faults_taken(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt + usage.ru_majflt;
}

/* Touches every page; returns how many faults that took. */
static long touch(const char *where, unsigned long pages)
{
    long before = faults_taken();

    for (unsigned long page = 0; page < pages; page++) {
        (void)*(volatile const char *)(where + page * PAGE);
    }
    return faults_taken() - before;
}

static double seconds_to_read(const char *where, unsigned long pages)
{
    const volatile uint64_t *words = (const void *)where;
    double began = seconds_now();
    uint64_t sum = 0;

    for (unsigned long i = 0; i < pages * WORDS; i++) {
        sum += words[i];
    }
    return seconds_now() - began + (sum == 1);
}

/* Returns how many pages were reported. */
static uint64_t collect_file(unsigned long pages, double *seconds)
{
    struct ksmfs_range ranges[64];
    uint64_t next = 0, reported = 0;
    double began = seconds_now();
    uint32_t count;

    while (next < pages) {
        int err = collect_pages(fd, &next, pages, ranges, ARRAY_SIZE(ranges),
                                &count);

        if (err) {
            die("COLLECT: %s", strerror(-err));
        }
        for (uint32_t i = 0; i < count; i++) {
            reported += ranges[i].end - ranges[i].start;
        }
    }
    *seconds = seconds_now() - began;
    return reported;
}

static void run_idle(unsigned long pages)
{
    static uint64_t buffer[256 * WORDS];
    const unsigned long written = pages / 1024;
    char *maps[2];
    double all, idle, some, reading;

    for (unsigned long page = 0; page < pages; page++) {
        buffer[page % 256 * WORDS] = page + 1;
        if (page % 256 == 255) {
            MUST(pwrite(fd, buffer, sizeof(buffer), (page - 255) * PAGE));
        }
    }
    for (int i = 0; i < 2; i++) {
        maps[i] = map_file(fd, pages);
        touch(maps[i], pages);
    }
    if (collect_file(pages, &all) != pages) {
        die("a first COLLECT did not report all");
    }
    touch(maps[0], pages);
    touch(maps[1], pages);
    if (collect_file(pages, &idle)) {
        die("an idle page was reported");
    }
    for (int i = 0; i < 2; i++) {
        long faults = touch(maps[i], pages);

        if (faults) {
            die("%ld faults in mapping %d after an idle COLLECT", faults, i);
        }
    }
    for (unsigned long i = 0; i < written; i++) {
        maps[0][i * 1024 * PAGE] = 1;
    }
    if (collect_file(pages, &some) != written) {
        die("not just what was written was reported");
    }
    reading = seconds_to_read(maps[0], pages);
    printf("pages %lu\nwritten %lu\nfirst-us %.0f\nidle-us %.0f\n"
           "written-us %.0f\nreading-us %.0f\n", pages, written, all * 1e6,
           idle * 1e6, some * 1e6, reading * 1e6);
}

int main(int argc, char **argv)
{
    if (argc == 5 && !strcmp(argv[1], "log")) {
        device = argv[3];
        fd = open_file(argv[2], "collect", PAGES + WRITERS);
        run_log(atof(argv[4]));
    } else if (argc == 3 && !strcmp(argv[1], "pin")) {
        fd = open_file(argv[2], "collect", PAGES + WRITERS);
        run_pin();
    } else if (argc == 4 && !strcmp(argv[1], "idle")) {
        unsigned long pages = atol(argv[3]) * 256;

        fd = open_file(argv[2], "collect", pages);
        run_idle(pages);
    } else {
        die("usage: ksmfs-collect log|pin|idle DIRECTORY ...");
    }
    return 0;
}
