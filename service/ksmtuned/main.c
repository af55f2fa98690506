/*
 * ksmtuned: the rendezvous of KSM engines, and ksmd's master
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Options, signals, starting up and winding down.  The engines' connections
 * (server, client) meet in domains; what they want of ksmd goes through the
 * tuner, which asks the policy and sets ksmd.
 */
#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "bus.h"
#include "config.h"
#include "host/cgroup-weight.h"
#include "host/host.h"
#include "host/listen.h"
#include "host/memory.h"
#include "host/sysfs.h"
#include "ksmd.h"
#include "log.h"
#include "runtime.h"
#include "server.h"

#define EXIT_USAGE              2
#define CONFIG_FILE             "/etc/ksmtuned.conf"
#define DOMAINS_FILE            "/etc/ksmtuned-domains.conf"

typedef struct Options {
    KsmHost host;
    char *socket;
    char *group;
    char *cgroup_root;
    char *stats_file;
    char *config;
    char *domains;
    gboolean restore;
    gboolean debug;
    gboolean version;
} Options;

typedef struct Ksmtuned {
    Options options;
    KsmtunedSettings settings;
    GMainLoop *loop;
    KsmtunedRuntime *runtime;
    KsmtunedKsmd *ksmd;
    KsmtunedTuner *tuner;
    KsmtunedBudgets *budgets;
    KsmtunedStats *stats;
    KsmtunedRules *rules;
    KsmtunedDomains *domains;
    KsmtunedServer *server;
    KsmtunedBus *bus;
    KsmtunedClientShared shared;
} Ksmtuned;

static void option_default(char **option, const char *value)
{
    if (!*option) {
        *option = g_strdup(value);
    }
}

static bool options_parse(Options *options, int *argc, char ***argv)
{
    const GOptionEntry entries[] = {
        { "socket", 0, 0, G_OPTION_ARG_FILENAME, &options->socket,
          "Listen there (default: engine.sock in the runtime directory)",
          "PATH" },
        { "group", 0, 0, G_OPTION_ARG_STRING, &options->group,
          "Let this group connect (default: root only)", "NAME" },
        { "stats-file", 0, 0, G_OPTION_ARG_FILENAME, &options->stats_file,
          "Write statistics there, at most once a second (default: stats.json "
          "in the runtime directory)", "PATH" },
        { "config", 0, 0, G_OPTION_ARG_FILENAME, &options->config,
          "Read settings from there (default: " CONFIG_FILE ")", "PATH" },
        { "domains", 0, 0, G_OPTION_ARG_FILENAME, &options->domains,
          "Who may connect, into which domain (default: " DOMAINS_FILE ")",
          "PATH" },
        { "restore", 0, 0, G_OPTION_ARG_NONE, &options->restore,
          "Put back the settings that a killed ksmtuned left, and exit",
          NULL },
        { "cgroup-root", 0, 0, G_OPTION_ARG_FILENAME, &options->cgroup_root,
          "Where cgroups are mounted (default: " KSM_CGROUP_ROOT ")", "DIR" },
        { "debug", 0, 0, G_OPTION_ARG_NONE, &options->debug,
          "Log every decision", NULL },
        { "version", 0, 0, G_OPTION_ARG_NONE, &options->version,
          "Print the version and exit", NULL },
        { NULL }
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;

    g_option_context_set_summary(context,
                                 "Tells KSM engines which of their pages have "
                                 "a twin, and runs ksmd while they need it.");
    g_option_context_add_main_entries(context, entries, NULL);
    ksm_host_init(&options->host);
    if (!ksm_host_parse_options(&options->host, context, argc, argv, &error)) {
        ksmtuned_log(KSMTUNED_LOG_ERROR, "%s: see --help", error->message);
        return false;
    }
    if (*argc > 1) {
        ksmtuned_log(KSMTUNED_LOG_ERROR, "'%s': not an option: see --help",
                     (*argv)[1]);
        return false;
    }
    option_default(&options->config, CONFIG_FILE);
    option_default(&options->cgroup_root, KSM_CGROUP_ROOT);
    return true;
}

static void options_clear(Options *options)
{
    ksm_host_clear(&options->host);
    g_free(options->socket);
    g_free(options->group);
    g_free(options->cgroup_root);
    g_free(options->stats_file);
    g_free(options->config);
    g_free(options->domains);
}

/* The number of pages that this host can hold in memory and swap. */
static uint64_t host_pages(const char *proc_root, uint32_t page_size)
{
    g_autoptr(GError) error = NULL;
    KsmMemory memory;

    if (!ksm_memory_read(proc_root, &memory, &error)) {
        ksmtuned_log(KSMTUNED_LOG_WARNING,
                     "%s: engines may publish and mark any number of pages; "
                     "give another --proc-root", error->message);
        return UINT64_MAX;
    }
    return (memory.total_kib + memory.swap_total_kib) * 1024 / page_size;
}

/* Of a CPU, for all engines: a tenth of the host, but not less than one. */
static uint32_t ksmtuned_engines_permille(const KsmtunedSettings *settings)
{
    return settings->engines_cpu < 0 ?
           MAX(1000, 100 * g_get_num_processors()) :
           settings->engines_cpu * 10;
}

/* Put back what a killed ksmtuned left behind. */
static bool ksmtuned_recover(Ksmtuned *k)
{
    g_autoptr(GError) error = NULL;

    if (!ksmtuned_ksmd_is_changed(k->ksmd)) {
        if (k->options.restore) {
            ksmtuned_log(KSMTUNED_LOG_INFO, "%s: nothing to restore",
                         k->runtime->state_path);
        }
        return true;
    }
    if (!ksmtuned_ksmd_restore(k->ksmd, &error)) {
        ksmtuned_log(KSMTUNED_LOG_ERROR,
                     "can't restore the settings that a killed ksmtuned left: "
                     "%s", error->message);
        return false;
    }
    ksmtuned_log(KSMTUNED_LOG_INFO,
                 "restored ksmd's settings that a killed ksmtuned left");
    return true;
}

static void ksmtuned_collect(KsmtunedFigures *figures, void *opaque)
{
    Ksmtuned *k = opaque;

    figures->clients = k->server ? ksmtuned_server_clients(k->server) : 0;
    figures->engines = k->server ? ksmtuned_server_reports_json(k->server) :
                                   NULL;
    figures->index = ksmtuned_domains_figures(k->domains);
    figures->demand_waiting_pages = ksmtuned_tuner_waiting_pages(k->tuner);
    figures->ksmd_wakeups = ksmtuned_tuner_wakeups(k->tuner);
    figures->policy = ksmtuned_tuner_policy(k->tuner);
    figures->decisions = ksmtuned_tuner_decisions(k->tuner);
    figures->max_kernel_pages = k->settings.max_kernel_pages;
    figures->ksmd_running = ksmtuned_ksmd_runs(k->ksmd);
}

static bool ksmtuned_listen(Ksmtuned *k)
{
    g_autoptr(GError) error = NULL;
    int fd = ksm_listen_passed(&error);
    bool ok = !error;

    if (fd >= 0) {
        ksmtuned_server_adopt(k->server, fd);
    } else if (ok) {
        const char *path = k->options.socket ? k->options.socket :
                                               k->runtime->socket_path;

        ok = ksmtuned_server_listen(k->server, path, k->options.group,
                                    &error);
        if (ok) {
            ksmtuned_log(KSMTUNED_LOG_INFO, "listening on %s", path);
        }
    }
    if (!ok) {
        ksmtuned_log(KSMTUNED_LOG_ERROR, "%s", error->message);
    }
    return ok;
}

/* Tell systemd, if it wants to know: sd_notify(3). */
static void ksmtuned_notify(const char *state)
{
    const char *path = g_getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t size;
    int fd;

    if (!path || (path[0] != '/' && path[0] != '@') ||
        strlen(path) >= sizeof(address.sun_path)) {
        return;
    }
    strcpy(address.sun_path, path);
    size = G_STRUCT_OFFSET(struct sockaddr_un, sun_path) + strlen(path);
    if (path[0] == '@') {
        address.sun_path[0] = '\0';
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL,
               (struct sockaddr *)&address, size) < 0) {
        ksmtuned_log(KSMTUNED_LOG_WARNING, "%s: can't notify systemd", path);
    }
    close(fd);
}

static gboolean ksmtuned_stop(gpointer opaque)
{
    Ksmtuned *k = opaque;

    g_main_loop_quit(k->loop);
    return G_SOURCE_CONTINUE;
}

static void ksmtuned_retune(void *opaque)
{
    Ksmtuned *k = opaque;

    ksmtuned_tuner_retune(k->tuner);
    ksmtuned_server_weigh(k->server);
}

static gboolean ksmtuned_signalled_retune(gpointer opaque)
{
    ksmtuned_retune(opaque);
    return G_SOURCE_CONTINUE;
}

static char *ksmtuned_statistics(void *opaque)
{
    Ksmtuned *k = opaque;

    return ksmtuned_stats_json(k->stats);
}

static gboolean ksmtuned_log_stats(gpointer opaque)
{
    g_autofree char *text = ksmtuned_statistics(opaque);

    ksmtuned_log(KSMTUNED_LOG_INFO, "%s", g_strchomp(text));
    return G_SOURCE_CONTINUE;
}

static const KsmtunedBusMethods ksmtuned_bus_methods = {
    .retune = ksmtuned_retune,
    .statistics = ksmtuned_statistics,
};

/* An engine takes one descriptor: allow as many as we may. */
static void ksmtuned_raise_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int ksmtuned_serve(Ksmtuned *k)
{
    k->shared.page_size = ksm_page_size();
    k->shared.pages_max = host_pages(k->options.host.proc_root,
                                     k->shared.page_size);
    k->shared.proc_root = k->options.host.proc_root;
    k->shared.cgroup_root = k->options.cgroup_root;
    k->shared.rules = k->rules;
    k->domains = k->shared.domains =
        ksmtuned_domains_new(ksmtuned_client_tell);
    k->budgets = k->shared.budgets =
        ksmtuned_budgets_new(ksmtuned_engines_permille(&k->settings),
                             ksmtuned_client_grant);
    k->tuner = k->shared.tuner = ksmtuned_tuner_new(
        &(KsmtunedTunerHost) {
            .ksmd = k->ksmd,
            .usable = ksmtuned_ksmd_probe(k->ksmd),
            .budgets = k->budgets,
            .roots = &k->options.host,
        }, &k->settings);
    k->stats = k->shared.stats =
        ksmtuned_stats_new(k->options.stats_file ? k->options.stats_file :
                                                   k->runtime->stats_path,
                           ksmtuned_collect, k);
    ksmtuned_tuner_set_stats(k->tuner, k->stats);
    k->shared.poll = ksmtuned_poll_new();
    k->server = ksmtuned_server_new(&k->shared);

    k->loop = g_main_loop_new(NULL, FALSE);
    g_unix_signal_add(SIGTERM, ksmtuned_stop, k);
    g_unix_signal_add(SIGINT, ksmtuned_stop, k);
    g_unix_signal_add(SIGHUP, ksmtuned_stop, k);
    g_unix_signal_add(SIGUSR1, ksmtuned_signalled_retune, k);
    g_unix_signal_add(SIGUSR2, ksmtuned_log_stats, k);
    ksmtuned_raise_limits();
    if (!ksmtuned_listen(k)) {
        return EXIT_FAILURE;
    }
    k->bus = ksmtuned_bus_new(&ksmtuned_bus_methods, k);
    ksmtuned_stats_touch(k->stats);
    ksmtuned_notify("READY=1");
    g_main_loop_run(k->loop);
    ksmtuned_notify("STOPPING=1");
    ksmtuned_log(KSMTUNED_LOG_INFO, "stopping");
    return EXIT_SUCCESS;
}

/* In the reverse order; each takes NULL.  False: ksmd is not as it was. */
static bool ksmtuned_unwind(Ksmtuned *k)
{
    bool restored = true;

    ksmtuned_bus_free(k->bus);
    ksmtuned_server_free(k->server);
    k->server = NULL;
    ksmtuned_poll_free(k->shared.poll);
    if (k->tuner) {
        ksmtuned_tuner_set_stats(k->tuner, NULL);
        restored = ksmtuned_tuner_stop(k->tuner);
    }
    if (k->stats) {
        ksmtuned_stats_free(k->stats);
        if (!k->options.stats_file) {
            /* Who finds it there takes it for the figures of now. */
            unlink(k->runtime->stats_path);
        }
    }
    ksmtuned_tuner_free(k->tuner);
    ksmtuned_budgets_free(k->budgets);
    ksmtuned_domains_free(k->domains);
    ksmtuned_rules_free(k->rules);
    ksmtuned_ksmd_free(k->ksmd);
    ksmtuned_runtime_close(k->runtime);
    g_clear_pointer(&k->loop, g_main_loop_unref);
    ksmtuned_settings_clear(&k->settings);
    options_clear(&k->options);
    return restored;
}

/* Only where none are asked for, and there really are none, is it all. */
static KsmtunedRules *ksmtuned_read_rules(const char *path, GError **error)
{
    KsmtunedRules *rules;
    struct stat st;

    if (!path && lstat(DOMAINS_FILE, &st) < 0 && errno == ENOENT) {
        return ksmtuned_rules_of_all();
    }
    path = path ? path : DOMAINS_FILE;
    rules = ksmtuned_rules_read(path, error);
    if (rules) {
        ksmtuned_log(KSMTUNED_LOG_INFO, "engines are let in as %s says", path);
    }
    return rules;
}

static int ksmtuned_run(Ksmtuned *k)
{
    Options *options = &k->options;
    g_autoptr(GError) error = NULL;

    k->runtime = ksmtuned_runtime_open(options->host.runtime_dir,
                                       options->host.sysfs_root, &error);
    if (!k->runtime) {
        ksmtuned_log(KSMTUNED_LOG_ERROR, "%s", error->message);
        return EXIT_FAILURE;
    }
    k->ksmd = ksmtuned_ksmd_new(options->host.sysfs_root,
                                options->host.proc_root,
                                k->runtime->state_path);
    if (!ksmtuned_recover(k)) {
        return EXIT_FAILURE;
    }
    if (options->restore) {
        return EXIT_SUCCESS;
    }
    k->rules = ksmtuned_read_rules(options->domains, &error);
    if (!k->rules) {
        ksmtuned_log(KSMTUNED_LOG_ERROR, "%s", error->message);
        return EXIT_FAILURE;
    }
    ksmtuned_settings_read(&k->settings, options->config);
    ksmtuned_log_set_debug(options->debug || k->settings.debug,
                           k->settings.debug ? k->settings.logfile : NULL);
    return ksmtuned_serve(k);
}

int main(int argc, char **argv)
{
    Ksmtuned k = { 0 };
    int status;

    /* A log that nobody reads must not end us before ksmd is as it was. */
    signal(SIGPIPE, SIG_IGN);
    /* A guest may start at the same time, and its hook ask for a retune. */
    signal(SIGUSR1, SIG_IGN);
    if (!options_parse(&k.options, &argc, &argv)) {
        status = EXIT_USAGE;
    } else if (k.options.version) {
        printf("ksmtuned %s\n", KSM_SERVICES_VERSION);
        status = EXIT_SUCCESS;
    } else {
        ksmtuned_log_set_debug(k.options.debug, NULL);
        status = ksmtuned_run(&k);
    }
    if (!ksmtuned_unwind(&k)) {
        status = EXIT_FAILURE;
    }
    return status;
}
