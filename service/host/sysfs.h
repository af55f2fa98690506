/*
 * KSM's values in /sys/kernel/mm/ksm
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_SYSFS_H
#define KSM_SYSFS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define KSM_SYSFS_ROOT  "/sys/kernel/mm/ksm"

/*
 * The value @name in the directory @root; NULL: it isn't there, or can't be
 * read.  Of a choice, "[none] scan-time", the word in brackets.
 */
char *ksm_sysfs_get(const char *root, const char *name);
/* False, and 0 in @number: it isn't there or no number.  May be negative. */
bool ksm_sysfs_get_number(const char *root, const char *name,
                          int64_t *number);

typedef struct KsmFigure {
    bool known;
    int64_t value;
} KsmFigure;

/* The same; what isn't there, or is no number, is not known. */
KsmFigure ksm_sysfs_figure(const char *root, const char *name);

/* @pages in bytes; more than can be is not known. */
KsmFigure ksm_pages_bytes(KsmFigure pages);
/* What these save, in bytes.  Older kernels don't count zero pages apart. */
KsmFigure ksm_saved_bytes(KsmFigure pages, KsmFigure zero_pages);
/* The same of KSM, whose files are in @root. */
KsmFigure ksm_sysfs_saved(const char *root);

/* @error has value, path and reason. */
bool ksm_sysfs_set(const char *root, const char *name, const char *value,
                   GError **error);

typedef enum KsmSysfsKind {
    KSM_SYSFS_SETTING,
    KSM_SYSFS_FIGURE,
} KsmSysfsKind;

/* What the kernel's documentation says of a value, in few words. */
typedef struct KsmSysfsValue {
    const char *name;
    KsmSysfsKind kind;
    const char *meaning;
} KsmSysfsValue;

/* All that Linux has had up to 7.3; ends with a name that is NULL. */
extern const KsmSysfsValue ksm_sysfs_values[];

#endif
