/*
 * What the engines want of ksmd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An engine's figures are clamped to what it has marked at all: only pages
 * that are marked can be merged, and sums can't wrap.
 */
#include "demand.h"

/* Pages are news if they are so much of those that wait. */
#define NEWS_PART   16

void ksmtuned_demand_join(KsmtunedDemand *demand, KsmtunedDemander *demander)
{
    g_queue_push_tail(&demand->demanders, demander);
}

static void demand_set_waiting(KsmtunedDemand *demand,
                               KsmtunedDemander *demander, uint64_t pages)
{
    demand->waiting_pages += pages - demander->waiting_pages;
    demander->waiting_pages = pages;
}

void ksmtuned_demand_leave(KsmtunedDemand *demand, KsmtunedDemander *demander)
{
    if (!g_queue_remove(&demand->demanders, demander)) {
        return;
    }
    demand_set_waiting(demand, demander, 0);
    if (demander->demanded) {
        demand->departures++;
    }
}

void ksmtuned_demand_add(KsmtunedDemand *demand, KsmtunedDemander *demander,
                         uint64_t marked, uint64_t total, int64_t now_ms)
{
    uint64_t unserved;

    if (demander->marked_pages && !total) {
        /* It gave all of its pages back: the kernel still counts them. */
        demand->departures++;
    }
    demander->marked_pages = total;
    demander->serving_pages = MIN(demander->serving_pages, total);
    unserved = total - demander->serving_pages;
    marked = MIN(marked, unserved);
    if (marked) {
        demander->demanded = true;
        if (!demander->waiting_pages) {
            demander->oldest_ms = now_ms;
        }
        /* A few more are no reason to let many wait. */
        if (marked >= demand->waiting_pages / NEWS_PART) {
            demand->newest_ms = now_ms;
        }
    }
    demand_set_waiting(demand, demander,
                       MIN(demander->waiting_pages + marked, unserved));
}

void ksmtuned_demand_begin_service(KsmtunedDemand *demand)
{
    GList *item;

    for (item = demand->demanders.head; item; item = item->next) {
        KsmtunedDemander *demander = item->data;

        demander->serving_pages += demander->waiting_pages;
        demand_set_waiting(demand, demander, 0);
    }
}

void ksmtuned_demand_end_service(KsmtunedDemand *demand)
{
    GList *item;

    for (item = demand->demanders.head; item; item = item->next) {
        KsmtunedDemander *demander = item->data;

        demander->serving_pages = 0;
    }
}

KsmtunedDemandSum ksmtuned_demand_sum(const KsmtunedDemand *demand)
{
    KsmtunedDemandSum sum = {
        .waiting_pages = demand->waiting_pages,
        .newest_ms = demand->newest_ms,
    };
    GList *item;

    for (item = demand->demanders.head; item; item = item->next) {
        const KsmtunedDemander *demander = item->data;

        sum.serving_pages += demander->serving_pages;
        sum.marked_pages += demander->marked_pages;
        if (demander->waiting_pages &&
            (!sum.oldest_ms || demander->oldest_ms < sum.oldest_ms)) {
            sum.oldest_ms = demander->oldest_ms;
        }
    }
    return sum;
}
