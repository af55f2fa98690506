/*
 * Operations on ksmfs, in groups
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <setjmp.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "ksmfs-operations.h"

#define MODULE "/lib/modules/ksmfs.ko"

static int result(long value)
{
    return value < 0 ? -errno : 0;
}

/* A system call that may do less than it was asked for. */
static int whole(long value, long wanted)
{
    return value < 0 ? -errno : value == wanted ? 0 : -ENOMEM;
}

static bool same_pages(struct ksmfs_stat one, struct ksmfs_stat two)
{
    return one.pages_private == two.pages_private &&
           one.pages_sharing == two.pages_sharing &&
           one.pages_zero == two.pages_zero;
}

/* Operations on files. */

static int run_create(void)
{
    int fd = open(path_of("new"), O_RDWR | O_CREAT, 0600);

    return fd < 0 ? -errno : result(close(fd));
}

static int run_tmpfile(void)
{
    int fd = open(bed.directory, O_RDWR | O_TMPFILE, 0600);

    return fd < 0 ? -errno : result(close(fd));
}

static int run_mkdir(void)
{
    return result(mkdir(path_of("new"), 0700));
}

static int run_symlink(void)
{
    return result(symlink("a", path_of("new")));
}

static int run_mkfifo(void)
{
    return result(mkfifo(path_of("new"), 0600));
}

static int run_link(void)
{
    return result(link(path_of("a"), path_of("new")));
}

static int run_rename(void)
{
    return result(rename(path_of("a"), path_of("b")));
}

static int run_unlink(void)
{
    return result(unlink(path_of("a")));
}

static int run_grow(void)
{
    return result(ftruncate(bed.a.fd, SIZE + 10 * PAGE));
}

static void expect_grow(void)
{
    bed.a.size = SIZE + 10 * PAGE;
}

/* The rest of a shared page is to be zeroed. */
static int run_shrink(void)
{
    return result(ftruncate(bed.a.fd, SHARED * PAGE + 100));
}

static void expect_shrink(void)
{
    bed.a.size = SHARED * PAGE + 100;
}

static int write_at(int page)
{
    char buffer[100];

    memset(buffer, 'w', sizeof(buffer));
    return whole(pwrite(bed.a.fd, buffer, sizeof(buffer), offset_of(page)),
                 sizeof(buffer));
}

#define DEFINE_WRITE(name, page)                                             \
    static int run_write_##name(void)                                        \
    {                                                                        \
        return write_at(page);                                               \
    }                                                                        \
    static void expect_write_##name(void)                                    \
    {                                                                        \
        memset(bed.a.model[page], 'w', 100);                                 \
    }

DEFINE_WRITE(own, OWN)
DEFINE_WRITE(shared, SHARED)
DEFINE_WRITE(zero, ZERO)
DEFINE_WRITE(hole, HOLE)
DEFINE_WRITE(seen, SEEN)
DEFINE_WRITE(seen_shared, SEEN_SHARED)
DEFINE_WRITE(far, FAR)

static int run_write_many(void)
{
    static char buffer[FAR * PAGE];

    memset(buffer, 'm', sizeof(buffer));
    return whole(pwrite(bed.a.fd, buffer, sizeof(buffer), 0), sizeof(buffer));
}

static void expect_write_many(void)
{
    memset(bed.a.model, 'm', FAR * PAGE);
}

static int run_allocate(void)
{
    return result(fallocate(bed.a.fd, 0, HOLE * PAGE, 2 * PAGE));
}

/* What fails leaves nothing behind the end. */
static int run_allocate_more(void)
{
    struct ksmfs_stat before = stat_file(bed.a.fd);
    int err = result(fallocate(bed.a.fd, 0, SIZE, 4 * PAGE));

    if (err && !same_pages(before, stat_file(bed.a.fd))) {
        die("fallocate() failed, and left pages");
    }
    return err;
}

static void expect_allocate_more(void)
{
    bed.a.size = SIZE + 4 * PAGE;
}

/* With parts of a shared and of a zero page. */
static int run_punch(void)
{
    return result(fallocate(bed.a.fd,
                            FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            SHARED * PAGE + 100,
                            (SEEN_SHARED - SHARED) * PAGE));
}

static void expect_punch(void)
{
    memset(&bed.a.model[SHARED][100], 0, (SEEN_SHARED - SHARED) * PAGE);
}

static int run_read(void)
{
    static char buffer[PAGE];

    return whole(pread(bed.a.fd, buffer, PAGE, offset_of(HOLE)), PAGE);
}

static int run_sendfile(void)
{
    off_t from = offset_of(SHARED);
    int pipes[2], err;

    if (pipe(pipes)) {
        return -errno;
    }
    err = whole(sendfile(pipes[1], bed.a.fd, &from, 2 * PAGE), 2 * PAGE);
    close(pipes[0]);
    close(pipes[1]);
    return err;
}

/* With the last that has it, all of its pages go.  None of this may fail. */
static int run_forget(void)
{
    int fd = bed.a.fd;

    if (unlink(path_of("a"))) {
        return -errno;
    }
    bed.a.fd = -1;
    if (munmap(bed.a.map, SIZE)) {
        MUST(munmap(bed.a.map, SIZE));
    }
    bed.a.map = NULL;
    return result(close(fd));
}

static const Operation files[] = {
    { "create", run_create, .error = ENOSPC },
    { "tmpfile", run_tmpfile, .error = ENOSPC },
    { "mkdir", run_mkdir, .error = ENOSPC },
    { "symlink", run_symlink, .error = ENOSPC },
    { "mkfifo", run_mkfifo, .error = ENOSPC },
    { "link", run_link },
    { "rename", run_rename },
    { "unlink", run_unlink },
    { "grow", run_grow, expect_grow },
    { "shrink", run_shrink, expect_shrink },
    { "write-own", run_write_own, expect_write_own },
    { "write-shared", run_write_shared, expect_write_shared },
    { "write-zero", run_write_zero, expect_write_zero },
    { "write-hole", run_write_hole, expect_write_hole },
    { "write-seen", run_write_seen, expect_write_seen },
    { "write-seen-shared", run_write_seen_shared, expect_write_seen_shared },
    { "write-far", run_write_far, expect_write_far },
    { "write-many", run_write_many, expect_write_many, .partial = true },
    { "allocate", run_allocate, .partial = true },
    { "allocate-more", run_allocate_more, expect_allocate_more },
    { "punch", run_punch, expect_punch, .partial = true },
    { "read", run_read },
    /* Of pipe(). */
    { "sendfile", run_sendfile, .error = ENFILE },
    { "forget", run_forget },
};

/* Operations on memory. */

static sigjmp_buf fault;

static void caught(int number)
{
    siglongjmp(fault, 1);
}

static int store_at(char *map, int page)
{
    if (sigsetjmp(fault, 1)) {
        return -EFAULT;
    }
    *(volatile char *)(map + offset_of(page)) = 's';
    return 0;
}

static int load_at(char *map, int page)
{
    if (sigsetjmp(fault, 1)) {
        return -EFAULT;
    }
    (void)*(volatile char *)(map + offset_of(page));
    return 0;
}

#define DEFINE_STORE(name, page)                                             \
    static int run_store_##name(void)                                        \
    {                                                                        \
        return store_at(bed.a.map, page);                                    \
    }                                                                        \
    static void expect_store_##name(void)                                    \
    {                                                                        \
        bed.a.model[page][0] = 's';                                          \
    }

DEFINE_STORE(own, OWN)
DEFINE_STORE(shared, SHARED)
DEFINE_STORE(zero, ZERO)
DEFINE_STORE(hole, HOLE)
DEFINE_STORE(seen, SEEN)
DEFINE_STORE(seen_shared, SEEN_SHARED)
DEFINE_STORE(far, FAR)

static int run_load_own(void)
{
    return load_at(bed.a.map, OWN);
}

static int run_load_hole(void)
{
    return load_at(bed.a.map, HOLE);
}

static int run_map(void)
{
    void *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, bed.a.fd,
                     0);

    return map == MAP_FAILED ? -errno : result(munmap(map, SIZE));
}

/* A copy, of which the file does not know. */
static int run_store_private(void)
{
    const size_t size = SEEN_SHARED * PAGE;
    char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, bed.a.fd,
                     0);
    int err;

    if (map == MAP_FAILED) {
        return -errno;
    }
    err = load_at(map, SHARED) ?: store_at(map, SHARED) ?:
          store_at(map, HOLE);
    munmap(map, size);
    return err;
}

static const Operation mappings[] = {
    { "map", run_map },
    { "load-own", run_load_own, .error = EFAULT },
    { "load-hole", run_load_hole, .error = EFAULT },
    { "store-own", run_store_own, expect_store_own, .error = EFAULT },
    { "store-shared", run_store_shared, expect_store_shared, .error = EFAULT },
    { "store-zero", run_store_zero, expect_store_zero, .error = EFAULT },
    { "store-hole", run_store_hole, expect_store_hole, .error = EFAULT },
    { "store-seen", run_store_seen, expect_store_seen, .error = EFAULT },
    { "store-seen-shared", run_store_seen_shared, expect_store_seen_shared,
      .error = EFAULT },
    { "store-far", run_store_far, expect_store_far, .error = EFAULT },
    { "store-private", run_store_private, .error = EFAULT },
};

/* Operations that are ioctls. */

static int run_info(void)
{
    struct ksmfs_info info = { .size = sizeof(info) };

    return result(ioctl(bed.a.fd, KSMFS_IOC_INFO, &info));
}

static int run_stat(void)
{
    struct ksmfs_stat stat = { .size = sizeof(stat) };

    return result(ioctl(bed.a.fd, KSMFS_IOC_STAT, &stat));
}

static int collect(uint32_t flags)
{
    struct ksmfs_range ranges[PAGES];
    struct ksmfs_collect collect = {
        .size = sizeof(collect),
        .flags = flags,
        .end = EVERYTHING,
        .ranges = (uintptr_t)ranges,
        .max = PAGES,
    };

    return result(ioctl(bed.a.fd, KSMFS_IOC_COLLECT, &collect));
}

static int run_collect(void)
{
    return collect(0);
}

static int run_peek(void)
{
    return collect(KSMFS_COLLECT_PEEK);
}

static int run_restart(void)
{
    return collect(KSMFS_COLLECT_RESTART);
}

/* Into the index, to zero, with a private twin, with a shared one. */
static int run_merge(void)
{
    struct ksmfs_merge_entry entries[] = {
        { OWN, 1000 }, { ZEROS, ZEROS }, { TWIN, TWIN }, { JOINER, SHARED },
    };
    static const enum ksmfs_result results[] = {
        KSMFS_INDEXED, KSMFS_MERGED, KSMFS_MERGED, KSMFS_MERGED,
    };
    struct ksmfs_stat before = stat_file(bed.b.fd);
    int err = merge_pages(bed.b.fd, entries, ARRAY_SIZE(entries), NULL);

    if (err) {
        if (!same_pages(before, stat_file(bed.b.fd))) {
            die("MERGE failed, and merged");
        }
        return err;
    }
    for (unsigned int i = 0; i < ARRAY_SIZE(entries); i++) {
        if (entries[i].result != results[i]) {
            die("MERGE: result %u of entry %u", entries[i].result, i);
        }
    }
    return 0;
}

/* Without a page for the first one, it has done nothing at all. */
static int run_split(void)
{
    struct ksmfs_stat before = stat_file(bed.a.fd);
    int err = split_pages(bed.a.fd, SHARED, EVERYTHING, 1);

    if (err && !same_pages(before, stat_file(bed.a.fd))) {
        die("SPLIT failed, and split");
    }
    return err;
}

static int run_split_all(void)
{
    struct ksmfs_split split = {
        .size = sizeof(split), .end = EVERYTHING, .max = EVERYTHING,
    };

    if (ioctl(bed.a.fd, KSMFS_IOC_SPLIT, &split)) {
        return -errno;
    }
    /* It may have ended early: the rest is to be asked for. */
    return split.next == split.end ? 0 : -ENOMEM;
}

static const Operation ioctls[] = {
    { "info", run_info },
    { "stat", run_stat },
    { "collect", run_collect },
    { "peek", run_peek },
    { "restart", run_restart },
    { "merge", run_merge },
    { "split", run_split },
    { "split-all", run_split_all, .partial = true },
};

/* Mounts, and the module. */

static int run_remount(void)
{
    return result(mount("ksmfs", bed.directory, "ksmfs", MS_REMOUNT, OPTIONS));
}

static int run_load(void)
{
    int fd = open(MODULE, O_RDONLY | O_CLOEXEC);
    int err;

    if (fd < 0) {
        return -errno;
    }
    err = result(syscall(SYS_finit_module, fd, "", 0));
    close(fd);
    return err;
}

static void unload(void)
{
    MUST(syscall(SYS_delete_module, "ksmfs", 0));
}

static void nothing(void)
{
}

static const Operation mounts[] = { { "mount", try_mount } };
static const Operation umounts[] = { { "umount", try_umount } };
static const Operation remounts[] = { { "remount", run_remount } };
static const Operation modules[] = { { "load", run_load } };

static const Group groups[] = {
    { "files", files, ARRAY_SIZE(files), make_files, remove_files, true },
    { "mappings", mappings, ARRAY_SIZE(mappings), make_files, remove_files,
      true },
    { "ioctls", ioctls, ARRAY_SIZE(ioctls), make_files, remove_files, true },
    { "mounts", mounts, ARRAY_SIZE(mounts), nothing, umount_bed },
    { "umounts", umounts, ARRAY_SIZE(umounts), mount_bed, umount_bed },
    { "remounts", remounts, ARRAY_SIZE(remounts), mount_bed, umount_bed },
    { "modules", modules, ARRAY_SIZE(modules), nothing, unload },
};

const Group *find_group(const char *name)
{
    for (unsigned int i = 0; i < ARRAY_SIZE(groups); i++) {
        if (!strcmp(name, groups[i].name)) {
            return &groups[i];
        }
    }
    return NULL;
}

void catch_sigbus(void)
{
    const struct sigaction action = { .sa_handler = caught };

    MUST(sigaction(SIGBUS, &action, NULL));
}
