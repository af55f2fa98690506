/*
 * Many descriptors in the main loop
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <glib-unix.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "poll.h"

/* Then timers and signals have their turn. */
#define POLL_EVENTS_A_TURN      64

struct KsmtunedPoll {
    int fd;
    guint source;
};

/*
 * One at a time: each may free any other watch.  The kernel puts who is still
 * ready to the end of its queue, so each has its turn.
 */
static gboolean poll_dispatch(gint fd, GIOCondition condition, gpointer opaque)
{
    struct epoll_event event;
    unsigned i;

    for (i = 0; i < POLL_EVENTS_A_TURN; i++) {
        KsmtunedWatch *watch;

        if (epoll_wait(fd, &event, 1, 0) != 1) {
            break;
        }
        watch = event.data.ptr;
        watch->ready(watch, event.events);
    }
    return G_SOURCE_CONTINUE;
}

KsmtunedPoll *ksmtuned_poll_new(void)
{
    KsmtunedPoll *poll = g_new0(KsmtunedPoll, 1);

    poll->fd = epoll_create1(EPOLL_CLOEXEC);
    if (poll->fd < 0) {
        g_error("epoll_create1: %s", g_strerror(errno));
    }
    poll->source = g_unix_fd_add(poll->fd, G_IO_IN, poll_dispatch, poll);
    return poll;
}

void ksmtuned_poll_free(KsmtunedPoll *poll)
{
    if (!poll) {
        return;
    }
    g_source_remove(poll->source);
    close(poll->fd);
    g_free(poll);
}

void ksmtuned_poll_watch(KsmtunedPoll *poll, KsmtunedWatch *watch,
                         uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = watch };
    int how = !events ? EPOLL_CTL_DEL :
              watch->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (events == watch->events) {
        return;
    }
    if (epoll_ctl(poll->fd, how, watch->fd, &event) < 0) {
        /* The limit of epoll sets, /proc/sys/fs/epoll, or no memory. */
        g_error("epoll_ctl: %s", g_strerror(errno));
    }
    watch->events = events;
}
