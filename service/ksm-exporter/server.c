/*
 * The HTTP server, in the main loop
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * libmicrohttpd does the work when its epoll descriptor says so; there is but
 * one thread.  A connection is for one request, and lives for some seconds,
 * whatever its peer does or does not: libmicrohttpd could limit time without
 * any byte, which leaves those alone who send one now and then.  So nobody can
 * hold a connection for long; who may connect, and does again and again, can
 * still hold all of them.
 */
#include <gio/gio.h>
#include <glib-unix.h>
#include <microhttpd.h>
#include <string.h>
#include <sys/socket.h>

#include "request.h"
#include "server.h"

#define CONNECTIONS_MAX         256
/* For a request and its headers. */
#define CONNECTION_BYTES        (16 * 1024)
/* Prometheus gives up after 10, unless it was told otherwise. */
#define CONNECTION_S            10

struct ExporterServer {
    struct MHD_Daemon *daemon;
    ExporterCollector *collector;
    guint source;               /* of the epoll descriptor */
    guint timer;                /* there is more to do; 0: there isn't */
    bool closed;                /* a connection, in this run */
};

/* Of each connection, as long as it lives. */
typedef struct Deadline {
    int fd;
    guint timer;
} Deadline;

/* What is read or written fails from now on, and so it is closed. */
static gboolean deadline_over(gpointer opaque)
{
    Deadline *deadline = opaque;

    deadline->timer = 0;
    shutdown(deadline->fd, SHUT_RDWR);
    return G_SOURCE_REMOVE;
}

static void server_notify_connection(void *opaque,
                                     struct MHD_Connection *connection,
                                     void **context,
                                     enum MHD_ConnectionNotificationCode code)
{
    ExporterServer *server = opaque;
    Deadline *deadline = *context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        deadline = g_new(Deadline, 1);
        deadline->fd = MHD_get_connection_info(
            connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        deadline->timer = g_timeout_add_seconds(CONNECTION_S, deadline_over,
                                                deadline);
        *context = deadline;
        return;
    }
    if (deadline->timer) {
        g_source_remove(deadline->timer);
    }
    g_free(deadline);
    server->closed = true;
}

static void server_unref_body(void *opaque)
{
    g_bytes_unref(opaque);
}

/* @answer's body is its own then. */
static enum MHD_Result server_send(struct MHD_Connection *connection,
                                   const ExporterAnswer *answer)
{
    gsize size;
    const void *data = g_bytes_get_data(answer->body, &size);
    enum MHD_Result queued;
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback_cls(
            size, (void *)data, server_unref_body, answer->body);

    if (!response) {
        g_bytes_unref(answer->body);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                            answer->content_type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_VARY,
                            MHD_HTTP_HEADER_ACCEPT);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (answer->allow) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW,
                                answer->allow);
    }
    queued = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response);
    return queued;
}

/* Answered at once: a body would be refused anyway, and none is read. */
static enum MHD_Result server_answer(void *opaque,
                                     struct MHD_Connection *connection,
                                     const char *url, const char *method,
                                     const char *version,
                                     const char *upload_data,
                                     size_t *upload_data_size, void **context)
{
    ExporterServer *server = opaque;
    const ExporterRequest request = {
        .method = method,
        .path = url,
        .accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                              MHD_HTTP_HEADER_ACCEPT),
    };
    ExporterAnswer answer = exporter_request_answer(&request,
                                                    server->collector);

    return server_send(connection, &answer);
}

static gboolean server_timeout(gpointer opaque);

/*
 * Where there were as many connections as there may be, nobody is accepted
 * until another run begins with less.
 */
static void server_run(ExporterServer *server)
{
    MHD_UNSIGNED_LONG_LONG ms = 0;

    server->closed = false;
    MHD_run(server->daemon);
    if (!server->timer &&
        (MHD_get_timeout(server->daemon, &ms) == MHD_YES || server->closed)) {
        server->timer = g_timeout_add(ms, server_timeout, server);
    }
}

static gboolean server_timeout(gpointer opaque)
{
    ExporterServer *server = opaque;

    server->timer = 0;
    server_run(server);
    return G_SOURCE_REMOVE;
}

static gboolean server_ready(gint fd, GIOCondition condition, gpointer opaque)
{
    server_run(opaque);
    return G_SOURCE_CONTINUE;
}

ExporterServer *exporter_server_new(int fd, ExporterCollector *collector,
                                    GError **error)
{
    ExporterServer *server = g_new0(ExporterServer, 1);

    server->collector = collector;
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL, 0, NULL, NULL, server_answer, server,
        MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
        MHD_OPTION_NOTIFY_CONNECTION, server_notify_connection, server,
        MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_END);
    if (!server->daemon) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    "can't serve: are there too few file descriptors? "
                    "raise LimitNOFILE");
        g_free(server);
        return NULL;
    }
    server->source = g_unix_fd_add(
        MHD_get_daemon_info(server->daemon,
                            MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
        G_IO_IN, server_ready, server);
    return server;
}

void exporter_server_free(ExporterServer *server)
{
    g_source_remove(server->source);
    if (server->timer) {
        g_source_remove(server->timer);
    }
    MHD_stop_daemon(server->daemon);
    g_free(server);
}
