/*
 * What the engines are granted
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Shares are worked out anew, at most once a second, when an engine came, went
 * or has reported, and sent to those to whom it makes a difference.
 */
#include "budgets.h"
#include "policy-budget.h"

#define BUDGETS_INTERVAL_MS     1000
/* A change by less than a part of so many is none. */
#define BUDGETS_PARTS           8

struct KsmtunedBudgets {
    uint32_t total_permille;
    KsmtunedBudgetSend *send;
    GPtrArray *grantees;        /* of KsmtunedGrantee, not owned */
    bool release;
    guint timer;
};

KsmtunedBudgets *ksmtuned_budgets_new(uint32_t total_permille,
                                      KsmtunedBudgetSend *send)
{
    KsmtunedBudgets *budgets = g_new0(KsmtunedBudgets, 1);

    budgets->total_permille = total_permille;
    budgets->send = send;
    budgets->grantees = g_ptr_array_new();
    return budgets;
}

void ksmtuned_budgets_free(KsmtunedBudgets *budgets)
{
    if (!budgets) {
        return;
    }
    if (budgets->timer) {
        g_source_remove(budgets->timer);
    }
    g_ptr_array_unref(budgets->grantees);
    g_free(budgets);
}

static void budgets_send(KsmtunedBudgets *budgets, KsmtunedGrantee *grantee,
                         uint32_t cpu_permille)
{
    const KsmFrameBudget budget = {
        .cpu_permille = cpu_permille,
        .flags = budgets->release ? KSM_BUDGET_RELEASE : 0,
    };

    grantee->sent = budget;
    budgets->send(grantee->client, &budget);
}

static bool budgets_is_news(const KsmtunedBudgets *budgets,
                            const KsmtunedGrantee *grantee,
                            uint32_t cpu_permille)
{
    bool released = grantee->sent.flags & KSM_BUDGET_RELEASE;
    /* What an engine takes to be there until it is told something. */
    uint32_t before = grantee->sent.cpu_permille ?
                      grantee->sent.cpu_permille : KSM_BUDGET_CPU_MAX;
    uint32_t change = MAX(before, cpu_permille) - MIN(before, cpu_permille);

    return change * BUDGETS_PARTS > before || released != budgets->release;
}

static void budgets_share(KsmtunedBudgets *budgets)
{
    guint n = budgets->grantees->len;
    g_autofree KsmtunedShare *shares = g_new0(KsmtunedShare, n);
    guint i;

    for (i = 0; i < n; i++) {
        const KsmtunedGrantee *grantee = budgets->grantees->pdata[i];

        shares[i] = (KsmtunedShare) {
            .weight = grantee->weight,
            .used_permille = grantee->used_permille,
            .granted_permille = grantee->sent.cpu_permille,
        };
    }
    ksmtuned_policy_budget(shares, n, budgets->total_permille);
    for (i = 0; i < n; i++) {
        KsmtunedGrantee *grantee = budgets->grantees->pdata[i];

        if (grantee->takes &&
            budgets_is_news(budgets, grantee, shares[i].granted_permille)) {
            budgets_send(budgets, grantee, shares[i].granted_permille);
        }
    }
}

static gboolean budgets_timeout(gpointer opaque)
{
    KsmtunedBudgets *budgets = opaque;

    budgets->timer = 0;
    budgets_share(budgets);
    return G_SOURCE_REMOVE;
}

void ksmtuned_budgets_touch(KsmtunedBudgets *budgets)
{
    if (!budgets->timer) {
        budgets->timer = g_timeout_add(BUDGETS_INTERVAL_MS, budgets_timeout,
                                       budgets);
    }
}

void ksmtuned_budgets_join(KsmtunedBudgets *budgets, KsmtunedGrantee *grantee)
{
    g_ptr_array_add(budgets->grantees, grantee);
    ksmtuned_budgets_touch(budgets);
}

void ksmtuned_budgets_leave(KsmtunedBudgets *budgets, KsmtunedGrantee *grantee)
{
    g_ptr_array_remove_fast(budgets->grantees, grantee);
    ksmtuned_budgets_touch(budgets);
}

void ksmtuned_budgets_report(KsmtunedBudgets *budgets,
                             KsmtunedGrantee *grantee, uint64_t cpu_ns,
                             int64_t now_ms)
{
    int64_t ms = now_ms - grantee->reported_ms;

    /* It is another process, which may say anything. */
    if (grantee->reported_ms && ms > 0 && cpu_ns > grantee->reported_cpu_ns) {
        grantee->used_permille =
            MIN((cpu_ns - grantee->reported_cpu_ns) / 1000 / ms,
                KSM_BUDGET_CPU_MAX);
    } else {
        grantee->used_permille = 0;
    }
    grantee->reported_cpu_ns = cpu_ns;
    grantee->reported_ms = now_ms;
    ksmtuned_budgets_touch(budgets);
}

void ksmtuned_budgets_release(KsmtunedBudgets *budgets, bool release)
{
    if (release != budgets->release) {
        budgets->release = release;
        budgets_share(budgets);
    }
}
