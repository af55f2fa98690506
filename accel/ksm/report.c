/*
 * What ksmtuned is told of the engine, for administrators
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * It is told five seconds after the last time if anything happened, else after
 * thirty.  There is one ksmtuned for hundreds of engines.  Also in the midst of
 * a pass, as it shares out CPU time by what is used.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "backend.h"
#include "limits.h"
#include "pause.h"
#include "ram.h"
#include "report.h"

#define REPORT_INTERVAL_NS      (5 * NANOSECONDS_PER_SECOND)
#define REPORT_IDLE_NS          (30 * NANOSECONDS_PER_SECOND)

/* The frame has KsmState's numbers. */
QEMU_BUILD_BUG_ON((int)KSM_STATE_RUNNING != KSM_REPORT_RUNNING);
QEMU_BUILD_BUG_ON((int)KSM_STATE_IDLE != KSM_REPORT_IDLE);
QEMU_BUILD_BUG_ON((int)KSM_STATE_STOPPED != KSM_REPORT_STOPPED);
QEMU_BUILD_BUG_ON((int)KSM_STATE_YIELDED != KSM_REPORT_YIELDED);

KsmState ksm_report_state(const KsmEngine *e)
{
    if (!ksm_state_runs(e)) {
        return KSM_STATE_STOPPED;
    }
    if (ksm_pause_is_due(e)) {
        return KSM_STATE_YIELDED;
    }
    return e->backoff && !e->in_pass ? KSM_STATE_IDLE :
                                                      KSM_STATE_RUNNING;
}

uint64_t ksm_report_metadata(const KsmEngine *e)
{
    uint64_t bytes = sizeof(*e);
    KsmBlock *block;

    if (e->twins.own) {
        bytes += ksm_index_bytes(e->twins.own);
    }
    QTAILQ_FOREACH(block, &e->leaving, next) {
        bytes += ksm_block_metadata(block);
    }
    QTAILQ_FOREACH(block, &e->blocks, next) {
        bytes += ksm_block_metadata(block);
    }
    return bytes;
}

static uint32_t backend_bit(KsmBackendType type)
{
    switch (type) {
    case KSM_BACKEND_TYPE_KSMD:
        return KSM_REPORT_KSMD;
    case KSM_BACKEND_TYPE_KSMFS:
        return KSM_REPORT_KSMFS;
    default:
        return KSM_REPORT_NULL;
    }
}

bool ksm_report_process_stat(const char *name, int64_t *value)
{
    g_autofree char *key = g_strconcat(name, " ", NULL);
    g_autofree char *text = NULL;
    const char *line;

    g_file_get_contents("/proc/self/ksm_stat", &text, NULL, NULL);
    line = text ? strstr(text, key) : NULL;
    return line && (line == text || line[-1] == '\n') &&
           qemu_strtoi64(line + strlen(key), &line, 10, value) == 0;
}

uint64_t ksm_report_ksmfs_sharing(const KsmEngine *e)
{
    uint64_t pages = KSM_REPORT_UNKNOWN;
    KsmBlock *block;

    QTAILQ_FOREACH(block, &e->blocks, next) {
        KsmRAMBlockInfo info = { 0 };

        if (!block->eligible || !block->backend->query) {
            continue;
        }
        block->backend->query(block, &info);
        if (info.has_pages_sharing) {
            pages = info.pages_sharing +
                    (pages == KSM_REPORT_UNKNOWN ? 0 : pages);
        }
        qapi_free_KsmMergeResults(info.merge_results);
    }
    return pages;
}

static void add_blocks(KsmFrameReport *report, const KsmEngine *e)
{
    KsmBlock *block;

    report->ksmfs_sharing_pages = ksm_report_ksmfs_sharing(e);
    QTAILQ_FOREACH(block, &e->blocks, next) {
        if (block->eligible) {
            report->ram_bytes += block->size;
            report->backends |= backend_bit(block->backend->type);
        }
    }
}

static void add_limit(KsmFrameReport *report, const KsmEngine *e)
{
    KsmLimitInfoList *limits = ksm_limits(e);

    if (limits) {
        pstrcpy(report->limit, sizeof(report->limit), limits->value->message);
        qapi_free_KsmLimitInfoList(limits);
    }
}

/* But for what grows with each pass. */
static bool is_news(KsmFrameReport report, const KsmEngine *e)
{
    report.full_scans = e->reported.full_scans;
    report.cpu_ns = e->reported.cpu_ns;
    return memcmp(&report, &e->reported, sizeof(report));
}

void ksm_report(KsmEngine *e, int64_t now_ns)
{
    KsmRendezvous *r = &e->twins.rendezvous;
    int64_t since_ns = now_ns - e->reported_ns;
    KsmFrameReport report;
    KsmFigures sum;

    if (!ksm_rendezvous_wants_reports(r) || now_ns < e->report_due_ns) {
        return;
    }
    /* Also if there is nothing to say: figures are not summed up each pass. */
    e->report_due_ns = now_ns + REPORT_INTERVAL_NS;
    sum = ksm_ram_figures(e);
    report = (KsmFrameReport) {
        .full_scans = e->full_scans,
        .pages_hashed = sum.pages_hashed,
        .pages_twins = sum.pages_twins,
        .pages_zero = sum.pages_zero,
        .pages_marked = sum.pages_marked,
        .cow_breaks = e->cow_breaks,
        .cpu_ns = e->cpu_ns,
        .metadata_bytes = ksm_report_metadata(e),
        .state = ksm_report_state(e),
    };
    add_blocks(&report, e);
    add_limit(&report, e);
    if (!e->reported_ns || since_ns >= REPORT_IDLE_NS || is_news(report, e)) {
        ksm_rendezvous_report(r, &report);
        e->reported = report;
        e->reported_ns = now_ns;
    }
}
