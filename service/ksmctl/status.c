/*
 * ksmctl status
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "message.h"
#include "status.h"

#define US_PER_S        1000000
#define WATCH_S         2
#define WATCH_S_MIN     0.1
#define WATCH_S_MAX     86400

typedef struct StatusOptions {
    gboolean json;
    double watch_s;             /* 0: print once */
} StatusOptions;

static gboolean status_parse_watch(const char *option, const char *value,
                                   gpointer opaque, GError **error)
{
    StatusOptions *options = opaque;
    char *end = NULL;

    options->watch_s = value ? g_ascii_strtod(value, &end) : WATCH_S;
    if (value && (end == value || *end ||
                  !(options->watch_s >= WATCH_S_MIN &&
                    options->watch_s <= WATCH_S_MAX))) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--watch=%s: not a number of seconds from %.1f to %d",
                    value, WATCH_S_MIN, WATCH_S_MAX);
        return FALSE;
    }
    return TRUE;
}

static bool status_print(const StatusOptions *options, const KsmHost *host,
                         KsmMeter *meter)
{
    KsmSnapshot snapshot;

    ksm_snapshot_take(&snapshot, host, meter);
    if (options->json) {
        ksmctl_status_json(&snapshot, host);
    } else {
        ksmctl_status_text(&snapshot, host);
    }
    ksm_snapshot_clear(&snapshot);
    return ksmctl_flush();
}

static bool status_print_all(const StatusOptions *options,
                             const KsmHost *host, KsmMeter *meter)
{
    if (!status_print(options, host, meter)) {
        return false;
    }
    while (options->watch_s) {
        g_usleep(options->watch_s * US_PER_S);
        if (!options->json) {
            printf("\n");
        }
        if (!status_print(options, host, meter)) {
            return false;
        }
    }
    return true;
}

int ksmctl_status(const KsmctlCommand *command, KsmHost *host,
                  int argc, char **argv)
{
    StatusOptions options = { FALSE };
    const GOptionEntry entries[] = {
        { "json", 0, 0, G_OPTION_ARG_NONE, &options.json,
          "Print a JSON object, on one line", NULL },
        { "watch", 0, G_OPTION_FLAG_OPTIONAL_ARG, G_OPTION_ARG_CALLBACK,
          status_parse_watch, "Print again each SECONDS (default: 2)",
          "SECONDS" },
        { NULL }
    };
    KsmMeter meter;
    bool ok;

    if (!ksmctl_options_parse(command, host, entries, &options,
                              &argc, &argv)) {
        return KSMCTL_USAGE;
    }
    ksm_meter_start(&meter, host);
    ok = status_print_all(&options, host, &meter);
    ksm_meter_clear(&meter);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
