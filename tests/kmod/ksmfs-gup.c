/*
 * How the kernel gets at pages of ksmfs: fast, and not for long
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *   ksmfs-gup fast DIRECTORY DEVICE PROFILE
 *   ksmfs-gup long DIRECTORY
 *   ksmfs-gup futex DIRECTORY
 *
 * fast: PROFILE is tracefs' kprobe_profile, with one probe, on what a page
 * goes through that can't be had from the page tables alone.
 */
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#include "ksmfs-client.h"

/* Of each kind. */
#define PAGES 10000
/* What fits into a pipe. */
#define BATCH 16

static const char *profile;
static int device;

static uint64_t slow_gups(void)
{
    FILE *file = fopen(profile, "r");
    uint64_t hits;

    if (!file || fscanf(file, "%*s %" SCNu64, &hits) != 1) {
        die("%s: no count of a probe", profile);
    }
    fclose(file);
    return hits;
}

static void pin_to_read(char *map)
{
    static char buffer[BATCH * PAGE];
    int pipe_fds[2];

    MUST(pipe(pipe_fds));
    for (unsigned long page = 0; page < PAGES; page += BATCH) {
        struct iovec iov = { map + page * PAGE, BATCH * PAGE };

        if (MUST(vmsplice(pipe_fds[1], &iov, 1, 0)) != BATCH * PAGE ||
            MUST(read(pipe_fds[0], buffer, BATCH * PAGE)) != BATCH * PAGE) {
            die("a short vmsplice");
        }
        if (memcmp(buffer, map + page * PAGE, BATCH * PAGE)) {
            die("MISMATCH: pages from %lu on by vmsplice", page);
        }
    }
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void pin_to_write(char *map)
{
    for (unsigned long page = 0; page < PAGES; page += BATCH) {
        if (MUST(pread(device, map + page * PAGE, BATCH * PAGE, 0)) !=
            BATCH * PAGE) {
            die("a short direct read");
        }
    }
}

static void touch(char *map, bool write)
{
    for (unsigned long page = 0; page < PAGES; page++) {
        volatile char *byte = map + page * PAGE;

        if (write) {
            *byte = *byte;
        } else {
            (void)*byte;
        }
    }
}

static void merge_all(int fd)
{
    static struct ksmfs_merge_entry entries[PAGES];
    int err;

    for (unsigned long page = 0; page < PAGES; page++) {
        entries[page].index = page;
        entries[page].digest = page / 2;
    }
    err = merge_pages(fd, entries, PAGES, NULL);
    if (err || stat_file(fd).pages_sharing != PAGES) {
        die("MERGE: %s", strerror(-err));
    }
}

static void report(const char *name, uint64_t before)
{
    printf("%s %" PRIu64 "\n", name, slow_gups() - before);
}

static void run_fast(const char *directory)
{
    int fd = open_file(directory, "gup", PAGES);
    char *map = map_file(fd, PAGES);
    uint64_t before;

    for (unsigned long page = 0; page < PAGES; page++) {
        uint64_t contents = page / 2 + 1;

        MUST(pwrite(fd, &contents, sizeof(contents), page * PAGE));
    }
    touch(map, false);
    before = slow_gups();
    pin_to_read(map);
    report("private-read", before);

    merge_all(fd);
    touch(map, false);
    before = slow_gups();
    pin_to_read(map);
    report("shared-read", before);

    touch(map, true);
    before = slow_gups();
    pin_to_write(map);
    report("private-written", before);

    /* What has to be slow, so that the probe is seen to count. */
    MUST(madvise(map, PAGES * PAGE, MADV_DONTNEED));
    before = slow_gups();
    pin_to_read(map);
    report("unmapped-read", before);
    printf("pages %d\n", PAGES);
}

static void run_long(const char *directory)
{
    int fd = open_file(directory, "long", 2);
    char *map = map_file(fd, 2);
    struct io_uring_params params = { };
    struct iovec iov = { map, PAGE };
    struct ksmfs_merge_entry entries[2] = { { .index = 1 }, { .index = 0 } };
    struct utsname name;
    int ring, major, minor, err;
    bool core_refuses;

    MUST(uname(&name));
    if (sscanf(name.release, "%d.%d", &major, &minor) != 2) {
        die("no version: %s", name.release);
    }
    core_refuses = major > 6 || (major == 6 && minor >= 5);
    map[0] = map[PAGE] = 1;
    ring = MUST(syscall(SYS_io_uring_setup, 1, &params));
    err = syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov,
                  1) ? errno : 0;
    /* Before, io_uring takes files of shmem and of huge pages only. */
    if (err != (core_refuses ? EFAULT : EOPNOTSUPP)) {
        die("a buffer of io_uring: %s", strerror(err));
    }
    err = merge_pages(fd, entries, 2, NULL);
    if (err) {
        die("MERGE: %s", strerror(-err));
    }
    if (entries[1].result != KSMFS_MERGED) {
        die("MERGE: result %u", entries[1].result);
    }
    close(ring);
    printf("refused 1\n");
}

/* Returns errno, at once or after a tenth of a second. */
static int wait_futex(const uint32_t *word, uint32_t value)
{
    struct timespec timeout = { .tv_nsec = 100000000 };
    double began = seconds_now();
    int err = syscall(SYS_futex, word, FUTEX_WAIT, value, &timeout, NULL, 0) ?
              errno : 0;

    if (seconds_now() - began > 10) {
        die("futex took %.0f s", seconds_now() - began);
    }
    return err;
}

static void check_futex(const char *what, const uint32_t *word)
{
    int err = wait_futex(word, *word + 1);

    if (err != EAGAIN) {
        die("futex with another value, %s: %s", what, strerror(err));
    }
    err = wait_futex(word, *word);
    if (err != ETIMEDOUT) {
        die("futex with its value, %s: %s", what, strerror(err));
    }
}

static void run_futex(const char *directory)
{
    static const char *const kinds[] = {
        "own page", "shared page", "shared page", "zero page", "hole",
    };
    int fd = open_file(directory, "futex", ARRAY_SIZE(kinds));
    char *map = map_file(fd, ARRAY_SIZE(kinds));
    struct ksmfs_merge_entry entries[] = {
        { .index = 1 }, { .index = 2 }, { .index = 3 },
    };
    char *readable = MUST(mmap(NULL, ARRAY_SIZE(kinds) * PAGE, PROT_READ,
                               MAP_SHARED, fd, 0));
    struct ksmfs_stat stat;

    map[0] = 1;
    map[PAGE] = map[2 * PAGE] = 2;
    map[3 * PAGE] = 0;
    MUST(merge_pages(fd, entries, ARRAY_SIZE(entries), NULL));
    stat = stat_file(fd);
    if (stat.pages_private != 1 || stat.pages_sharing != 2 ||
        stat.pages_zero != 1) {
        die("not the pages that there should be");
    }
    for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++) {
        check_futex(kinds[i], (uint32_t *)(readable + i * PAGE));
    }
    /* One that can be written makes the page its own. */
    for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++) {
        check_futex(kinds[i], (uint32_t *)(map + i * PAGE));
    }
    if (stat_file(fd).pages_private != ARRAY_SIZE(kinds)) {
        die("a page is shared that a futex may be in");
    }
}

int main(int argc, char **argv)
{
    if (argc == 5 && !strcmp(argv[1], "fast")) {
        device = MUST(open(argv[3], O_RDONLY | O_DIRECT));
        profile = argv[4];
        run_fast(argv[2]);
    } else if (argc == 3 && !strcmp(argv[1], "long")) {
        run_long(argv[2]);
    } else if (argc == 3 && !strcmp(argv[1], "futex")) {
        run_futex(argv[2]);
    } else {
        die("usage: ksmfs-gup fast|long|futex DIRECTORY ...");
    }
    return 0;
}
