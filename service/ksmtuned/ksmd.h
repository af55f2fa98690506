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
 * Save the settings found and let ksmd run hard.  Returns false, with the
 * reason in @error and everything restored, if it can't.
 */
bool ksmtuned_ksmd_boost(KsmtunedKsmd *ksmd, GError **error);

/*
 * Put back what was found before the boost, or before that of a killed
 * ksmtuned.  What was changed by someone else since stays.  Stopping takes up
 * to a batch of pages, some 10 ms.  On failure the state file remains.
 */
bool ksmtuned_ksmd_restore(KsmtunedKsmd *ksmd, GError **error);
/* There is something to restore. */
bool ksmtuned_ksmd_is_changed(const KsmtunedKsmd *ksmd);

#endif
