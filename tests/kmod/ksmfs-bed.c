/*
 * What operations on ksmfs are done on: a mount, and two files of it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <dirent.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "ksmfs-bed.h"

#define FAR_AT (SIZE / (off_t)PAGE - 1)

Bed bed = { .a.name = "a", .b.name = "b" };

int try_mount(void)
{
    int err = mount("ksmfs", bed.directory, "ksmfs", 0, OPTIONS) ? -errno : 0;

    bed.mounted = !err;
    return err;
}

void mount_bed(void)
{
    struct stat stat;

    if (try_mount()) {
        die("%s: can't be mounted", bed.directory);
    }
    MUST(lstat(bed.directory, &stat));
    snprintf(bed.sysfs, sizeof(bed.sysfs), "/sys/fs/ksmfs/%u:%u",
             major(stat.st_dev), minor(stat.st_dev));
}

int try_umount(void)
{
    int err = umount2(bed.directory, 0) ? -errno : 0;

    bed.mounted = bed.mounted && err;
    return err;
}

void umount_bed(void)
{
    if (bed.mounted && try_umount()) {
        die("%s: can't be unmounted", bed.directory);
    }
}

off_t offset_of(int page)
{
    return (page == FAR ? FAR_AT : page) * (off_t)PAGE;
}

const char *path_of(const char *name)
{
    static char paths[2][256];
    static int n;

    n = !n;
    snprintf(paths[n], sizeof(paths[n]), "%s/%s", bed.directory, name);
    return paths[n];
}

static void fill(File *file, int page, int byte)
{
    memset(file->model[page], byte, PAGE);
    MUST(pwrite(file->fd, file->model[page], PAGE, offset_of(page)));
}

static void merge(File *file, int page, uint64_t digest,
                  enum ksmfs_result wanted)
{
    struct ksmfs_merge_entry entry = {
        .index = offset_of(page) / PAGE, .digest = digest,
    };

    if (merge_pages(file->fd, &entry, 1, NULL) || entry.result != wanted) {
        die("page %d of %s: result %u", page, file->name, entry.result);
    }
}

static void make_file(File *file, bool first)
{
    memset(file->model, 0, sizeof(file->model));
    file->size = SIZE;
    file->fd = open_file(bed.directory, file->name, SIZE / PAGE);
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

void make_files(void)
{
    make_file(&bed.a, true);
    make_file(&bed.b, false);
}

void remove_files(void)
{
    DIR *entries = opendir(bed.directory);
    struct dirent *entry;

    for (File *file = &bed.a; file; file = file == &bed.a ? &bed.b : NULL) {
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

static bool holds(const File *file, int page, const char *contents)
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

void check_file(const File *file, const File *before, const char *what)
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

    snprintf(path, sizeof(path), "%s/%s", bed.sysfs, name);
    fd = MUST(open(path, O_RDONLY));
    MUST(read(fd, text, sizeof(text) - 1));
    close(fd);
    return strtoull(text, NULL, 10);
}

void check_nothing_left(const char *what)
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
