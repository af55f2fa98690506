/*
 * Which page frames a process, or a file, is in
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pages.h"

/* Of an entry of a pagemap: Documentation/admin-guide/mm/pagemap.rst. */
#define PRESENT     (1ull << 63)
#define FRAME       ((1ull << 55) - 1)
#define ENTRIES     512

static int open_pagemap(pid_t pid)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static void add_entry(uint64_t entry, uint32_t advice, Ranges *ranges,
                      PageCount *count)
{
    Range *last = ranges->n ? &ranges->list[ranges->n - 1] : NULL;

    if (!(entry & PRESENT)) {
        count->absent++;
        return;
    }
    if (!(entry & FRAME)) {
        errx(1, "the kernel tells no page frames: run as root");
    }
    count->found++;
    if (last && last->advice == advice &&
        last->page + last->n == (entry & FRAME)) {
        last->n++;
    } else {
        ranges_add(ranges, entry & FRAME, 1, advice);
    }
}

/* The pages of [@start, @end); false if the process has ended. */
static bool add_pages(int pagemap, uint64_t start, uint64_t end,
                      uint32_t advice, Ranges *ranges, PageCount *count)
{
    const uint64_t page_size = sysconf(_SC_PAGESIZE);
    const uint64_t last = end / page_size + !!(end % page_size);
    uint64_t entries[ENTRIES];

    for (uint64_t page = start / page_size; page < last; ) {
        const size_t most = last - page < ENTRIES ? last - page : ENTRIES;
        const ssize_t got = pread(pagemap, entries, most * sizeof(entries[0]),
                                  page * sizeof(entries[0]));

        if (got < (ssize_t)sizeof(entries[0])) {
            return false;
        }
        for (size_t i = 0; i < got / sizeof(entries[0]); i++) {
            add_entry(entries[i], advice, ranges, count);
        }
        page += got / sizeof(entries[0]);
    }
    return true;
}

/* All private memory that may be written; false if the process has ended. */
static bool add_process(pid_t pid, int pagemap, uint32_t advice,
                        Ranges *ranges, PageCount *count)
{
    char path[64], *line = NULL;
    size_t room = 0;
    FILE *maps;

    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    maps = fopen(path, "re");
    if (!maps) {
        return false;
    }
    while (getline(&line, &room, maps) > 0) {
        uint64_t start, end;
        char access[5];

        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &start, &end,
                   access) == 3 && access[1] == 'w' && access[3] == 'p' &&
            !add_pages(pagemap, start, end, advice, ranges, count)) {
            break;
        }
    }
    free(line);
    fclose(maps);
    return true;
}

PageCount pages_of_process(pid_t pid, uint64_t start, uint64_t end,
                           uint32_t advice, Ranges *ranges)
{
    PageCount count = { 0 };
    int pagemap = open_pagemap(pid);
    bool there;

    if (pagemap < 0) {
        err(1, "process %d", (int)pid);
    }
    there = start == end ? add_process(pid, pagemap, advice, ranges, &count)
                         : add_pages(pagemap, start, end, advice, ranges,
                                     &count);
    if (!there) {
        errx(1, "process %d: has ended, or has no such memory: see"
             " /proc/%d/maps", (int)pid, (int)pid);
    }
    close(pagemap);
    return count;
}

PageCount pages_of_file(const char *path, uint32_t advice, Ranges *ranges)
{
    const size_t page_size = sysconf(_SC_PAGESIZE);
    PageCount count = { 0 };
    struct stat status;
    volatile const char *at;        /* reading a page brings it in */
    int pagemap = open_pagemap(getpid());
    /* Not to wait for somebody who opens the other end, if it has one. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &status) || pagemap < 0) {
        err(1, "%s", path);
    }
    if (!S_ISREG(status.st_mode)) {
        errx(1, "%s: is no regular file", path);
    }
    if (status.st_size) {
        at = mmap(NULL, status.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED) {
            err(1, "%s", path);
        }
        for (off_t i = 0; i < status.st_size; i += page_size) {
            at[i];
        }
        if (!add_pages(pagemap, (uintptr_t)at, (uintptr_t)at + status.st_size,
                       advice, ranges, &count)) {
            errx(1, "%s: can't find its page frames", path);
        }
        munmap((void *)at, status.st_size);
    }
    close(fd);
    close(pagemap);
    return count;
}

static bool is_called(const char *pid, const char *name)
{
    char path[320], comm[32] = "";
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%s/comm", pid);
    file = fopen(path, "re");
    if (!file) {
        return false;
    }
    if (fgets(comm, sizeof(comm), file)) {
        comm[strcspn(comm, "\n")] = '\0';
    }
    fclose(file);
    /* The kernel cuts it. */
    return comm[0] && !strncmp(comm, name, 15);
}

unsigned pages_of_name(const char *name, uint32_t advice, Ranges *ranges,
                       PageCount *count)
{
    DIR *directory = opendir("/proc");
    struct dirent *entry;
    unsigned n = 0;

    if (!directory) {
        err(1, "/proc");
    }
    while ((entry = readdir(directory))) {
        int pagemap;

        if (!isdigit((unsigned char)entry->d_name[0]) ||
            !is_called(entry->d_name, name)) {
            continue;
        }
        pagemap = open_pagemap(atoi(entry->d_name));
        if (pagemap >= 0) {
            n += add_process(atoi(entry->d_name), pagemap, advice, ranges,
                             count);
            close(pagemap);
        } else if (errno != ENOENT && errno != ESRCH) {
            err(1, "process %s", entry->d_name);
        }
    }
    closedir(directory);
    return n;
}
