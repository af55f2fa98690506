/*
 * The kernel's ksmd, through /sys/kernel/mm/ksm
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMTUNED_KSMD_H
#define KSMTUNED_KSMD_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct KsmtunedKsmd KsmtunedKsmd;

typedef enum KsmtunedKsmdSetting {
    KSMTUNED_KSMD_ADVISOR_MODE,
    KSMTUNED_KSMD_SMART_SCAN,
    KSMTUNED_KSMD_USE_ZERO_PAGES,
    KSMTUNED_KSMD_PAGES_TO_SCAN,
    KSMTUNED_KSMD_SLEEP_MILLISECS,
    KSMTUNED_KSMD_NICE,         /* of its process; only on a real host */
    KSMTUNED_KSMD_RUN,
    KSMTUNED_KSMD_SETTINGS
} KsmtunedKsmdSetting;

/* What they are to be; NULL: as it is. */
typedef struct KsmtunedKsmdPlan {
    const char *values[KSMTUNED_KSMD_SETTINGS];
} KsmtunedKsmdPlan;

typedef struct KsmtunedKsmdReadings {
    bool runs;                  /* "run" is 1 */
    bool progress_known;
    uint64_t progress;          /* changes while ksmd works; any unit */
    uint64_t full_scans;
    uint64_t merged_pages;      /* pages_sharing + ksm_zero_pages */
    uint64_t cpu_ns;            /* where unknown: the time of day it ran */
} KsmtunedKsmdReadings;

/*
 * @sysfs_root has the files of /sys/kernel/mm/ksm, @proc_root those of /proc.
 * While settings are changed, @state_path holds the original ones.
 */
KsmtunedKsmd *ksmtuned_ksmd_new(const char *sysfs_root, const char *proc_root,
                                const char *state_path);
/* Doesn't restore. */
void ksmtuned_ksmd_free(KsmtunedKsmd *ksmd);

/* KSM is there and can be set; else logs what is missing and returns false. */
bool ksmtuned_ksmd_probe(KsmtunedKsmd *ksmd);

void ksmtuned_ksmd_read(KsmtunedKsmd *ksmd, KsmtunedKsmdReadings *readings);
/* "run" is 1 now. */
bool ksmtuned_ksmd_runs(const KsmtunedKsmd *ksmd);

/*
 * Save what is found of the settings in @plan, and set them.  Returns false,
 * with the reason in @error and everything restored, if it can't.
 */
bool ksmtuned_ksmd_apply(KsmtunedKsmd *ksmd, const KsmtunedKsmdPlan *plan,
                         GError **error);

/*
 * Put back what was found before the first plan, or before that of a killed
 * ksmtuned.  What was changed by someone else since stays.  Stopping takes up
 * to a batch of pages, some 10 ms.  On failure the state file remains.
 */
bool ksmtuned_ksmd_restore(KsmtunedKsmd *ksmd, GError **error);
/* There is something to restore. */
bool ksmtuned_ksmd_is_changed(const KsmtunedKsmd *ksmd);

#endif
