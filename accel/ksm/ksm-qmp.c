/*
 * The ksm object on the monitor: query-ksm and its kin
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/clone-visitor.h"
#include "qapi/qapi-commands-ksm.h"
#include "qapi/qapi-visit-sockets.h"
#include "qobject/qdict.h"
#include "qemu/lockable.h"
#include "exec/memory.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "system/stats.h"
#include "advice.h"
#include "hints.h"
#include "ksm.h"
#include "limits.h"
#include "pause.h"
#include "ram.h"
#include "report.h"

static KsmProperties *query_parameters(const KsmObject *ksm)
{
    const KsmParameters *p = &ksm->engine.parameters;
    KsmProperties *out = g_new0(KsmProperties, 1);

    out->iothread = g_strdup(ksm->iothread_id);
    out->has_backend = true;
    out->backend = p->backend;
    out->rendezvous = QAPI_CLONE(SocketAddress,
                                 ksm->engine.twins.rendezvous.address);
    out->has_run = true;
    out->run = p->run;
    out->has_max_cpu_percent = true;
    out->max_cpu_percent = p->max_cpu_percent;
    out->has_sleep_millisecs = true;
    out->sleep_millisecs = p->sleep_millisecs;
    out->has_pages_to_scan = true;
    out->pages_to_scan = p->pages_to_scan;
    out->has_stable_passes = true;
    out->stable_passes = p->stable_passes;
    out->has_huge_split_threshold = true;
    out->huge_split_threshold = p->huge_split_threshold;
    out->has_hints = true;
    out->hints = p->hints;
    out->has_guest_hints = true;
    out->guest_hints = p->guest_hints;
    return out;
}

static KsmRAMBlockInfo *query_block(const KsmBlock *block)
{
    KsmRAMBlockInfo *info = g_new0(KsmRAMBlockInfo, 1);
    KsmIneligible reason = block->reason;
    bool eligible = block->eligible;

    if (eligible && ram_block_discard_is_disabled()) {
        reason = KSM_INELIGIBLE_PINNED;
        eligible = false;
    } else if (eligible && ksm_pause_is_receiving()) {
        reason = KSM_INELIGIBLE_RECEIVING;
        eligible = false;
    }
    info->name = ksm_block_name(block);
    info->size = block->size;
    if (eligible) {
        info->has_backend = true;
        info->backend = block->backend->type;
        info->figures = g_new0(KsmFigures, 1);
        ksm_block_add_figures(block, info->figures);
        if (block->backend->query) {
            block->backend->query(block, info);
        }
    } else {
        info->has_ineligible = true;
        info->ineligible = reason;
        info->message = ksm_block_ineligible_message(block, reason);
    }
    return info;
}

static KsmInfo *query(KsmObject *ksm)
{
    KsmEngine *e = &ksm->engine;
    KsmInfo *info = g_new0(KsmInfo, 1);
    KsmRAMBlockInfoList **tail = &info->ramblocks;
    KsmRAMBlockInfo *block_info;
    KsmBlock *block;
    int64_t value;

    if (ksm_report_process_stat("ksm_merging_pages", &value)) {
        info->has_pages_sharing = true;
        info->pages_sharing = value;
    }
    if (ksm_report_process_stat("ksm_process_profit", &value)) {
        info->has_bytes_saved = true;
        info->bytes_saved = value;
    }

    QEMU_LOCK_GUARD(&e->lock);
    info->id = g_strdup(e->id);
    info->state = ksm_report_state(e);
    info->limits = ksm_limits(e);
    info->parameters = query_parameters(ksm);
    info->full_scans = e->full_scans;
    info->cow_breaks = e->cow_breaks;
    info->cpu_ns = e->cpu_ns;
    info->cpu_permille = ksm_state_permille(e);
    info->last_pass_ns = e->last_pass_ns;
    info->metadata_bytes = ksm_report_metadata(e);
    info->figures = g_new(KsmFigures, 1);
    *info->figures = ksm_ram_figures(e);
    info->hints = g_new(KsmHintFigures, 1);
    *info->hints = ksm_hints_figures(e);
    info->advice = g_new(KsmAdviceFigures, 1);
    *info->advice = ksm_advice_figures(e);
    QTAILQ_FOREACH(block, &e->blocks, next) {
        block_info = query_block(block);
        QAPI_LIST_APPEND(tail, block_info);
        if (block_info->has_pages_sharing) {
            info->has_pages_sharing = true;
            info->pages_sharing += block_info->pages_sharing;
            info->has_bytes_saved = false;
        }
    }
    return info;
}

static KsmObject *get_object(Error **errp)
{
    KsmObject *ksm = ksm_object_get();

    if (!ksm) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND,
                  "ksm: there is no ksm object: add one with object-add");
    }
    return ksm;
}

KsmInfo *qmp_query_ksm(Error **errp)
{
    KsmObject *ksm = get_object(errp);

    return ksm ? query(ksm) : NULL;
}

void qmp_ksm_scan(Error **errp)
{
    KsmObject *ksm = get_object(errp);
    bool run, runs;

    if (!ksm) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&ksm->engine.lock) {
        run = ksm->engine.parameters.run;
        runs = ksm_state_runs(&ksm->engine);
    }
    if (!run) {
        error_setg(errp, "ksm: '%s' is stopped: set its run to true first",
                   ksm->engine.id);
        return;
    }
    if (!runs) {
        error_setg(errp, "ksm: ksmtuned has '%s' merge nothing for now: see"
                   " limit 'released' of query-ksm", ksm->engine.id);
        return;
    }
    ksm_engine_scan(&ksm->engine);
}

void qmp_ksm_unmerge(Error **errp)
{
    KsmObject *ksm = get_object(errp);

    if (ksm) {
        ksm_engine_unmerge(&ksm->engine);
    }
}

void hmp_info_ksm(Monitor *mon, const QDict *qdict)
{
    Error *err = NULL;
    g_autoptr(KsmInfo) info = qmp_query_ksm(&err);
    const KsmFigures *f;

    if (!info) {
        hmp_handle_error(mon, err);
        return;
    }
    f = info->figures;
    monitor_printf(mon, "%s: %s, %" PRIu64 " full scans, CPU %.3f s\n",
                   info->id, KsmState_str(info->state), info->full_scans,
                   info->cpu_ns / 1e9);
    monitor_printf(mon, "pages: tracked %" PRIu64 " hashed %" PRIu64
                   " submitted %" PRIu64 " twins %" PRIu64 " zero %" PRIu64
                   " unshared %" PRIu64 " volatile %" PRIu64 " marked %"
                   PRIu64 "\n",
                   f->pages_tracked, f->pages_hashed, f->pages_submitted,
                   f->pages_twins, f->pages_zero, f->pages_unshared,
                   f->pages_volatile, f->pages_marked);
    monitor_printf(mon, "hints: taken %" PRIu64 " dropped %" PRIu64
                   " pages hashed %" PRIu64 " freed %" PRIu64 "\n",
                   info->hints->taken, info->hints->dropped,
                   info->hints->pages_hashed, info->hints->pages_freed);
    monitor_printf(mon, "guest advice: ranges %" PRIu64 "%s pages never merged"
                   " %" PRIu64 " volatile %" PRIu64 "\n",
                   info->advice->ranges,
                   info->advice->done ? "" : " (being carried out)",
                   info->advice->pages_never, info->advice->pages_volatile);
    if (info->has_pages_sharing) {
        monitor_printf(mon, "pages sharing: %" PRIu64 "\n",
                       info->pages_sharing);
    }
    if (info->has_bytes_saved) {
        monitor_printf(mon, "bytes saved: %" PRId64 "\n", info->bytes_saved);
    }
    for (KsmLimitInfoList *l = info->limits; l; l = l->next) {
        monitor_printf(mon, "limited by %s: %s\n",
                       KsmLimit_str(l->value->limit), l->value->message);
    }
    for (KsmRAMBlockInfoList *l = info->ramblocks; l; l = l->next) {
        const KsmRAMBlockInfo *b = l->value;

        monitor_printf(mon, "  %s: %" PRIu64 " KiB, %s\n", b->name,
                       b->size / 1024,
                       b->has_backend ? KsmBackendType_str(b->backend)
                                      : b->message);
    }
}

/*
 * query-stats: the figures that move.
 */
typedef struct KsmStat {
    const char *name;
    StatsType type;
    size_t offset;          /* in KsmFigures */
} KsmStat;

static const KsmStat stats[] = {
#define STAT(name, member, type) \
    { name, STATS_TYPE_##type, offsetof(KsmFigures, member) }
    STAT("pages-tracked", pages_tracked, INSTANT),
    STAT("pages-scanned", pages_scanned, CUMULATIVE),
    STAT("pages-hashed", pages_hashed, CUMULATIVE),
    STAT("pages-submitted", pages_submitted, CUMULATIVE),
    STAT("pages-twins", pages_twins, INSTANT),
    STAT("pages-zero", pages_zero, INSTANT),
    STAT("pages-zero-shared", pages_zero_shared, INSTANT),
    STAT("pages-unshared", pages_unshared, INSTANT),
    STAT("pages-volatile", pages_volatile, INSTANT),
    STAT("pages-marked", pages_marked, INSTANT),
    STAT("poisoned", poisoned, CUMULATIVE),
#undef STAT
};

static void ksm_stats(StatsResultList **result, StatsTarget target,
                      strList *names, strList *targets, Error **errp)
{
    StatsList *list = NULL;
    g_autoptr(KsmInfo) info = NULL;

    if (target != STATS_TARGET_VM || !ksm_object_get()) {
        return;
    }
    info = query(ksm_object_get());
    for (int i = 0; i < ARRAY_SIZE(stats); i++) {
        Stats *s;

        if (!apply_str_list_filter(stats[i].name, names)) {
            continue;
        }
        s = g_new0(Stats, 1);
        s->name = g_strdup(stats[i].name);
        s->value = g_new0(StatsValue, 1);
        s->value->type = QTYPE_QNUM;
        s->value->u.scalar = *(uint64_t *)((char *)info->figures +
                                           stats[i].offset);
        QAPI_LIST_PREPEND(list, s);
    }
    if (list) {
        add_stats_entry(result, STATS_PROVIDER_KSM, NULL, list);
    }
}

static void ksm_stats_schemas(StatsSchemaList **result, Error **errp)
{
    StatsSchemaValueList *list = NULL;

    for (int i = 0; i < ARRAY_SIZE(stats); i++) {
        StatsSchemaValue *value = g_new0(StatsSchemaValue, 1);

        value->name = g_strdup(stats[i].name);
        value->type = stats[i].type;
        QAPI_LIST_PREPEND(list, value);
    }
    add_stats_schema(result, STATS_PROVIDER_KSM, STATS_TARGET_VM, list);
}

static void ksm_stats_register(void)
{
    add_stats_callbacks(STATS_PROVIDER_KSM, ksm_stats, ksm_stats_schemas);
}

type_init(ksm_stats_register)
