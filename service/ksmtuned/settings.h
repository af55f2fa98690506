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
