/*
 * What keeps the engine from doing all of its job
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/util.h"
#include "backend.h"
#include "limits.h"

static void add_limit(KsmLimitInfoList ***tail, KsmLimit limit,
                      const char *message)
{
    KsmLimitInfo *info = g_new0(KsmLimitInfo, 1);

    info->limit = limit;
    info->message = g_strdup(message);
    QAPI_LIST_APPEND(*tail, info);
}

/* Is there memory that ksmfs does not serve? */
static bool uses_ksm(const KsmEngine *e)
{
    KsmBlock *block;

    QTAILQ_FOREACH(block, &e->blocks, next) {
        if (block->eligible && !ksm_backend_tracks(block)) {
            return true;
        }
    }
    return false;
}

KsmLimitInfoList *ksm_limits(const KsmEngine *e)
{
    KsmLimitInfoList *limits = NULL, **tail = &limits;
    bool ksm = uses_ksm(e);

    if (ksm && e->tracker_message && !e->yields) {
        add_limit(&tail, KSM_LIMIT_NO_PAGEMAP_SCAN, e->tracker_message);
    }
    if (ksm && e->backend_message) {
        add_limit(&tail, KSM_LIMIT_NO_KSM, e->backend_message);
    }
    if (ksm && e->twins.own) {
        add_limit(&tail, KSM_LIMIT_NO_RENDEZVOUS, e->twins.rendezvous.message);
    }
    if (e->marks.limited) {
        g_autofree char *message = g_strdup_printf(
            "ksm: marks and tracking need %" PRIu64 " of %" PRIu64 " mappings:"
            " raise vm.max_map_count and add the object anew",
            e->marks.vmas, e->marks.vma_budget);

        add_limit(&tail, KSM_LIMIT_VMAS, message);
    }
    if (e->refused_pass) {
        g_autofree char *message = g_strdup_printf(
            "ksm: the kernel refused to mark, track or merge memory, %" PRIu64
            " times in the last pass: %s: -trace 'ksm_*' tells where",
            e->refused_pass, strerror(e->refused));

        add_limit(&tail, KSM_LIMIT_REFUSED, message);
    }
    if (e->granted.flags & KSM_BUDGET_RELEASE) {
        add_limit(&tail, KSM_LIMIT_RELEASED, "ksm: ksmtuned has merged pages"
                  " given back, as memory is plentiful: choose another"
                  " KSM_POLICY in ksmtuned.conf if they are to stay");
    }
    if (e->memory_low) {
        add_limit(&tail, KSM_LIMIT_MEMORY, "ksm: too little host memory is"
                  " free to give pages back: free some");
    }
    return limits;
}
