/*
 * What the engines want of ksmd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Pages that an engine has marked mergeable wait until ksmd is woken, are then
 * served, and are done when ksmd has walked over them often enough.  Pages
 * that are marked meanwhile wait for the next time.
 */
#ifndef KSMTUNED_DEMAND_H
#define KSMTUNED_DEMAND_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* One engine's part; zero-initialised, and linked while it is in a demand. */
typedef struct KsmtunedDemander {
    uint64_t waiting_pages;
    uint64_t serving_pages;
    uint64_t marked_pages;      /* now, merged or not */
    int64_t oldest_ms;          /* arrival of the oldest waiting pages */
    bool demanded;              /* has ever marked a page */
} KsmtunedDemander;

typedef struct KsmtunedDemand {
    GQueue demanders;           /* of KsmtunedDemander, not owned */
    uint64_t waiting_pages;     /* of all of them */
    uint64_t departures;        /* demanders that demanded and left, ever */
    int64_t newest_ms;          /* arrival of the last that were not few */
} KsmtunedDemand;

typedef struct KsmtunedDemandSum {
    uint64_t waiting_pages;
    uint64_t serving_pages;
    uint64_t marked_pages;
    int64_t oldest_ms;          /* 0 when no pages wait */
    int64_t newest_ms;          /* may be of pages that wait no more */
} KsmtunedDemandSum;

void ksmtuned_demand_join(KsmtunedDemand *demand, KsmtunedDemander *demander);
void ksmtuned_demand_leave(KsmtunedDemand *demand, KsmtunedDemander *demander);

/* @demander has marked @marked more pages, and @total now, at @now_ms. */
void ksmtuned_demand_add(KsmtunedDemand *demand, KsmtunedDemander *demander,
                         uint64_t marked, uint64_t total, int64_t now_ms);

/* All pages that wait are now served; those that were served are done. */
void ksmtuned_demand_begin_service(KsmtunedDemand *demand);
void ksmtuned_demand_end_service(KsmtunedDemand *demand);

KsmtunedDemandSum ksmtuned_demand_sum(const KsmtunedDemand *demand);

#endif
