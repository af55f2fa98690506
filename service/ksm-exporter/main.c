/*
 * ksm-exporter: what is merged on a host, for Prometheus
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A program of its own, so that what reads HTTP may write nothing.  A request
 * goes from the server to what answers it, which takes the text of the
 * collector: the metrics of a snapshot, in one of two formats.
 */
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>

#include "address.h"
#include "config.h"
#include "host/listen.h"
#include "server.h"

#define EXIT_USAGE      2
#define LISTEN_DEFAULT  "127.0.0.1:" G_STRINGIFY(EXPORTER_PORT)
/* All else is ignored by node_exporter, without a word. */
#define TEXTFILE_SUFFIX ".prom"

typedef struct Options {
    KsmHost host;
    char *listen;
    char *textfile;
    gboolean print;
    gboolean version;
} Options;

static void message(const char *format, ...) G_GNUC_PRINTF(1, 2);

static void message(const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, format);
    text = g_strdup_vprintf(format, ap);
    va_end(ap);
    fprintf(stderr, "ksm-exporter: %s\n", text);
}

static bool options_check(const Options *options, int argc, char **argv)
{
    if (argc > 1) {
        message("'%s': not an option: see --help", argv[1]);
        return false;
    }
    if (!!options->listen + !!options->textfile + options->print > 1) {
        message("--listen, --textfile and --print: give one of them; see "
                "--help");
        return false;
    }
    if (options->textfile &&
        !g_str_has_suffix(options->textfile, TEXTFILE_SUFFIX)) {
        message("--textfile=%s: node_exporter reads only files that end with "
                TEXTFILE_SUFFIX "; see --help", options->textfile);
        return false;
    }
    return true;
}

static bool options_parse(Options *options, int argc, char **argv)
{
    const GOptionEntry entries[] = {
        { "listen", 0, 0, G_OPTION_ARG_FILENAME, &options->listen,
          "Serve http://ADDRESS/metrics; unix:PATH, IPV4:PORT or [IPV6]:PORT "
          "(default: " LISTEN_DEFAULT ")", "ADDRESS" },
        { "textfile", 0, 0, G_OPTION_ARG_FILENAME, &options->textfile,
          "Write FILE, for node_exporter's textfile collector, and exit",
          "FILE" },
        { "print", 0, 0, G_OPTION_ARG_NONE, &options->print,
          "Print all metrics and exit", NULL },
        { "version", 0, 0, G_OPTION_ARG_NONE, &options->version,
          "Print the version and exit", NULL },
        { NULL }
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;

    g_option_context_set_summary(context, "Tells Prometheus what is merged on "
                                 "this host.");
    g_option_context_add_main_entries(context, entries, NULL);
    ksm_host_init(&options->host);
    if (!ksm_host_parse_options(&options->host, context, &argc, &argv,
                                &error)) {
        message("%s: see --help", error->message);
        return false;
    }
    return options_check(options, argc, argv);
}

static void options_clear(Options *options)
{
    ksm_host_clear(&options->host);
    g_free(options->listen);
    g_free(options->textfile);
}

static int exporter_print(GBytes *text)
{
    gsize size;
    const char *data = g_bytes_get_data(text, &size);

    if (fwrite(data, 1, size, stdout) != size || fflush(stdout)) {
        message("can't write to standard output: %s", g_strerror(errno));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

/* Who reads it sees the old file or the new one. */
static int exporter_write_textfile(const char *path, GBytes *text)
{
    g_autoptr(GError) error = NULL;
    gsize size;
    const char *data = g_bytes_get_data(text, &size);

    if (!g_file_set_contents_full(path, data, size,
                                  G_FILE_SET_CONTENTS_CONSISTENT, 0644,
                                  &error)) {
        message("--textfile=%s: %s: make its directory, or give another file",
                path, error->message);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

static int exporter_write(const Options *options)
{
    ExporterCollector *collector = exporter_collector_new(&options->host);
    g_autoptr(GBytes) text = exporter_collector_text(collector,
                                                     EXPORTER_TEXT);

    exporter_collector_free(collector);
    return options->textfile ?
           exporter_write_textfile(options->textfile, text) :
           exporter_print(text);
}

static gboolean exporter_stop(gpointer loop)
{
    g_main_loop_quit(loop);
    return G_SOURCE_CONTINUE;
}

/* -1: see @error.  In @path what to remove and free at the end, or NULL. */
static int exporter_listen(const Options *options, char **path,
                           GError **error)
{
    int fd = ksm_listen_passed(error);

    *path = NULL;
    if (fd < 0 && !*error) {
        fd = exporter_address_listen(options->listen ? options->listen :
                                                       LISTEN_DEFAULT,
                                     path, error);
    }
    return fd;
}

static void exporter_loop(void)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);

    g_unix_signal_add(SIGTERM, exporter_stop, loop);
    g_unix_signal_add(SIGINT, exporter_stop, loop);
    g_main_loop_run(loop);
}

static int exporter_serve(const Options *options)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = NULL;
    g_autofree char *address = NULL;
    ExporterCollector *collector;
    ExporterServer *server;
    int fd = exporter_listen(options, &path, &error);

    if (fd < 0) {
        message("%s", error->message);
        return EXIT_FAILURE;
    }
    address = exporter_address_of(fd);
    collector = exporter_collector_new(&options->host);
    server = exporter_server_new(fd, collector, &error);
    if (server) {
        message("listening on %s", address);
        exporter_loop();
        exporter_server_free(server);
    } else {
        message("%s", error->message);
    }
    exporter_collector_free(collector);
    if (path) {
        g_unlink(path);
    }
    return server ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int exporter_run(const Options *options)
{
    if (options->version) {
        printf("ksm-exporter %s\n", KSM_SERVICES_VERSION);
        return EXIT_SUCCESS;
    }
    return options->textfile || options->print ? exporter_write(options) :
                                                 exporter_serve(options);
}

int main(int argc, char **argv)
{
    Options options = { .listen = NULL };
    int status = options_parse(&options, argc, argv) ? exporter_run(&options) :
                                                       EXIT_USAGE;

    options_clear(&options);
    return status;
}
