/*
 * Stream sockets to listen on
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "listen.h"

/* The first descriptor that systemd passes. */
#define LISTEN_FDS_START        3

/* What is being made. */
typedef struct Listen {
    struct sockaddr_un address;
    const char *option;
    int fd;
} Listen;

static bool listen_fail(const Listen *made, const char *what, GError **error)
{
    int saved_errno = errno;

    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(saved_errno),
                "%s: can't %s: %s: run as root or give another %s",
                made->address.sun_path, what, g_strerror(saved_errno),
                made->option);
    return false;
}

/* Remove what a killed program left there, and nothing else. */
static bool listen_clear_path(const Listen *made, GError **error)
{
    const char *path = made->address.sun_path;
    struct stat st;
    int fd, rc;

    if (lstat(path, &st) < 0) {
        return errno == ENOENT ||
               listen_fail(made, "look at the socket", error);
    }
    if (!S_ISSOCK(st.st_mode)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_EXIST,
                    "%s: is there and not a socket: remove it or give "
                    "another %s", path, made->option);
        return false;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return listen_fail(made, "make a socket", error);
    }
    rc = connect(fd, (const struct sockaddr *)&made->address,
                 sizeof(made->address));
    if (rc == 0 || errno != ECONNREFUSED) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_EXIST,
                    "%s: another process listens there: stop it or give "
                    "another %s", path, made->option);
        close(fd);
        return false;
    }
    close(fd);
    if (unlink(path) < 0) {
        return listen_fail(made, "remove the old socket", error);
    }
    return true;
}

/* Bind so that the socket is never open to others, not for a moment. */
static bool listen_bind(const Listen *made, gid_t group, GError **error)
{
    const char *path = made->address.sun_path;
    mode_t mask = umask(0777);
    int rc;

    rc = bind(made->fd, (const struct sockaddr *)&made->address,
              sizeof(made->address));
    umask(mask);
    if (rc < 0 && errno == ENOENT) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT,
                    "%s: its directory does not exist: make it or give "
                    "another %s", path, made->option);
        return false;
    }
    if (rc < 0) {
        return listen_fail(made, "bind the socket", error);
    }
    if ((group != (gid_t)-1 && lchown(path, -1, group) < 0) ||
        chmod(path, 0660) < 0 || listen(made->fd, SOMAXCONN) < 0) {
        listen_fail(made, "let others connect to the socket", error);
        unlink(path);
        return false;
    }
    return true;
}

int ksm_listen_unix(const char *path, gid_t group, const char *option,
                    GError **error)
{
    Listen made = { .address.sun_family = AF_UNIX, .option = option };

    if (strlen(path) >= sizeof(made.address.sun_path)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NAMETOOLONG,
                    "%s: longer than a socket's path may be (%zu): give a "
                    "shorter %s", path, sizeof(made.address.sun_path) - 1,
                    option);
        return -1;
    }
    strcpy(made.address.sun_path, path);
    if (!listen_clear_path(&made, error)) {
        return -1;
    }
    made.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (made.fd < 0) {
        listen_fail(&made, "make a socket", error);
        return -1;
    }
    if (!listen_bind(&made, group, error)) {
        close(made.fd);
        return -1;
    }
    return made.fd;
}

int ksm_listen_passed(GError **error)
{
    const char *pid = g_getenv("LISTEN_PID");
    const char *fds = g_getenv("LISTEN_FDS");
    int fd = LISTEN_FDS_START, type = 0, listens = 0;
    socklen_t size = sizeof(int);

    if (!pid || !fds || atoi(pid) != getpid() || atoi(fds) <= 0) {
        return -1;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || !listens ||
        type != SOCK_STREAM || !g_unix_set_fd_nonblocking(fd, TRUE, NULL)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "descriptor %d: not a listening stream socket: use "
                    "ListenStream= in the socket unit", fd);
        return -1;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}
