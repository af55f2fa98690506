/*
 * What ksmtuned says of itself, in its statistics
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "daemon.h"
#include "stats-file.h"

static const char *const daemon_figure_names[KSM_DAEMON_FIGURES] = {
    [KSM_DAEMON_CLIENTS] = "clients",
    [KSM_DAEMON_INDEX_ENTRIES] = "index_entries",
    [KSM_DAEMON_INDEX_SHARED] = "index_shared",
    [KSM_DAEMON_INDEX_BYTES] = "index_bytes",
    [KSM_DAEMON_TWINS_TOLD] = "twins_told",
    [KSM_DAEMON_CPU_NS] = "cpu_ns",
    [KSM_DAEMON_DEMAND_WAITING_PAGES] = "demand_waiting_pages",
    [KSM_DAEMON_KSMD_WAKEUPS] = "ksmd_wakeups",
    [KSM_DAEMON_DECISIONS] = "decisions",
    [KSM_DAEMON_MAX_KERNEL_PAGES] = "max_kernel_pages",
};

const char *const ksm_daemon_policies[] = {
    "demand", "classic", "classic-strict", "pressure", NULL
};

void ksm_daemon_read(KsmDaemon *daemon, JsonObject *stats)
{
    int i;

    daemon->policy = ksm_stats_word(ksm_daemon_policies,
                                    ksm_stats_string(stats, "policy"));
    for (i = 0; i < KSM_DAEMON_FIGURES; i++) {
        daemon->figures[i] = ksm_stats_figure(stats, daemon_figure_names[i], 0,
                                              G_MAXINT64);
    }
}
