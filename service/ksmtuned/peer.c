/*
 * Who is at the other end of a connection
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A pid says nothing once its process is gone, as the next may get the number.
 * So what files say of it counts only if a descriptor of the process shows that
 * it was alive afterwards.  Linux 6.5 gives the descriptor of who connected;
 * before, it is opened by the pid, and who connects and ends at once could pass
 * for who gets its pid within that moment.
 */
#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD            77
#endif
#define PEER_LABEL_MAX          4096

static int peer_pidfd(int fd, pid_t pid)
{
    socklen_t size = sizeof(int);
    int pidfd;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0) {
        return pidfd;
    }
    return errno == ENOPROTOOPT ? pidfd_open(pid, 0) : -1;
}

static bool peer_lives(int pidfd)
{
    struct pollfd end = { .fd = pidfd, .events = POLLIN };

    return poll(&end, 1, 0) == 0;
}

static char *peer_file(const KsmtunedPeer *peer, const char *proc_root,
                       const char *name)
{
    g_autofree char *path = g_strdup_printf("%s/%d/%s", proc_root,
                                            (int)peer->pid, name);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text;
}

/* The path for @controllers in the @text of /proc/PID/cgroup, or NULL. */
static char *peer_cgroup_of(const char *text, const char *controllers)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    char **line;

    for (line = lines; *line; line++) {
        g_auto(GStrv) fields = g_strsplit(*line, ":", 3);

        if (g_strv_length(fields) == 3 &&
            strcmp(fields[1], controllers) == 0) {
            return g_strdup(fields[2]);
        }
    }
    return NULL;
}

/* Of version 2; where that is not used, systemd's of version 1. */
static char *peer_cgroup(const KsmtunedPeer *peer, const char *proc_root)
{
    g_autofree char *text = peer_file(peer, proc_root, "cgroup");
    g_autofree char *unified = text ? peer_cgroup_of(text, "") : NULL;
    g_autofree char *legacy = text ? peer_cgroup_of(text, "name=systemd") :
                                     NULL;

    return g_strdup(!legacy || (unified && strcmp(unified, "/") != 0) ?
                    unified : legacy);
}

/* AppArmor, for one, doesn't tell of a Unix socket's peer on each kernel. */
static char *peer_label(const KsmtunedPeer *peer, int fd,
                        const char *proc_root)
{
    char label[PEER_LABEL_MAX];
    socklen_t size = sizeof(label);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERSEC, label, &size) == 0) {
        return g_strndup(label, size);
    }
    return peer_file(peer, proc_root, "attr/current");
}

void ksmtuned_peer_read(KsmtunedPeer *peer, int fd, const char *proc_root)
{
    struct ucred credentials = { 0 };
    socklen_t size = sizeof(credentials);
    int pidfd;

    *peer = (KsmtunedPeer) { 0 };
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) {
        return;
    }
    peer->pid = credentials.pid;
    pidfd = peer_pidfd(fd, peer->pid);
    if (pidfd < 0) {
        return;
    }
    peer->cgroup = peer_cgroup(peer, proc_root);
    peer->label = peer_label(peer, fd, proc_root);
    if (peer->label) {
        g_strchomp(peer->label);
    }
    if (!peer_lives(pidfd)) {
        g_clear_pointer(&peer->cgroup, g_free);
        g_clear_pointer(&peer->label, g_free);
    }
    close(pidfd);
}

void ksmtuned_peer_clear(KsmtunedPeer *peer)
{
    g_free(peer->cgroup);
    g_free(peer->label);
    *peer = (KsmtunedPeer) { 0 };
}
