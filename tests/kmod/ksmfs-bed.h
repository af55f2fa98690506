/*
 * What operations on ksmfs are done on: a mount, and two files of it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMFS_BED_H
#define KSMFS_BED_H

#include "ksmfs-client.h"

#define OPTIONS "size=1g"
/* Of a file; nearly all of it is holes. */
#define SIZE (((1l << 20) + 1) * (off_t)PAGE)

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

typedef struct {
    const char *name;
    int fd;
    char *map;                  /* NULL when it is gone */
    /* What it has to hold. */
    off_t size;
    char model[PAGES][PAGE];
} File;

typedef struct {
    const char *directory;      /* where ksmfs is mounted */
    char sysfs[64];             /* the directory with that mount's counters */
    bool mounted;
    File a, b;                  /* operations change what a holds, never b */
} Bed;

extern Bed bed;

/* These return 0 or -errno. */
int try_mount(void);
int try_umount(void);
/* These have to succeed. */
void mount_bed(void);
void umount_bed(void);          /* if it is mounted */

/* Where a page is in its file. */
off_t offset_of(int page);
/* Of a file; two are good at a time. */
const char *path_of(const char *name);
void make_files(void);
void remove_files(void);        /* with all that is in the directory */

/* Each page holds what it has to, or what it had to hold BEFORE. */
void check_file(const File *file, const File *before, const char *what);
/* What the mount counts when it has no files. */
void check_nothing_left(const char *what);

#endif
