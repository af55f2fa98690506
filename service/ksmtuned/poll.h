/*
 * Many descriptors in the main loop
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * GLib's main loop goes through all of its descriptors each time that one is
 * ready.  This puts them into one of the kernel's epoll sets, which is the only
 * one that GLib sees: what is not ready costs nothing.
 */
#ifndef KSMTUNED_POLL_H
#define KSMTUNED_POLL_H

#include <stdint.h>

typedef struct KsmtunedPoll KsmtunedPoll;
typedef struct KsmtunedWatch KsmtunedWatch;

/* A descriptor; zero-initialised but for these two, and part of its owner. */
struct KsmtunedWatch {
    int fd;
    /* It is ready for some of EPOLL*; may free @watch. */
    void (*ready)(KsmtunedWatch *watch, uint32_t events);
    uint32_t events;            /* waited for; 0: it is in no set */
};

/* In the default main context. */
KsmtunedPoll *ksmtuned_poll_new(void);
/* No watch may be in it any more.  NULL is nothing. */
void ksmtuned_poll_free(KsmtunedPoll *poll);

/*
 * Wait for @events, EPOLLIN or EPOLLOUT or both; errors and the end are told,
 * too.  0: for nothing, as before @watch goes.
 */
void ksmtuned_poll_watch(KsmtunedPoll *poll, KsmtunedWatch *watch,
                         uint32_t events);

#endif
