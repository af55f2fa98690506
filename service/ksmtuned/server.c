/*
 * The socket where engines connect
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <glib-unix.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/listen.h"
#include "log.h"
#include "server.h"

/* Descriptors are short: try again after this time. */
#define SERVER_RETRY_MS         1000
/* That many are kept for files, and what else is open. */
#define SERVER_OTHER_FDS        32

struct KsmtunedServer {
    KsmtunedClientShared *shared;
    int fd;
    char *path;                 /* to remove; NULL: not ours */
    guint source;
    guint retry;
    GHashTable *clients;        /* a set of KsmtunedClient */
};

static void server_start_accepting(KsmtunedServer *server);

static void server_client_closed(KsmtunedClient *client, void *opaque)
{
    KsmtunedServer *server = opaque;

    g_hash_table_remove(server->clients, client);
    ksmtuned_stats_touch(server->shared->stats);
}

static gboolean server_retry(gpointer opaque)
{
    KsmtunedServer *server = opaque;

    server->retry = 0;
    server_start_accepting(server);
    return G_SOURCE_REMOVE;
}

/* Engines must not take the descriptors that ksmd's settings need. */
static bool server_is_full(const KsmtunedServer *server)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
           ksmtuned_server_clients(server) + SERVER_OTHER_FDS >=
           limit.rlim_cur;
}

static void server_pause(KsmtunedServer *server, int reason)
{
    ksmtuned_log(KSMTUNED_LOG_WARNING,
                 "can't accept another engine: %s: %u are connected, raise "
                 "LimitNOFILE", g_strerror(reason),
                 ksmtuned_server_clients(server));
    server->source = 0;
    server->retry = g_timeout_add(SERVER_RETRY_MS, server_retry, server);
}

static gboolean server_accept(gint fd, GIOCondition condition, gpointer opaque)
{
    KsmtunedServer *server = opaque;
    int client;

    if (server_is_full(server)) {
        server_pause(server, EMFILE);
        return G_SOURCE_REMOVE;
    }
    client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client >= 0) {
        g_hash_table_add(server->clients,
                         ksmtuned_client_new(server->shared, client));
        ksmtuned_stats_touch(server->shared->stats);
        return G_SOURCE_CONTINUE;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
        errno == ENOBUFS) {
        server_pause(server, errno);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

static void server_start_accepting(KsmtunedServer *server)
{
    server->source = g_unix_fd_add(server->fd, G_IO_IN, server_accept, server);
}

KsmtunedServer *ksmtuned_server_new(KsmtunedClientShared *shared)
{
    KsmtunedServer *server = g_new0(KsmtunedServer, 1);

    server->shared = shared;
    server->fd = -1;
    server->clients = g_hash_table_new(NULL, NULL);
    shared->closed = server_client_closed;
    shared->opaque = server;
    return server;
}

void ksmtuned_server_free(KsmtunedServer *server)
{
    GHashTableIter iter;
    gpointer client;

    if (!server) {
        return;
    }
    if (server->source) {
        g_source_remove(server->source);
    }
    if (server->retry) {
        g_source_remove(server->retry);
    }
    /* Each close takes its client out of the set. */
    for (;;) {
        g_hash_table_iter_init(&iter, server->clients);
        if (!g_hash_table_iter_next(&iter, &client, NULL)) {
            break;
        }
        ksmtuned_client_close(client);
    }
    g_hash_table_destroy(server->clients);
    if (server->path) {
        unlink(server->path);
        g_free(server->path);
    }
    if (server->fd >= 0) {
        close(server->fd);
    }
    g_free(server);
}

/* -1: that of the process, or an @error. */
static gid_t server_group(const char *name, GError **error)
{
    struct group *entry = name ? getgrnam(name) : NULL;

    if (name && !entry) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "no group '%s': create it or give another --group", name);
    }
    return entry ? entry->gr_gid : (gid_t)-1;
}

bool ksmtuned_server_listen(KsmtunedServer *server, const char *path,
                            const char *group, GError **error)
{
    gid_t gid = server_group(group, error);

    if (group && gid == (gid_t)-1) {
        return false;
    }
    server->fd = ksm_listen_unix(path, gid, "--socket", error);
    if (server->fd < 0) {
        return false;
    }
    server->path = g_strdup(path);
    server_start_accepting(server);
    return true;
}

void ksmtuned_server_adopt(KsmtunedServer *server, int fd)
{
    server->fd = fd;
    server_start_accepting(server);
}

void ksmtuned_server_weigh(KsmtunedServer *server)
{
    GHashTableIter iter;
    gpointer client;

    g_hash_table_iter_init(&iter, server->clients);
    while (g_hash_table_iter_next(&iter, &client, NULL)) {
        ksmtuned_client_weigh(client);
    }
    ksmtuned_budgets_touch(server->shared->budgets);
}

unsigned ksmtuned_server_clients(const KsmtunedServer *server)
{
    return g_hash_table_size(server->clients);
}

char *ksmtuned_server_reports_json(const KsmtunedServer *server)
{
    GString *json = g_string_new("[");
    GHashTableIter iter;
    gpointer client;

    g_hash_table_iter_init(&iter, server->clients);
    while (g_hash_table_iter_next(&iter, &client, NULL)) {
        gsize before = json->len;

        if (before > 1) {
            g_string_append(json, ", ");
        }
        if (!ksmtuned_client_report_json(client, json)) {
            g_string_truncate(json, before);
        }
    }
    g_string_append_c(json, ']');
    return g_string_free(json, FALSE);
}
