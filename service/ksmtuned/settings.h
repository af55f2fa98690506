/*
 * What ksmtuned.conf(5) sets
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMTUNED_SETTINGS_H
#define KSMTUNED_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "policy-classic.h"

typedef enum KsmtunedPolicyChoice {
    KSMTUNED_POLICY_AUTO,       /* demand while engines are connected */
    KSMTUNED_POLICY_DEMAND,
    KSMTUNED_POLICY_CLASSIC,
    KSMTUNED_POLICY_PRESSURE,
} KsmtunedPolicyChoice;

typedef struct KsmtunedSettings {
    KsmtunedPolicyChoice policy;
    KsmtunedClassicSettings classic;
    int64_t monitor_interval_s;
    int64_t max_kernel_pages;   /* that may be shared; 0: no limit */
    int64_t release_after_s;    /* of plentiful memory; 0: never */
    int64_t engines_cpu;        /* percent of a CPU for all; -1: by default */
    char *logfile;              /* where debug lines go, too; or NULL */
    bool debug;
} KsmtunedSettings;

/*
 * The defaults, over them what the environment sets, and over that the file
 * @path.  What is wrong there is logged, by line, and changes nothing; nor does
 * an empty value.  No file is no fault.
 */
void ksmtuned_settings_read(KsmtunedSettings *settings, const char *path);
void ksmtuned_settings_clear(KsmtunedSettings *settings);

#endif
