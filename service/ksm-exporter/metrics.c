/*
 * The metrics of a host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One table has them all.  Names are for ever: dashboards and alerts use them.
 * They are those of the kernel and of ksmtuned where a figure has one, in base
 * units.  Pages stay pages where it is their number that matters.
 */
#include <inttypes.h>
#include <string.h>

#include "config.h"
#include "host/memory.h"
#include "metrics.h"

/* What a source counts in. */
typedef enum MetricIn {
    IN_ONES,
    IN_PAGES,                   /* for bytes */
    IN_KIB,
    IN_PERCENT,
    IN_MS,
    IN_US,
    IN_NS,
} MetricIn;

typedef enum MetricOf {
    OF_SYSFS,
    OF_SOURCES,
    OF_DAEMON,
    OF_GUEST,
    OF_ENGINE,
    OF_MOUNT,
    OF_WORDS,
} MetricOf;

typedef struct Metric {
    ExporterFamily family;
    MetricOf of;
    MetricIn in;
    /* Where its value comes from, by what it is of. */
    union {
        const char *sysfs;
        KsmFigure (*sources)(const ExporterSources *sources);
        KsmDaemonFigure daemon;
        KsmFigure (*guest)(const KsmGuest *guest);
        KsmEngineFigure engine;
        size_t mount;           /* offset of a KsmFigure in KsmMount */
        void (*words)(ExporterExposition *exposition,
                      const ExporterSources *sources);
    };
} Metric;

static KsmFigure figure(int64_t value)
{
    return (KsmFigure) { true, value };
}

static KsmFigure page_size(const ExporterSources *sources)
{
    return figure(ksm_page_size());
}

static KsmFigure saved(const ExporterSources *sources)
{
    return sources->snapshot->saved_bytes;
}

static KsmFigure profit(const ExporterSources *sources)
{
    return sources->snapshot->profit_bytes;
}

static KsmFigure ksmd_cpu(const ExporterSources *sources)
{
    return sources->snapshot->ksmd_cpu_ns;
}

static KsmFigure guests(const ExporterSources *sources)
{
    return figure(sources->snapshot->guests->len);
}

static KsmFigure ksmtuned_up(const ExporterSources *sources)
{
    return figure(!sources->snapshot->engines->fault);
}

static KsmFigure collect(const ExporterSources *sources)
{
    return figure(sources->collect_us);
}

static KsmFigure guest_merging(const KsmGuest *guest)
{
    const KsmProcessMerging *merging = &guest->process->merging;

    return (KsmFigure) { merging->known, merging->merging_pages };
}

static KsmFigure guest_zero(const KsmGuest *guest)
{
    const KsmProcessMerging *merging = &guest->process->merging;

    return (KsmFigure) { merging->zero_known, merging->zero_pages };
}

/* A guest without an engine lacks none. */
static KsmFigure engine_up(const KsmGuest *guest)
{
    return (KsmFigure) { guest->engine || guest->process->has_engine,
                         guest->engine != NULL };
}

static KsmFigure engine_limited(const KsmGuest *guest)
{
    return (KsmFigure) { guest->engine != NULL,
                         ksm_guest_limit(guest) != NULL };
}

static void write_build(ExporterExposition *exposition,
                        const ExporterSources *sources)
{
    const ExporterLabel labels[] = {
        { "version", KSM_SERVICES_VERSION }, { NULL }
    };

    exporter_exposition_sample(exposition, labels, 1, 1);
}

static void write_advisor(ExporterExposition *exposition,
                          const ExporterSources *sources)
{
    g_autofree char *mode = ksm_sysfs_get(sources->host->sysfs_root,
                                          "advisor_mode");
    const ExporterLabel labels[] = { { "mode", mode }, { NULL } };

    if (mode) {
        exporter_exposition_sample(exposition, labels, 1, 1);
    }
}

static void write_policy(ExporterExposition *exposition,
                         const ExporterSources *sources)
{
    const char *policy = sources->snapshot->engines->daemon.policy;
    const char *const *word;

    for (word = ksm_daemon_policies; policy && *word; word++) {
        const ExporterLabel labels[] = { { "policy", *word }, { NULL } };

        exporter_exposition_sample(exposition, labels, !strcmp(*word, policy),
                                   1);
    }
}

/* How a guest is told from others; the last is for what it is told besides. */
typedef struct GuestLabels {
    char pid[16];
    ExporterLabel list[5];
} GuestLabels;

static void guest_labels(GuestLabels *labels, const KsmGuest *guest)
{
    g_snprintf(labels->pid, sizeof(labels->pid), "%" PRId64,
               (int64_t)ksm_guest_pid(guest));
    labels->list[0] = (ExporterLabel) { "name", ksm_guest_name(guest) };
    labels->list[1] = (ExporterLabel) { "pid", labels->pid };
    labels->list[2] = (ExporterLabel) { "uuid", guest->process->uuid };
    labels->list[3] = labels->list[4] = (ExporterLabel) { NULL };
}

static void write_domains(ExporterExposition *exposition,
                          const ExporterSources *sources)
{
    GPtrArray *all = sources->snapshot->guests;
    guint i;

    for (i = 0; i < all->len; i++) {
        const KsmGuest *guest = g_ptr_array_index(all, i);
        GuestLabels labels;

        if (guest->engine && guest->engine->domain) {
            guest_labels(&labels, guest);
            labels.list[3] = (ExporterLabel) { "domain",
                                               guest->engine->domain };
            exporter_exposition_sample(exposition, labels.list, 1, 1);
        }
    }
}

/* For each of @words a sample: 1 if @has, else 0. */
static void write_engine_words(ExporterExposition *exposition,
                               const ExporterSources *sources,
                               const char *label, const char *const *words,
                               bool (*has)(const KsmEngine *engine,
                                           const char *word))
{
    GPtrArray *all = sources->snapshot->guests;
    const char *const *word;
    guint i;

    for (i = 0; i < all->len; i++) {
        const KsmGuest *guest = g_ptr_array_index(all, i);
        GuestLabels labels;

        guest_labels(&labels, guest);
        for (word = words; guest->engine && *word; word++) {
            labels.list[3] = (ExporterLabel) { label, *word };
            exporter_exposition_sample(exposition, labels.list,
                                       has(guest->engine, *word), 1);
        }
    }
}

static bool engine_has_state(const KsmEngine *engine, const char *word)
{
    return !g_strcmp0(engine->state, word);
}

static void write_states(ExporterExposition *exposition,
                         const ExporterSources *sources)
{
    write_engine_words(exposition, sources, "state", ksm_engine_states,
                       engine_has_state);
}

static bool engine_has_backend(const KsmEngine *engine, const char *word)
{
    return engine->backends &&
           g_ptr_array_find_with_equal_func(engine->backends, word, g_str_equal,
                                            NULL);
}

static void write_backends(ExporterExposition *exposition,
                           const ExporterSources *sources)
{
    write_engine_words(exposition, sources, "backend", ksm_engine_backends,
                       engine_has_backend);
}

#define MOUNT(field) G_STRUCT_OFFSET(KsmMount, field)

static const Metric metrics[] = {
    { { "ksm_exporter_build", EXPORTER_INFO, NULL,
        "Version of ksm-exporter." },
      OF_WORDS, .words = write_build },
    { { "ksm_exporter_collect_seconds", EXPORTER_GAUGE, "seconds",
        "What it took to collect the figures." },
      OF_SOURCES, IN_US, .sources = collect },

    /* The host */
    { { "ksm_page_size_bytes", EXPORTER_GAUGE, "bytes", "Size of a page." },
      OF_SOURCES, .sources = page_size },
    { { "ksm_saved_bytes", EXPORTER_GAUGE, "bytes",
        "What KSM saves: pages_sharing and ksm_zero_pages." },
      OF_SOURCES, .sources = saved },
    { { "ksm_profit_bytes", EXPORTER_GAUGE, "bytes",
        "What KSM saves less what it needs itself: general_profit." },
      OF_SOURCES, .sources = profit },
    { { "ksm_guests", EXPORTER_GAUGE, NULL, "QEMU processes." },
      OF_SOURCES, .sources = guests },
    { { "ksm_ksmd_cpu_seconds", EXPORTER_COUNTER, "seconds",
        "CPU time that ksmd has used." },
      OF_SOURCES, IN_NS, .sources = ksmd_cpu },

    /* /sys/kernel/mm/ksm: settings */
    { { "ksm_run", EXPORTER_GAUGE, NULL,
        "0: ksmd rests, 1: it merges, 2: all merged pages were separated." },
      OF_SYSFS, .sysfs = "run" },
    { { "ksm_pages_to_scan", EXPORTER_GAUGE, NULL,
        "Pages in a batch of ksmd." },
      OF_SYSFS, .sysfs = "pages_to_scan" },
    { { "ksm_sleep_seconds", EXPORTER_GAUGE, "seconds",
        "How long ksmd sleeps after each batch: sleep_millisecs." },
      OF_SYSFS, IN_MS, .sysfs = "sleep_millisecs" },
    { { "ksm_merge_across_nodes", EXPORTER_GAUGE, NULL,
        "1: pages of different NUMA nodes are merged." },
      OF_SYSFS, .sysfs = "merge_across_nodes" },
    { { "ksm_max_page_sharing", EXPORTER_GAUGE, NULL,
        "How often one page may be shared." },
      OF_SYSFS, .sysfs = "max_page_sharing" },
    { { "ksm_stable_node_chains_prune_seconds", EXPORTER_GAUGE, "seconds",
        "How often ksmd looks for pages that nobody shares any more." },
      OF_SYSFS, IN_MS, .sysfs = "stable_node_chains_prune_millisecs" },
    { { "ksm_use_zero_pages", EXPORTER_GAUGE, NULL,
        "1: pages of zeros are merged with the kernel's own." },
      OF_SYSFS, .sysfs = "use_zero_pages" },
    { { "ksm_smart_scan", EXPORTER_GAUGE, NULL,
        "1: ksmd leaves pages out for a while that didn't merge." },
      OF_SYSFS, .sysfs = "smart_scan" },
    { { "ksm_advisor", EXPORTER_INFO, NULL,
        "Who sets pages_to_scan: advisor_mode." },
      OF_WORDS, .words = write_advisor },
    { { "ksm_advisor_max_cpu_ratio", EXPORTER_GAUGE, "ratio",
        "How much of a core the advisor allows." },
      OF_SYSFS, IN_PERCENT, .sysfs = "advisor_max_cpu" },
    { { "ksm_advisor_min_pages_to_scan", EXPORTER_GAUGE, NULL,
        "The advisor's lower limit." },
      OF_SYSFS, .sysfs = "advisor_min_pages_to_scan" },
    { { "ksm_advisor_max_pages_to_scan", EXPORTER_GAUGE, NULL,
        "The advisor's upper limit." },
      OF_SYSFS, .sysfs = "advisor_max_pages_to_scan" },
    { { "ksm_advisor_target_scan_seconds", EXPORTER_GAUGE, "seconds",
        "What a full scan should take with the advisor." },
      OF_SYSFS, .sysfs = "advisor_target_scan_time" },
    { { "ksm_max_kernel_pages", EXPORTER_GAUGE, NULL,
        "How many pages may be shared; only in Linux 2.6.32." },
      OF_SYSFS, .sysfs = "max_kernel_pages" },

    /* /sys/kernel/mm/ksm: figures */
    { { "ksm_pages_shared", EXPORTER_GAUGE, NULL,
        "Pages that others share." },
      OF_SYSFS, .sysfs = "pages_shared" },
    { { "ksm_pages_sharing", EXPORTER_GAUGE, NULL,
        "More places that share them." },
      OF_SYSFS, .sysfs = "pages_sharing" },
    { { "ksm_pages_unshared", EXPORTER_GAUGE, NULL,
        "Pages that have no twin." },
      OF_SYSFS, .sysfs = "pages_unshared" },
    { { "ksm_pages_volatile", EXPORTER_GAUGE, NULL,
        "Pages that changed too fast to be merged." },
      OF_SYSFS, .sysfs = "pages_volatile" },
    { { "ksm_zero_pages", EXPORTER_GAUGE, NULL,
        "Pages merged with the kernel's page of zeros: ksm_zero_pages." },
      OF_SYSFS, .sysfs = "ksm_zero_pages" },
    { { "ksm_stable_node_chains", EXPORTER_GAUGE, NULL,
        "Pages with more sharers than max_page_sharing." },
      OF_SYSFS, .sysfs = "stable_node_chains" },
    { { "ksm_stable_node_dups", EXPORTER_GAUGE, NULL,
        "Copies of these." },
      OF_SYSFS, .sysfs = "stable_node_dups" },
    { { "ksm_pages_scanned", EXPORTER_COUNTER, NULL,
        "Pages that ksmd has read." },
      OF_SYSFS, .sysfs = "pages_scanned" },
    { { "ksm_pages_skipped", EXPORTER_COUNTER, NULL,
        "Pages that smart_scan has left out." },
      OF_SYSFS, .sysfs = "pages_skipped" },
    { { "ksm_full_scans", EXPORTER_COUNTER, NULL,
        "How often ksmd has gone through all mergeable memory." },
      OF_SYSFS, .sysfs = "full_scans" },

    /* ksmtuned */
    { { "ksm_ksmtuned_up", EXPORTER_GAUGE, NULL,
        "1: ksmtuned runs, and its statistics can be read." },
      OF_SOURCES, .sources = ksmtuned_up },
    { { "ksm_ksmtuned_policy", EXPORTER_GAUGE, NULL,
        "1: this policy is in force." },
      OF_WORDS, .words = write_policy },
    { { "ksm_ksmtuned_engines", EXPORTER_GAUGE, NULL,
        "Engines that are connected." },
      OF_DAEMON, .daemon = KSM_DAEMON_CLIENTS },
    { { "ksm_ksmtuned_index_entries", EXPORTER_GAUGE, NULL,
        "Pages that are published now." },
      OF_DAEMON, .daemon = KSM_DAEMON_INDEX_ENTRIES },
    { { "ksm_ksmtuned_index_shared", EXPORTER_GAUGE, NULL,
        "Digests that two or more of these have." },
      OF_DAEMON, .daemon = KSM_DAEMON_INDEX_SHARED },
    { { "ksm_ksmtuned_index_bytes", EXPORTER_GAUGE, "bytes",
        "Memory that the index of them takes." },
      OF_DAEMON, .daemon = KSM_DAEMON_INDEX_BYTES },
    { { "ksm_ksmtuned_twins_told", EXPORTER_COUNTER, NULL,
        "Pages that were told to have a twin." },
      OF_DAEMON, .daemon = KSM_DAEMON_TWINS_TOLD },
    { { "ksm_ksmtuned_waiting_pages", EXPORTER_GAUGE, NULL,
        "Pages that were marked and that ksmd has not yet visited twice." },
      OF_DAEMON, .daemon = KSM_DAEMON_DEMAND_WAITING_PAGES },
    { { "ksm_ksmtuned_decisions", EXPORTER_COUNTER, NULL,
        "How often a policy was asked." },
      OF_DAEMON, .daemon = KSM_DAEMON_DECISIONS },
    { { "ksm_ksmtuned_ksmd_wakeups", EXPORTER_COUNTER, NULL,
        "How often ksmd was woken." },
      OF_DAEMON, .daemon = KSM_DAEMON_KSMD_WAKEUPS },
    { { "ksm_ksmtuned_max_kernel_pages", EXPORTER_GAUGE, NULL,
        "Pages that may be shared until ksmd rests; 0: any number." },
      OF_DAEMON, .daemon = KSM_DAEMON_MAX_KERNEL_PAGES },
    { { "ksm_ksmtuned_cpu_seconds", EXPORTER_COUNTER, "seconds",
        "CPU time that ksmtuned has used." },
      OF_DAEMON, IN_NS, .daemon = KSM_DAEMON_CPU_NS },

    /* Guests, as the kernel sees them */
    { { "ksm_guest_resident_bytes", EXPORTER_GAUGE, "bytes",
        "Memory of the process; a merged page counts in each guest." },
      OF_GUEST, .guest = ksm_guest_resident },
    { { "ksm_guest_saved_bytes", EXPORTER_GAUGE, "bytes",
        "Its pages that are merged, by KSM and on ksmfs." },
      OF_GUEST, .guest = ksm_guest_saved },
    { { "ksm_guest_profit_bytes", EXPORTER_GAUGE, "bytes",
        "What KSM saves less what it needs for it: ksm_process_profit." },
      OF_GUEST, .guest = ksm_guest_profit },
    { { "ksm_guest_merging_pages", EXPORTER_GAUGE, NULL,
        "Its pages that KSM has merged with others: ksm_merging_pages." },
      OF_GUEST, .guest = guest_merging },
    { { "ksm_guest_zero_pages", EXPORTER_GAUGE, NULL,
        "Those merged with the kernel's page of zeros: ksm_zero_pages." },
      OF_GUEST, .guest = guest_zero },

    /* Their engines, as these say of themselves */
    { { "ksm_engine_up", EXPORTER_GAUGE, NULL,
        "1: the guest's engine is connected; 0: it has one that is not." },
      OF_GUEST, .guest = engine_up },
    { { "ksm_engine_limited", EXPORTER_GAUGE, NULL,
        "1: something keeps it from doing all of its job; ksmctl says what." },
      OF_GUEST, .guest = engine_limited },
    { { "ksm_engine_domain", EXPORTER_INFO, NULL,
        "Who learns of its pages, by rules of ksmtuned." },
      OF_WORDS, .words = write_domains },
    { { "ksm_engine_state", EXPORTER_GAUGE, NULL,
        "1: it is in this state." },
      OF_WORDS, .words = write_states },
    { { "ksm_engine_backend", EXPORTER_GAUGE, NULL,
        "1: this merges its pages." },
      OF_WORDS, .words = write_backends },
    { { "ksm_engine_ram_bytes", EXPORTER_GAUGE, "bytes",
        "Memory of the guest that it takes care of." },
      OF_ENGINE, .engine = KSM_ENGINE_RAM_BYTES },
    { { "ksm_engine_pages_twins", EXPORTER_GAUGE, NULL,
        "Pages that have a twin." },
      OF_ENGINE, .engine = KSM_ENGINE_PAGES_TWINS },
    { { "ksm_engine_pages_zero", EXPORTER_GAUGE, NULL,
        "Pages of zeros." },
      OF_ENGINE, .engine = KSM_ENGINE_PAGES_ZERO },
    { { "ksm_engine_pages_marked", EXPORTER_GAUGE, NULL,
        "Pages that are marked for ksmd." },
      OF_ENGINE, .engine = KSM_ENGINE_PAGES_MARKED },
    { { "ksm_engine_ksmfs_pages_sharing", EXPORTER_GAUGE, NULL,
        "Pages that are merged on ksmfs." },
      OF_ENGINE, .engine = KSM_ENGINE_KSMFS_SHARING_PAGES },
    { { "ksm_engine_metadata_bytes", EXPORTER_GAUGE, "bytes",
        "Memory for its records." },
      OF_ENGINE, .engine = KSM_ENGINE_METADATA_BYTES },
    { { "ksm_engine_full_scans", EXPORTER_COUNTER, NULL,
        "Passes that have gone through all eligible memory." },
      OF_ENGINE, .engine = KSM_ENGINE_FULL_SCANS },
    { { "ksm_engine_pages_hashed", EXPORTER_COUNTER, NULL,
        "Pages that it has hashed." },
      OF_ENGINE, .engine = KSM_ENGINE_PAGES_HASHED },
    { { "ksm_engine_cow_breaks", EXPORTER_COUNTER, NULL,
        "Marked pages that the guest has written to." },
      OF_ENGINE, .engine = KSM_ENGINE_COW_BREAKS },
    { { "ksm_engine_cpu_seconds", EXPORTER_COUNTER, "seconds",
        "CPU time that it has used." },
      OF_ENGINE, IN_NS, .engine = KSM_ENGINE_CPU_NS },

    /* Mounts of ksmfs */
    { { "ksm_ksmfs_size_bytes", EXPORTER_GAUGE, "bytes",
        "What its files may have at most, as if nothing was merged." },
      OF_MOUNT, IN_KIB, .mount = MOUNT(size_kib) },
    { { "ksm_ksmfs_used_bytes", EXPORTER_GAUGE, "bytes",
        "What they have, as if nothing was merged." },
      OF_MOUNT, IN_PAGES, .mount = MOUNT(pages_used) },
    { { "ksm_ksmfs_allocated_bytes", EXPORTER_GAUGE, "bytes",
        "What is in memory." },
      OF_MOUNT, IN_PAGES, .mount = MOUNT(pages_allocated) },
    { { "ksm_ksmfs_max_kernel_pages", EXPORTER_GAUGE, NULL,
        "How many pages may be shared; 0: any number." },
      OF_MOUNT, .mount = MOUNT(max_kernel_pages) },
    { { "ksm_ksmfs_pages_shared", EXPORTER_GAUGE, NULL,
        "Pages that are shared." },
      OF_MOUNT, .mount = MOUNT(pages_shared) },
    { { "ksm_ksmfs_pages_sharing", EXPORTER_GAUGE, NULL,
        "More that there would be without that." },
      OF_MOUNT, .mount = MOUNT(pages_sharing) },
    { { "ksm_ksmfs_pages_unshared", EXPORTER_GAUGE, NULL,
        "Pages that have no twin." },
      OF_MOUNT, .mount = MOUNT(pages_unshared) },
    { { "ksm_ksmfs_zero_pages", EXPORTER_GAUGE, NULL,
        "Merged pages of zeros: ksm_zero_pages." },
      OF_MOUNT, .mount = MOUNT(ksm_zero_pages) },
    { { "ksm_ksmfs_merges", EXPORTER_COUNTER, NULL,
        "Pages that were merged." },
      OF_MOUNT, .mount = MOUNT(merges) },
    { { "ksm_ksmfs_cow_breaks", EXPORTER_COUNTER, NULL,
        "Merged pages that were written to." },
      OF_MOUNT, .mount = MOUNT(cow_breaks) },
};

static int64_t metric_factor(MetricIn in)
{
    return in == IN_PAGES ? ksm_page_size() : in == IN_KIB ? 1024 : 1;
}

static int64_t metric_divisor(MetricIn in)
{
    switch (in) {
    case IN_PERCENT:
        return 100;
    case IN_MS:
        return 1000;
    case IN_US:
        return 1000000;
    case IN_NS:
        return 1000000000;
    default:
        return 1;
    }
}

static void write_figure(ExporterExposition *exposition, const Metric *metric,
                         const ExporterLabel *labels, KsmFigure value)
{
    int64_t scaled;

    if (value.known && !__builtin_mul_overflow(value.value,
                                               metric_factor(metric->in),
                                               &scaled)) {
        exporter_exposition_sample(exposition, labels, scaled,
                                   metric_divisor(metric->in));
    }
}

static void write_host(ExporterExposition *exposition, const Metric *metric,
                       KsmFigure value)
{
    const ExporterLabel none = { NULL };

    write_figure(exposition, metric, &none, value);
}

static void write_guests(ExporterExposition *exposition, const Metric *metric,
                         GPtrArray *all)
{
    guint i;

    for (i = 0; i < all->len; i++) {
        const KsmGuest *guest = g_ptr_array_index(all, i);
        KsmFigure value = { false };
        GuestLabels labels;

        if (metric->of == OF_GUEST) {
            value = metric->guest(guest);
        } else if (guest->engine) {
            value = guest->engine->figures[metric->engine];
        }
        guest_labels(&labels, guest);
        write_figure(exposition, metric, labels.list, value);
    }
}

static void write_mounts(ExporterExposition *exposition, const Metric *metric,
                         GPtrArray *mounts)
{
    guint i;

    for (i = 0; i < mounts->len; i++) {
        KsmMount *mount = g_ptr_array_index(mounts, i);
        const ExporterLabel labels[] = {
            { "device", mount->device }, { "path", mount->path }, { NULL }
        };

        write_figure(exposition, metric, labels,
                     G_STRUCT_MEMBER(KsmFigure, mount, metric->mount));
    }
}

static void metric_write(ExporterExposition *exposition, const Metric *metric,
                         const ExporterSources *sources)
{
    const KsmSnapshot *snapshot = sources->snapshot;

    exporter_exposition_begin(exposition, &metric->family);
    switch (metric->of) {
    case OF_SYSFS:
        write_host(exposition, metric,
                   ksm_sysfs_figure(sources->host->sysfs_root, metric->sysfs));
        break;
    case OF_SOURCES:
        write_host(exposition, metric, metric->sources(sources));
        break;
    case OF_DAEMON:
        write_host(exposition, metric,
                   snapshot->engines->daemon.figures[metric->daemon]);
        break;
    case OF_GUEST:
    case OF_ENGINE:
        write_guests(exposition, metric, snapshot->guests);
        break;
    case OF_MOUNT:
        write_mounts(exposition, metric, snapshot->mounts);
        break;
    case OF_WORDS:
        metric->words(exposition, sources);
        break;
    }
}

void exporter_metrics_write(ExporterExposition *exposition,
                            const ExporterSources *sources)
{
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(metrics); i++) {
        metric_write(exposition, &metrics[i], sources);
    }
}
