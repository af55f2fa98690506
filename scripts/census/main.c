/*
 * ksm-census: how much merging would save of the memory of running guests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Of any QEMUs: they need no engine, and no merging has to run.  Nothing of
 * them, or of the host, is changed, but that their pages have been used.
 */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "census.h"
#include "config.h"
#include "digests.h"
#include "guest.h"
#include "host/number.h"
#include "ksmctl/printable.h"
#include "layout.h"
#include "ram.h"
#include "reader.h"
#include "tally.h"

#define EXIT_USAGE      2
#define THRESHOLD_MAX   512     /* the engine's */

typedef struct Options {
    char *proc_root;
    char *plot;
    int threshold;
    gboolean json;
    gboolean version;
    GArray *pids;               /* pid_t; none: all that are found */
} Options;

static void message(const char *format, ...) G_GNUC_PRINTF(1, 2);

static void message(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    ksmctl_complain("ksm-census", format, ap);
    va_end(ap);
}

static bool options_check(Options *options, int argc, char **argv)
{
    int i;

    if (options->threshold < 1 || options->threshold > THRESHOLD_MAX) {
        message("--huge-split-threshold=%d: it has to be 1 to %d; see --help",
                options->threshold, THRESHOLD_MAX);
        return false;
    }
    for (i = 1; i < argc; i++) {
        int64_t number;
        pid_t pid;

        if (!ksm_number_parse(argv[i], 1, G_MAXINT32, &number)) {
            message("'%s': no process ID; see --help", argv[i]);
            return false;
        }
        pid = number;
        g_array_append_val(options->pids, pid);
    }
    return true;
}

static bool options_parse(Options *options, int argc, char **argv)
{
    const GOptionEntry entries[] = {
        { "huge-split-threshold", 0, 0, G_OPTION_ARG_INT, &options->threshold,
          "As the engine's property: twins for which it splits a huge page "
          "(default: " G_STRINGIFY(CENSUS_THRESHOLD) ")", "N" },
        { "json", 0, 0, G_OPTION_ARG_NONE, &options->json,
          "Print JSON", NULL },
        { "plot", 0, 0, G_OPTION_ARG_FILENAME, &options->plot,
          "Also draw a picture, by gnuplot", "FILE.svg" },
        { "proc-root", 0, 0, G_OPTION_ARG_FILENAME, &options->proc_root,
          "Where proc(5) is (default: /proc)", "DIR" },
        { "version", 0, 0, G_OPTION_ARG_NONE, &options->version,
          "Print the version and exit", NULL },
        { NULL }
    };
    g_autoptr(GOptionContext) context = g_option_context_new("[PID...]");
    g_autoptr(GError) error = NULL;

    g_option_context_set_summary(context, "Tells how much merging would save "
                                 "of the memory of running QEMUs:\nof those "
                                 "processes, or of all that are found.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        message("%s; see --help", error->message);
        return false;
    }
    if (!options->proc_root) {
        options->proc_root = g_strdup("/proc");
    }
    return options_check(options, argc, argv);
}

static void guest_lose(CensusGuest *guest, const GError *error)
{
    const char *name = guest->process->name;

    guest->lost = true;
    message("guest %ld%s%s%s: %s%s", (long)guest->process->pid,
            name ? " (" : "", name ? name : "", name ? ")" : "",
            error->message,
            geteuid() &&
            (g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_ACCES) ||
             g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_PERM)) ?
            ": only root may, and its own user where kernel.yama.ptrace_scope "
            "is 0" : "");
}

static bool census_has(const Census *census, pid_t pid)
{
    guint i;

    for (i = 0; i < census->guests->len; i++) {
        const CensusGuest *guest = g_ptr_array_index(census->guests, i);

        if (guest->process->pid == pid) {
            return true;
        }
    }
    return false;
}

/* Owns @process then.  Twice the same would be twins of itself. */
static void census_add(Census *census, const char *proc_root,
                       KsmProcess *process)
{
    g_autoptr(GError) error = NULL;
    CensusGuest *guest;

    if (census_has(census, process->pid)) {
        ksm_process_free(process);
        return;
    }
    guest = census_guest_new(process);
    g_ptr_array_add(census->guests, guest);
    if (!census_guest_find(guest, proc_root, &error)) {
        guest_lose(guest, error);
    }
}

static bool census_find_all(Census *census, const char *proc_root)
{
    GPtrArray *processes = ksm_processes_find(proc_root);
    guint i;

    for (i = 0; i < processes->len; i++) {
        census_add(census, proc_root, g_ptr_array_index(processes, i));
    }
    /* The guests own them now. */
    g_ptr_array_set_free_func(processes, NULL);
    g_ptr_array_unref(processes);
    if (!census->guests->len) {
        message("no QEMU runs here: start guests, or give the process IDs of "
                "programs that are called otherwise");
    }
    return census->guests->len;
}

static bool census_find(Census *census, const Options *options)
{
    bool found = true;
    guint i;

    if (!options->pids->len) {
        return census_find_all(census, options->proc_root);
    }
    for (i = 0; i < options->pids->len; i++) {
        pid_t pid = g_array_index(options->pids, pid_t, i);
        KsmProcess *process = ksm_process_find(options->proc_root, pid);

        if (process) {
            census_add(census, options->proc_root, process);
        } else {
            message("%ld: there is no such process: give those of QEMUs, or "
                    "none for all", (long)pid);
            found = false;
        }
    }
    return found;
}

static void census_read_guest(Census *census, unsigned number,
                              Digests **digests)
{
    CensusGuest *guest = g_ptr_array_index(census->guests, number);
    guint first = census->mappings->len;
    g_autoptr(GError) error = NULL;
    guint i;

    if (!census_ram_find(guest, number, census->mappings, &error)) {
        guest_lose(guest, error);
        return;
    }
    for (i = first; i < census->mappings->len; i++) {
        CensusMapping *mapping = g_ptr_array_index(census->mappings, i);

        if (mapping->pool != CENSUS_NEITHER &&
            !reader_read(census, i, digests[mapping->pool], &error)) {
            guest_lose(guest, error);
            return;
        }
    }
}

static void census_take(Census *census)
{
    Digests *digests[CENSUS_POOLS];
    unsigned i;

    for (i = 0; i < CENSUS_POOLS; i++) {
        digests[i] = digests_new();
    }
    for (i = 0; i < census->guests->len; i++) {
        const CensusGuest *guest = g_ptr_array_index(census->guests, i);

        if (!guest->lost) {
            census_read_guest(census, i, digests);
        }
    }
    for (i = 0; i < CENSUS_POOLS; i++) {
        digests_sort(digests[i]);
        tally_pool(census, i, digests[i]);
        layout_pool(census, i);
        digests_free(digests[i]);
    }
}

static guint census_lost(const Census *census)
{
    guint lost = 0, i;

    for (i = 0; i < census->guests->len; i++) {
        const CensusGuest *guest = g_ptr_array_index(census->guests, i);

        lost += guest->lost;
    }
    return lost;
}

/*
 * Where memory is short it is better that the kernel ends this than any guest.
 * To raise one's own score needs no right.
 */
static void census_give_way(void)
{
    FILE *score = fopen("/proc/self/oom_score_adj", "we");

    if (score) {
        fputs("1000", score);
        fclose(score);
    }
}

static bool census_show(const Census *census, bool json)
{
    if (json) {
        census_print_json(census);
    } else if (census_lost(census) < census->guests->len) {
        census_print_text(census);
    }
    if (fflush(stdout) || ferror(stdout)) {
        message("can't write to standard output: %s", g_strerror(errno));
        return false;
    }
    return true;
}

/*
 * Of the guests that were found.  What a picture lacks is said before they are
 * read, which takes its time.
 */
static bool census_take_and_show(Census *census, const Options *options)
{
    g_autoptr(GError) error = NULL;
    FILE *plot = options->plot ? census_plot_open(options->plot, &error) : NULL;
    bool shown = false;

    if (!error) {
        census_give_way();
        census_take(census);
        shown = census_show(census, options->json);
    }
    if (plot) {
        shown = shown && census_plot(census, plot, &error);
        fclose(plot);
    }
    if (error) {
        message("--plot=%s: %s", options->plot, error->message);
    }
    return shown && !census_lost(census);
}

static int census_run(const Options *options)
{
    Census census = {
        .guests = g_ptr_array_new_with_free_func(
            (GDestroyNotify)census_guest_free),
        .mappings = g_ptr_array_new_with_free_func(
            (GDestroyNotify)census_mapping_free),
        .threshold = options->threshold,
        .scanned = true,
    };
    bool done = census_find(&census, options);

    if (census.guests->len) {
        done = census_take_and_show(&census, options) && done;
    }
    g_ptr_array_unref(census.mappings);
    g_ptr_array_unref(census.guests);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    Options options = {
        .threshold = CENSUS_THRESHOLD,
        .pids = g_array_new(false, false, sizeof(pid_t)),
    };
    int status;

    setlocale(LC_CTYPE, "");
    if (!options_parse(&options, argc, argv)) {
        status = EXIT_USAGE;
    } else if (options.version) {
        printf("ksm-census %s\n", KSM_SERVICES_VERSION);
        status = EXIT_SUCCESS;
    } else {
        status = census_run(&options);
    }
    g_array_unref(options.pids);
    g_free(options.proc_root);
    g_free(options.plot);
    return status;
}
