/*
 * What the engines are granted
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMTUNED_BUDGETS_H
#define KSMTUNED_BUDGETS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "ksm-wire.h"

/* One engine's part; zero-initialised, and linked while it is in budgets. */
typedef struct KsmtunedGrantee {
    double weight;              /* set before it joins */
    void *client;
    bool takes;                 /* its QEMU knows of budgets */
    KsmFrameBudget sent;        /* cpu_permille 0: nothing yet */
    uint32_t used_permille;     /* of a CPU, between its last two reports */
    uint64_t reported_cpu_ns;
    int64_t reported_ms;        /* 0: never */
} KsmtunedGrantee;

typedef struct KsmtunedBudgets KsmtunedBudgets;

typedef void KsmtunedBudgetSend(void *client, const KsmFrameBudget *budget);

/* @total_permille of a CPU for all engines; 0: no limit. */
KsmtunedBudgets *ksmtuned_budgets_new(uint32_t total_permille,
                                      KsmtunedBudgetSend *send);
/* All must have left; takes NULL. */
void ksmtuned_budgets_free(KsmtunedBudgets *budgets);

void ksmtuned_budgets_join(KsmtunedBudgets *budgets, KsmtunedGrantee *grantee);
void ksmtuned_budgets_leave(KsmtunedBudgets *budgets,
                            KsmtunedGrantee *grantee);
/* @grantee says that it has used @cpu_ns in all, at @now_ms. */
void ksmtuned_budgets_report(KsmtunedBudgets *budgets,
                             KsmtunedGrantee *grantee, uint64_t cpu_ns,
                             int64_t now_ms);

/* Weights have changed. */
void ksmtuned_budgets_touch(KsmtunedBudgets *budgets);

/* Have all engines give back what is merged, or merge again. */
void ksmtuned_budgets_release(KsmtunedBudgets *budgets, bool release);

#endif
