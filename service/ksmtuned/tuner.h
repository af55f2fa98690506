/*
 * Runs ksmd as the policy decides
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMTUNED_TUNER_H
#define KSMTUNED_TUNER_H

#include <stdbool.h>
#include <stdint.h>

#include "budgets.h"
#include "demand.h"
#include "host/host.h"
#include "ksmd.h"
#include "settings.h"
#include "stats.h"

typedef struct KsmtunedTuner KsmtunedTuner;

typedef struct KsmtunedTunerHost {
    KsmtunedKsmd *ksmd;
    bool usable;                /* ksmd may be set */
    KsmtunedBudgets *budgets;
    const KsmHost *roots;
} KsmtunedTunerHost;

/* What @host and @settings point to must outlive the tuner. */
KsmtunedTuner *ksmtuned_tuner_new(const KsmtunedTunerHost *host,
                                  const KsmtunedSettings *settings);
/* Leave ksmd alone from now on.  False: it is not as it was found. */
bool ksmtuned_tuner_stop(KsmtunedTuner *tuner);
/* Stops it, too. */
void ksmtuned_tuner_free(KsmtunedTuner *tuner);

/* Guests have come or gone: decide now. */
void ksmtuned_tuner_retune(KsmtunedTuner *tuner);

/* Told when figures change; @stats may be NULL. */
void ksmtuned_tuner_set_stats(KsmtunedTuner *tuner, KsmtunedStats *stats);

void ksmtuned_tuner_join(KsmtunedTuner *tuner, KsmtunedDemander *demander);
void ksmtuned_tuner_leave(KsmtunedTuner *tuner, KsmtunedDemander *demander);
void ksmtuned_tuner_demand(KsmtunedTuner *tuner, KsmtunedDemander *demander,
                           uint64_t marked, uint64_t total);

/* Pages marked and not yet walked over often enough. */
uint64_t ksmtuned_tuner_waiting_pages(const KsmtunedTuner *tuner);
/* That in force, as ksmtuned.conf(5) calls it; and how often one was asked. */
const char *ksmtuned_tuner_policy(const KsmtunedTuner *tuner);
uint64_t ksmtuned_tuner_decisions(const KsmtunedTuner *tuner);
/* How often ksmd was woken. */
uint64_t ksmtuned_tuner_wakeups(const KsmtunedTuner *tuner);

#endif
