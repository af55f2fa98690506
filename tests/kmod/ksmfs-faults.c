/*
 * Operations on ksmfs of which one allocation after the other fails
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *   ksmfs-faults nth|always GROUP DIRECTORY
 *
 * nth: /proc/thread-self/fail-nth lets the Nth allocation from then on fail.
 * Each operation of a group is done with N = 1, 2, and so on, until it needs
 * fewer than N.  always: it is done once, with all those failing that the
 * settings of failslab and fail_page_alloc name for the task.
 *
 * An operation may fail, or do without what it was refused.  If it fails, it
 * says why by an error that is documented, has changed nothing, and succeeds
 * when it is done again.  Afterwards nothing is left of the files.
 *
 * Says of each operation how often it failed.
 */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "ksmfs-client.h"

#define MODULE "/lib/modules/ksmfs.ko"
#define OPTIONS "size=1g"
/* Nothing needs so many allocations. */
#define MOST 5000

/* Pages of both files. */
enum {
    OWN,                /* private */
    SHARED,             /* merged with the other file's */
    ZERO,               /* a merged zero page */
    ZEROS,              /* private, and all 0 */
    TWIN,               /* private, the same in both files; a's is indexed */
    JOINER,             /* private, the same as SHARED */
    HOLE,
    SEEN,               /* a hole that is mapped */
    SEEN_SHARED,        /* as SHARED, and mapped */
    FAR,                /* a hole that the array has no node for */
    PAGES
};
#define FAR_AT (1l << 20)
#define SIZE ((FAR_AT + 1) * (off_t)PAGE)

struct file {
    const char *name;
    int fd;
    char *map;
    /* What it has to hold. */
    off_t size;
    char model[PAGES][PAGE];
};

static struct file a = { .name = "a" }, b = { .name = "b" };
static const char *directory;
static char sysfs[64];
static int fail_fd;
static bool always;
static bool mounted;

struct operation {
    const char *name;
    /* 0, or -errno; -EFAULT for SIGBUS. */
    int (*run)(void);
    /* Changes what a has to hold to what it is after it. */
    void (*expect)(void);
    /* An error besides ENOMEM. */
    int error;
    /* When it fails, a page may hold what it is to hold after it. */
    bool partial;
};

static off_t offset_of(int page)
{
    return (page == FAR ? FAR_AT : page) * (off_t)PAGE;
}

static int result(long value)
{
    return value < 0 ? -errno : 0;
}

/* A system call that may do less than it was asked for. */
static int whole(long value, long wanted)
{
    return value < 0 ? -errno : value == wanted ? 0 : -ENOMEM;
}

/* Failing allocations, from arm() to disarm(). */

static void arm(unsigned int nth)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%u", always ? 1 : nth);

    MUST(write(fail_fd, text, n));
}

/* Whether one failed. */
static bool disarm(void)
{
    char text[16] = "";

    MUST(pread(fail_fd, text, sizeof(text) - 1, 0));
    MUST(write(fail_fd, "0", 1));
    return always || atoi(text) == 0;
}

/* Files. */

static const char *path_of(const char *name)
{
    static char paths[2][256];
    static int n;

    n = !n;
    snprintf(paths[n], sizeof(paths[n]), "%s/%s", directory, name);
    return paths[n];
}

static void fill(struct file *file, int page, int byte)
{
    memset(file->model[page], byte, PAGE);
    MUST(pwrite(file->fd, file->model[page], PAGE, offset_of(page)));
}

static void merge(struct file *file, int page, uint64_t digest,
                  enum ksmfs_result wanted)
{
    struct ksmfs_merge_entry entry = {
        .index = offset_of(page) / PAGE, .digest = digest,
    };

    if (merge_pages(file->fd, &entry, 1, NULL) || entry.result != wanted) {
        die("page %d of %s: result %u", page, file->name, entry.result);
    }
}

static void make_file(struct file *file, bool first)
{
    memset(file->model, 0, sizeof(file->model));
    file->size = SIZE;
    file->fd = open_file(directory, file->name, SIZE / PAGE);
    file->map = map_file(file->fd, SIZE / PAGE);
    fill(file, OWN, first ? 'o' : 'p');
    for (int page = SHARED; page <= SEEN_SHARED; page++) {
        if (page != HOLE && page != SEEN) {
            fill(file, page, page == ZERO || page == ZEROS ? 0 : page);
        }
    }
    fill(file, JOINER, SHARED);
    merge(file, SHARED, SHARED, first ? KSMFS_INDEXED : KSMFS_MERGED);
    merge(file, SEEN_SHARED, SEEN_SHARED,
          first ? KSMFS_INDEXED : KSMFS_MERGED);
    merge(file, ZERO, ZERO, KSMFS_MERGED);
    if (first) {
        merge(file, TWIN, TWIN, KSMFS_INDEXED);
    }
    (void)*(volatile char *)(file->map + offset_of(SEEN));
    (void)*(volatile char *)(file->map + offset_of(SEEN_SHARED));
}

static void make_files(void)
{
    make_file(&a, true);
    make_file(&b, false);
}

static bool holds(const struct file *file, int page, const char *contents)
{
    char buffer[PAGE];
    off_t at = offset_of(page);

    if (at + (off_t)PAGE > file->size) {
        /* Not to be accessed in the mapping. */
        return true;
    }
    if (MUST(pread(file->fd, buffer, PAGE, at)) != PAGE) {
        die("a short read");
    }
    return !memcmp(buffer, contents, PAGE) &&
           !memcmp(file->map + at, contents, PAGE);
}

/* Each page holds what it has to, or what it held BEFORE. */
static void check_file(const struct file *file, const struct file *before,
                       const char *what)
{
    struct stat stat;

    if (!file->map) {
        return;
    }
    MUST(fstat(file->fd, &stat));
    if (stat.st_size != file->size && stat.st_size != before->size) {
        die("MISMATCH: %s: %jd bytes", what, (intmax_t)stat.st_size);
    }
    for (int page = 0; page < PAGES; page++) {
        if (!holds(file, page, file->model[page]) &&
            !holds(file, page, before->model[page])) {
            die("MISMATCH: %s: page %d of %s", what, page, file->name);
        }
    }
}

static uint64_t counter(const char *name)
{
    char path[128], text[32] = "";
    int fd;

    snprintf(path, sizeof(path), "%s/%s", sysfs, name);
    fd = MUST(open(path, O_RDONLY));
    MUST(read(fd, text, sizeof(text) - 1));
    close(fd);
    return strtoull(text, NULL, 10);
}

static void check_nothing_left(const char *what)
{
    static const char *const names[] = {
        "pages_allocated", "pages_used", "pages_shared", "pages_sharing",
        "pages_unshared", "ksm_zero_pages",
    };

    for (unsigned int i = 0; i < ARRAY_SIZE(names); i++) {
        uint64_t value = counter(names[i]);

        if (value) {
            die("%s: %s is %" PRIu64 " without any file", what, names[i],
                value);
        }
    }
}

static void remove_files(void)
{
    DIR *entries = opendir(directory);
    struct dirent *entry;

    for (struct file *file = &a; file; file = file == &a ? &b : NULL) {
        if (file->map) {
            MUST(munmap(file->map, SIZE));
            MUST(close(file->fd));
        }
    }
    while ((entry = readdir(entries))) {
        if (entry->d_name[0] != '.') {
            MUST(unlinkat(dirfd(entries), entry->d_name,
                          entry->d_type == DT_DIR ? AT_REMOVEDIR : 0));
        }
    }
    closedir(entries);
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
    int fd = open(directory, O_RDWR | O_TMPFILE, 0600);

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
    return result(ftruncate(a.fd, SIZE + 10 * PAGE));
}

static void expect_grow(void)
{
    a.size = SIZE + 10 * PAGE;
}

/* The rest of a shared page is to be zeroed. */
static int run_shrink(void)
{
    return result(ftruncate(a.fd, SHARED * PAGE + 100));
}

static void expect_shrink(void)
{
    a.size = SHARED * PAGE + 100;
}

static int write_at(int page)
{
    char buffer[100];

    memset(buffer, 'w', sizeof(buffer));
    return whole(pwrite(a.fd, buffer, sizeof(buffer), offset_of(page)),
                 sizeof(buffer));
}

#define DEFINE_WRITE(name, page)                                             \
    static int run_write_##name(void)                                        \
    {                                                                        \
        return write_at(page);                                               \
    }                                                                        \
    static void expect_write_##name(void)                                    \
    {                                                                        \
        memset(a.model[page], 'w', 100);                                     \
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
    return whole(pwrite(a.fd, buffer, sizeof(buffer), 0), sizeof(buffer));
}

static void expect_write_many(void)
{
    memset(a.model, 'm', FAR * PAGE);
}

static int run_allocate(void)
{
    return result(fallocate(a.fd, 0, HOLE * PAGE, 2 * PAGE));
}

/* What fails leaves nothing behind the end. */
static int run_allocate_more(void)
{
    struct ksmfs_stat before = stat_file(a.fd);
    int err = result(fallocate(a.fd, 0, SIZE, 4 * PAGE));

    if (err && !same_pages(before, stat_file(a.fd))) {
        die("fallocate() failed, and left pages");
    }
    return err;
}

static void expect_allocate_more(void)
{
    a.size = SIZE + 4 * PAGE;
}

/* With parts of a shared and of a zero page. */
static int run_punch(void)
{
    return result(fallocate(a.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            SHARED * PAGE + 100,
                            (SEEN_SHARED - SHARED) * PAGE));
}

static void expect_punch(void)
{
    memset(&a.model[SHARED][100], 0, (SEEN_SHARED - SHARED) * PAGE);
}

static int run_read(void)
{
    static char buffer[PAGE];

    return whole(pread(a.fd, buffer, PAGE, offset_of(HOLE)), PAGE);
}

static int run_sendfile(void)
{
    off_t from = offset_of(SHARED);
    int pipes[2], err;

    if (pipe(pipes)) {
        return -errno;
    }
    err = whole(sendfile(pipes[1], a.fd, &from, 2 * PAGE), 2 * PAGE);
    close(pipes[0]);
    close(pipes[1]);
    return err;
}

/* With the last that has it, all of its pages go.  None of this may fail. */
static int run_forget(void)
{
    int fd = a.fd;

    if (unlink(path_of("a"))) {
        return -errno;
    }
    a.fd = -1;
    if (munmap(a.map, SIZE)) {
        MUST(munmap(a.map, SIZE));
    }
    a.map = NULL;
    return result(close(fd));
}

static const struct operation files[] = {
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
        return store_at(a.map, page);                                        \
    }                                                                        \
    static void expect_store_##name(void)                                    \
    {                                                                        \
        a.model[page][0] = 's';                                              \
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
    return load_at(a.map, OWN);
}

static int run_load_hole(void)
{
    return load_at(a.map, HOLE);
}

static int run_map(void)
{
    void *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, a.fd, 0);

    return map == MAP_FAILED ? -errno : result(munmap(map, SIZE));
}

/* A copy, of which the file does not know. */
static int run_store_private(void)
{
    const size_t size = SEEN_SHARED * PAGE;
    char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, a.fd, 0);
    int err;

    if (map == MAP_FAILED) {
        return -errno;
    }
    err = load_at(map, SHARED) ?: store_at(map, SHARED) ?:
          store_at(map, HOLE);
    munmap(map, size);
    return err;
}

static const struct operation mappings[] = {
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

    return result(ioctl(a.fd, KSMFS_IOC_INFO, &info));
}

static int run_stat(void)
{
    struct ksmfs_stat stat = { .size = sizeof(stat) };

    return result(ioctl(a.fd, KSMFS_IOC_STAT, &stat));
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

    return result(ioctl(a.fd, KSMFS_IOC_COLLECT, &collect));
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
    struct ksmfs_stat before = stat_file(b.fd);
    int err = merge_pages(b.fd, entries, ARRAY_SIZE(entries), NULL);

    if (err) {
        if (!same_pages(before, stat_file(b.fd))) {
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
    struct ksmfs_stat before = stat_file(a.fd);
    int err = split_pages(a.fd, SHARED, EVERYTHING, 1);

    if (err && !same_pages(before, stat_file(a.fd))) {
        die("SPLIT failed, and split");
    }
    return err;
}

static int run_split_all(void)
{
    struct ksmfs_split split = {
        .size = sizeof(split), .end = EVERYTHING, .max = EVERYTHING,
    };

    if (ioctl(a.fd, KSMFS_IOC_SPLIT, &split)) {
        return -errno;
    }
    /* It may have ended early: the rest is to be asked for. */
    return split.next == split.end ? 0 : -ENOMEM;
}

static const struct operation ioctls[] = {
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

static int run_mount(void)
{
    int err = result(mount("ksmfs", directory, "ksmfs", 0, OPTIONS));

    mounted = !err;
    return err;
}

static void do_mount(void)
{
    struct stat stat;

    if (run_mount()) {
        die("%s: can't be mounted", directory);
    }
    MUST(lstat(directory, &stat));
    snprintf(sysfs, sizeof(sysfs), "/sys/fs/ksmfs/%u:%u",
             major(stat.st_dev), minor(stat.st_dev));
}

static int run_umount(void)
{
    int err = result(umount2(directory, 0));

    mounted = mounted && err;
    return err;
}

static void do_umount(void)
{
    if (mounted && run_umount()) {
        die("%s: can't be unmounted", directory);
    }
}

static int run_remount(void)
{
    return result(mount("ksmfs", directory, "ksmfs", MS_REMOUNT, OPTIONS));
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

static const struct operation mounts[] = { { "mount", run_mount } };
static const struct operation umounts[] = { { "umount", run_umount } };
static const struct operation remounts[] = { { "remount", run_remount } };
static const struct operation modules[] = { { "load", run_load } };

static const struct group {
    const char *name;
    const struct operation *operations;
    int n;
    /* Before and after each operation. */
    void (*begin)(void);
    void (*end)(void);
    bool has_files;
} groups[] = {
    { "files", files, ARRAY_SIZE(files), make_files, remove_files, true },
    { "mappings", mappings, ARRAY_SIZE(mappings), make_files, remove_files,
      true },
    { "ioctls", ioctls, ARRAY_SIZE(ioctls), make_files, remove_files, true },
    { "mounts", mounts, ARRAY_SIZE(mounts), nothing, do_umount },
    { "umounts", umounts, ARRAY_SIZE(umounts), do_mount, do_umount },
    { "remounts", remounts, ARRAY_SIZE(remounts), do_mount, do_umount },
    { "modules", modules, ARRAY_SIZE(modules), nothing, unload },
};

/* Returns whether an allocation failed; counts FAILURES of the operation. */
static bool attempt(const struct group *group, const struct operation *op,
                    unsigned int nth, unsigned int *failures)
{
    static struct file a_before;
    char what[128];
    bool injected;
    int err;

    group->begin();
    a_before = a;
    arm(nth);
    err = op->run();
    injected = disarm();
    snprintf(what, sizeof(what), "%s, allocation %u", op->name, nth);
    if (err && (!injected || (err != -ENOMEM && err != -op->error))) {
        die("%s: %s", what, strerror(-err));
    }
    if (err) {
        ++*failures;
        if (group->has_files && !op->partial) {
            check_file(&a, &a_before, what);
        } else if (group->has_files && op->expect) {
            op->expect();
            check_file(&a, &a_before, what);
            a = a_before;
        }
        err = op->run();
        if (err) {
            die("%s, done again: %s", what, strerror(-err));
        }
    }
    if (group->has_files) {
        if (op->expect) {
            op->expect();
        }
        check_file(&a, &a, what);
        check_file(&b, &b, what);
    }
    group->end();
    if (group->has_files) {
        check_nothing_left(what);
    }
    return injected;
}

int main(int argc, char **argv)
{
    const struct sigaction action = { .sa_handler = caught };
    const struct group *group = NULL;

    if (argc != 4) {
        die("Usage: %s nth|always GROUP DIRECTORY", argv[0]);
    }
    always = !strcmp(argv[1], "always");
    directory = argv[3];
    for (unsigned int i = 0; i < ARRAY_SIZE(groups); i++) {
        if (!strcmp(argv[2], groups[i].name)) {
            group = &groups[i];
        }
    }
    if (!group) {
        die("%s: no such group", argv[2]);
    }
    MUST(sigaction(SIGBUS, &action, NULL));
    fail_fd = MUST(open(always ? "/proc/thread-self/make-it-fail"
                               : "/proc/thread-self/fail-nth",
                        O_RDWR | O_CLOEXEC));
    /* The program's own memory needs none meanwhile. */
    MUST(mlockall(MCL_CURRENT));
    if (group->has_files) {
        do_mount();
    }
    for (int i = 0; i < group->n; i++) {
        unsigned int failures = 0, nth = 1;

        while (attempt(group, &group->operations[i], nth, &failures) &&
               !always) {
            if (nth++ == MOST) {
                die("%s: no end of allocations", group->operations[i].name);
            }
        }
        printf("%s %u\n", group->operations[i].name, failures);
        fflush(stdout);
    }
    if (group->has_files) {
        do_umount();
    }
    return 0;
}
