/*
 * How hard ksmd is to work
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMTUNED_PACE_H
#define KSMTUNED_PACE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct KsmtunedPace {
    bool run;                   /* else the next two have no meaning */
    int64_t pages_to_scan;
    int64_t sleep_millisecs;
    const char *why;            /* for the log; static */
} KsmtunedPace;

#endif
