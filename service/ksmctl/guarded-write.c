/*
 * A change of KSM's settings that takes long, and that is watched
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Another thread writes.  A signal ends that in the kernel, wherever it is.
 */
#include <pthread.h>
#include <signal.h>

#include "guarded-write.h"
#include "host/sysfs.h"

#define GUARD_INTERVAL_US   (50 * 1000)

typedef struct GuardedWrite {
    const char *root, *name, *value;
    GError *error;              /* valid when it has ended */
    GMutex lock;
    GCond ended_cond;
    bool ended;
} GuardedWrite;

static void *guarded_write(void *opaque)
{
    GuardedWrite *write = opaque;

    ksm_sysfs_set(write->root, write->name, write->value, &write->error);
    g_mutex_lock(&write->lock);
    write->ended = true;
    g_cond_signal(&write->ended_cond);
    g_mutex_unlock(&write->lock);
    return NULL;
}

/* True: it has ended; false: some time has gone by. */
static bool guarded_await(GuardedWrite *write)
{
    int64_t until_us = g_get_monotonic_time() + GUARD_INTERVAL_US;
    bool ended;

    g_mutex_lock(&write->lock);
    while (!write->ended &&
           g_cond_wait_until(&write->ended_cond, &write->lock, until_us)) {
        /* woken for nothing */
    }
    ended = write->ended;
    g_mutex_unlock(&write->lock);
    return ended;
}

static void guarded_interrupted(int number)
{
    /* It is enough that a system call returns. */
}

bool ksmctl_set_guarded(const char *root, const char *name, const char *value,
                        KsmctlGuard *may_go_on, void *opaque,
                        bool *interrupted, GError **error)
{
    const struct sigaction action = { .sa_handler = guarded_interrupted };
    GuardedWrite write = { .root = root, .name = name, .value = value };
    pthread_t thread;

    g_mutex_init(&write.lock);
    g_cond_init(&write.ended_cond);
    sigaction(SIGUSR1, &action, NULL);
    *interrupted = false;
    if (pthread_create(&thread, NULL, guarded_write, &write) != 0) {
        g_error("can't create a thread");
    }
    while (!guarded_await(&write)) {
        if (*interrupted || (may_go_on && !may_go_on(opaque))) {
            *interrupted = true;
            /* Again and again: the write may not have begun at first. */
            pthread_kill(thread, SIGUSR1);
        }
    }
    pthread_join(thread, NULL);
    g_cond_clear(&write.ended_cond);
    g_mutex_clear(&write.lock);
    if (write.error) {
        g_propagate_error(error, write.error);
        return false;
    }
    /* It may have been done just then. */
    *interrupted = false;
    return true;
}
