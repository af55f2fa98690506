/*
 * Figures of ksmtuned, as JSON
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "stats.h"

#define STATS_INTERVAL_MS       1000
/* And so many times what writing them takes: 1/2500 of a core. */
#define STATS_COST_FACTOR       2500

struct KsmtunedStats {
    char *path;
    KsmtunedStatsCollect *collect;
    void *opaque;
    guint timer;
    int64_t written_ms;         /* 0: never */
    uint64_t cost_ns;           /* of the last time */
    bool failed;                /* logged already */
};

KsmtunedStats *ksmtuned_stats_new(const char *path,
                                  KsmtunedStatsCollect *collect, void *opaque)
{
    KsmtunedStats *stats = g_new0(KsmtunedStats, 1);

    stats->path = g_strdup(path);
    stats->collect = collect;
    stats->opaque = opaque;
    return stats;
}

static uint64_t stats_cpu_ns(void)
{
    struct timespec cpu = { 0 };

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    return (uint64_t)cpu.tv_sec * 1000000000 + cpu.tv_nsec;
}

char *ksmtuned_stats_json(KsmtunedStats *stats)
{
    g_autofree char *engines = NULL;
    KsmtunedFigures f = { 0 };

    stats->collect(&f, stats->opaque);
    engines = f.engines;
    return g_strdup_printf("{\"clients\": %u, "
                           "\"index_entries\": %" PRIu64 ", "
                           "\"index_shared\": %" PRIu64 ", "
                           "\"index_bytes\": %" PRIu64 ", "
                           "\"twins_told\": %" PRIu64 ", "
                           "\"cpu_ns\": %" PRIu64 ", "
                           "\"ksmd_running\": %s, "
                           "\"demand_waiting_pages\": %" PRIu64 ", "
                           "\"ksmd_wakeups\": %" PRIu64 ", "
                           "\"policy\": \"%s\", "
                           "\"decisions\": %" PRIu64 ", "
                           "\"max_kernel_pages\": %" PRId64 ", "
                           "\"engines\": %s}\n",
                           f.clients, f.index.entries, f.index.shared,
                           f.index.bytes, f.index.twins_told, stats_cpu_ns(),
                           f.ksmd_running ? "true" : "false",
                           f.demand_waiting_pages, f.ksmd_wakeups,
                           f.policy, f.decisions,
                           f.max_kernel_pages,
                           engines ? engines : "[]");
}

/* Readers see the old file or the new one; no fsync, it is of the moment. */
static bool stats_replace(const char *path, const char *text)
{
    g_autofree char *temporary = g_strconcat(path, ".new", NULL);
    size_t size = strlen(text);
    bool ok;
    int fd;

    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
              0644);
    if (fd < 0) {
        return false;
    }
    ok = write(fd, text, size) == (ssize_t)size;
    ok = close(fd) == 0 && ok;
    return ok && g_rename(temporary, path) == 0;
}

static void stats_write(KsmtunedStats *stats)
{
    uint64_t begin_ns = stats_cpu_ns();
    g_autofree char *text = ksmtuned_stats_json(stats);

    stats->written_ms = g_get_monotonic_time() / 1000;
    if (!stats_replace(stats->path, text) && !stats->failed) {
        stats->failed = true;
        ksmtuned_log(KSMTUNED_LOG_WARNING,
                     "can't write the statistics to %s: %s: give another "
                     "--stats-file", stats->path, g_strerror(errno));
    }
    stats->cost_ns = stats_cpu_ns() - begin_ns;
}

static gboolean stats_timeout(gpointer opaque)
{
    KsmtunedStats *stats = opaque;

    stats->timer = 0;
    stats_write(stats);
    return G_SOURCE_REMOVE;
}

void ksmtuned_stats_touch(KsmtunedStats *stats)
{
    int64_t wait_ms = 0;

    if (!stats->path || stats->timer) {
        return;
    }
    if (stats->written_ms) {
        wait_ms = stats->written_ms +
                  MAX(STATS_INTERVAL_MS,
                      stats->cost_ns * STATS_COST_FACTOR / 1000000) -
                  g_get_monotonic_time() / 1000;
    }
    stats->timer = g_timeout_add(MAX(wait_ms, 0), stats_timeout, stats);
}

void ksmtuned_stats_free(KsmtunedStats *stats)
{
    if (!stats) {
        return;
    }
    if (stats->timer) {
        g_source_remove(stats->timer);
    }
    if (stats->path) {
        stats_write(stats);
    }
    g_free(stats->path);
    g_free(stats);
}
