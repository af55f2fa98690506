/*
 * Operations on ksmfs, in groups
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each is done on its own, on files that were just made, and knows what they
 * have to hold after it.
 */
#ifndef KSMFS_OPERATIONS_H
#define KSMFS_OPERATIONS_H

#include "ksmfs-bed.h"

typedef struct {
    const char *name;
    /* 0, or -errno; -EFAULT for SIGBUS. */
    int (*run)(void);
    /* Changes what a has to hold to what it is after it. */
    void (*expect)(void);
    /* An error besides ENOMEM. */
    int error;
    /* When it fails, a page may hold what it is to hold after it. */
    bool partial;
} Operation;

typedef struct {
    const char *name;
    const Operation *operations;
    int n;
    /* Before and after each operation. */
    void (*begin)(void);
    void (*end)(void);
    /* Of a mount that all of them have in common. */
    bool has_files;
} Group;

/* NULL if there is none. */
const Group *find_group(const char *name);
/* Without it, an operation that is to return -EFAULT does not return. */
void catch_sigbus(void);

#endif
