/*
 * The socket where engines connect
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <grp.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

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

static bool server_fail(GError **error, const char *path, const char *what)
{
    int saved_errno = errno;

    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(saved_errno),
                "%s: can't %s: %s: run as root or give another --socket",
                path, what, g_strerror(saved_errno));
    return false;
}

/* Remove what a killed ksmtuned left at @address, and nothing else. */
static bool server_clear_path(const struct sockaddr_un *address,
                              GError **error)
{
    struct stat st;
    int fd, rc;

    if (lstat(address->sun_path, &st) < 0) {
        return errno == ENOENT ||
               server_fail(error, address->sun_path, "look at the socket");
    }
    if (!S_ISSOCK(st.st_mode)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_EXIST,
                    "%s: is there and not a socket: remove it or give "
                    "another --socket", address->sun_path);
        return false;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return server_fail(error, address->sun_path, "make a socket");
    }
    rc = connect(fd, (const struct sockaddr *)address, sizeof(*address));
    if (rc == 0 || errno != ECONNREFUSED) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_EXIST,
                    "%s: another process listens there: stop it or give "
                    "another --socket", address->sun_path);
        close(fd);
        return false;
    }
    close(fd);
    if (unlink(address->sun_path) < 0) {
        return server_fail(error, address->sun_path, "remove the old socket");
    }
    return true;
}

/* Bind so that the socket is never open to others, not for a moment. */
static bool server_bind(KsmtunedServer *server,
                        const struct sockaddr_un *address, gid_t gid,
                        GError **error)
{
    const char *path = address->sun_path;
    mode_t mask = umask(0777);
    int rc;

    rc = bind(server->fd, (const struct sockaddr *)address, sizeof(*address));
    umask(mask);
    if (rc < 0 && errno == ENOENT) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT,
                    "%s: its directory does not exist: make it or give "
                    "another --socket", path);
        return false;
    }
    if (rc < 0) {
        return server_fail(error, path, "bind the socket");
    }
    server->path = g_strdup(path);
    if (gid != (gid_t)-1 && lchown(path, -1, gid) < 0) {
        return server_fail(error, path, "give the socket to its --group");
    }
    if (chmod(path, 0660) < 0) {
        return server_fail(error, path, "set the mode of the socket");
    }
    return true;
}

bool ksmtuned_server_listen(KsmtunedServer *server, const char *path,
                            const char *group, GError **error)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    gid_t gid = -1;

    if (strlen(path) >= sizeof(address.sun_path)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NAMETOOLONG,
                    "%s: longer than a socket's path may be (%zu): give a "
                    "shorter --socket", path, sizeof(address.sun_path) - 1);
        return false;
    }
    if (group) {
        struct group *entry = getgrnam(group);

        if (!entry) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                        "no group '%s': create it or give another --group",
                        group);
            return false;
        }
        gid = entry->gr_gid;
    }
    strcpy(address.sun_path, path);
    if (!server_clear_path(&address, error)) {
        return false;
    }
    server->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                        0);
    if (server->fd < 0) {
        return server_fail(error, path, "make a socket");
    }
    if (!server_bind(server, &address, gid, error)) {
        return false;
    }
    if (listen(server->fd, SOMAXCONN) < 0) {
        return server_fail(error, path, "listen on the socket");
    }
    server_start_accepting(server);
    return true;
}

bool ksmtuned_server_adopt(KsmtunedServer *server, int fd, GError **error)
{
    int type = 0, listens = 0;
    socklen_t size = sizeof(int);

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || !listens ||
        type != SOCK_STREAM || !g_unix_set_fd_nonblocking(fd, TRUE, NULL)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "descriptor %d: not a listening stream socket: use "
                    "ListenStream= in the socket unit", fd);
        return false;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    server->fd = fd;
    server_start_accepting(server);
    return true;
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
