/*
 * How much CPU time each engine may use
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Engines that are busy share what all together may use, by weight.  One that
 * isn't gets what it would get if it were: it can begin at once, and the others
 * make room when it has.
 *
 * A pure function, as the others.
 */
#ifndef KSMTUNED_POLICY_BUDGET_H
#define KSMTUNED_POLICY_BUDGET_H

#include <stddef.h>
#include <stdint.h>

/* Of a CPU: who uses so much, or half of what it is granted, is busy. */
#define KSMTUNED_BUDGET_BUSY_PERMILLE   10

typedef struct KsmtunedShare {
    double weight;              /* more than 0 */
    uint32_t used_permille;     /* of a CPU, of late */
    uint32_t granted_permille;  /* until now, 0: nothing yet; and then */
} KsmtunedShare;

/*
 * Sets ->granted_permille of all @n, from @total_permille for all together, of
 * which 0 is no limit.
 */
void ksmtuned_policy_budget(KsmtunedShare *shares, size_t n,
                            uint32_t total_permille);

#endif
