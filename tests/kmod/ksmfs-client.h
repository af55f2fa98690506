/*
 * What the tests' programs share: files of ksmfs, and how to fail
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMFS_CLIENT_H
#define KSMFS_CLIENT_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <linux/ksmfs.h>

#define PAGE 4096ul
#define WORDS (PAGE / sizeof(uint64_t))
#define EVERYTHING (UINT64_C(1) << 52)
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

static inline void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *format, ...)
{
    va_list arguments;
    char text[512];

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    /* In one piece, as others may say something, too. */
    dprintf(STDERR_FILENO, "%s\n", text);
    _exit(1);
}

/* What has to succeed; its text is the message. */
#define MUST(expression)                                                     \
    ({                                                                       \
        __auto_type must_result = (expression);                              \
                                                                             \
        if ((intptr_t)must_result == -1) {                                   \
            die("%s:%d: %s: %s", __FILE__, __LINE__, #expression,            \
                strerror(errno));                                            \
        }                                                                    \
        must_result;                                                         \
    })

static inline double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

/* Numbers below LIMIT that are the same in each run of a seed (xorshift64*). */
static inline uint32_t random_below(uint64_t *state, uint32_t limit)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (*state * UINT64_C(0x2545f4914f6cdd1d) >> 32) * limit >> 32;
}

/* A file of PAGES pages, made if it is not there. */
static inline int open_file(const char *directory, const char *name,
                            unsigned long pages)
{
    char path[256];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    fd = MUST(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    MUST(ftruncate(fd, pages * PAGE));
    return fd;
}

static inline char *map_file(int fd, unsigned long pages)
{
    return MUST(mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
                     fd, 0));
}

/* These return 0 or -errno, as the kernel does. */
static inline int merge_pages(int fd, struct ksmfs_merge_entry *entries,
                              uint32_t count, uint32_t *done)
{
    struct ksmfs_merge merge = {
        .size = sizeof(merge),
        .entries = (uintptr_t)entries,
        .count = count,
    };
    int err = ioctl(fd, KSMFS_IOC_MERGE, &merge) ? -errno : 0;

    if (done) {
        *done = merge.done;
    }
    return err;
}

static inline int split_pages(int fd, uint64_t start, uint64_t end,
                              uint64_t max)
{
    struct ksmfs_split split = {
        .size = sizeof(split), .start = start, .end = end, .max = max,
    };

    return ioctl(fd, KSMFS_IOC_SPLIT, &split) ? -errno : 0;
}

static inline int collect_pages(int fd, uint64_t *start, uint64_t end,
                                struct ksmfs_range *ranges, uint32_t max,
                                uint32_t *count)
{
    struct ksmfs_collect collect = {
        .size = sizeof(collect),
        .start = *start,
        .end = end,
        .ranges = (uintptr_t)ranges,
        .max = max,
    };
    int err = ioctl(fd, KSMFS_IOC_COLLECT, &collect) ? -errno : 0;

    if (!err) {
        *start = collect.next;
        *count = collect.count;
    }
    return err;
}

static inline struct ksmfs_stat stat_file(int fd)
{
    struct ksmfs_stat stat = { .size = sizeof(stat) };

    MUST(ioctl(fd, KSMFS_IOC_STAT, &stat));
    return stat;
}

static inline void punch_pages(int fd, uint64_t start, uint64_t end)
{
    MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                   start * PAGE, (end - start) * PAGE));
}

#endif
