/*
 * ksmctl unmerge
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The kernel separates pages until memory ends, and then ends processes.  So
 * this is begun only where memory suffices, and interrupted when it no longer
 * does: a signal ends the write to "run" wherever it is, and ksmd rests then.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "command.h"
#include "host/memory.h"
#include "host/sysfs.h"
#include "message.h"
#include "setting.h"

#define KIB_PER_MIB     1024.0
/* That must be left afterwards, in percent of memory. */
#define MARGIN_PERCENT  5
#define GUARD_INTERVAL_US   (50 * 1000)

typedef struct UnmergeNeeds {
    uint64_t pages;
    uint64_t pages_kib;
    uint64_t margin_kib;
    uint64_t available_kib;
} UnmergeNeeds;

static bool unmerge_needs(const KsmHost *host, UnmergeNeeds *needs)
{
    KsmFigure sharing = ksm_sysfs_figure(host->sysfs_root, "pages_sharing");
    KsmFigure zero = ksm_sysfs_figure(host->sysfs_root, "ksm_zero_pages");
    g_autoptr(GError) error = NULL;
    KsmMemory memory;

    if (!sharing.known) {
        ksmctl_error("unmerge: can't read %s/pages_sharing: boot a kernel "
                     "with CONFIG_KSM=y, and mount sysfs", host->sysfs_root);
        return false;
    }
    if (!ksm_memory_read(host->proc_root, &memory, &error)) {
        ksmctl_error("unmerge: %s: give --proc-root", error->message);
        return false;
    }
    needs->pages = sharing.value + zero.value;
    needs->pages_kib = needs->pages * ksm_page_size() / 1024;
    needs->margin_kib = memory.total_kib * MARGIN_PERCENT / 100;
    needs->available_kib = memory.available_kib;
    return true;
}

static bool unmerge_fits(const UnmergeNeeds *needs)
{
    if (needs->available_kib > needs->pages_kib + needs->margin_kib) {
        return true;
    }
    ksmctl_error("unmerge: separating %" G_GUINT64_FORMAT " pages needs "
                 "%.1f MiB, and %.1f MiB, %d %% of memory, have to be left, "
                 "but only %.1f MiB are available (MemAvailable): end or move "
                 "guests, or give --force", needs->pages,
                 needs->pages_kib / KIB_PER_MIB,
                 needs->margin_kib / KIB_PER_MIB, MARGIN_PERCENT,
                 needs->available_kib / KIB_PER_MIB);
    return false;
}

static bool unmerge_confirmed(const UnmergeNeeds *needs)
{
    int answer, c;

    if (!isatty(STDIN_FILENO)) {
        ksmctl_error("unmerge: nobody to ask, as standard input is no "
                     "terminal: give --yes");
        return false;
    }
    printf("Separate %" G_GUINT64_FORMAT " pages, which takes %.1f MiB of "
           "%.1f MiB that are available? [y/N] ", needs->pages,
           needs->pages_kib / KIB_PER_MIB, needs->available_kib / KIB_PER_MIB);
    fflush(stdout);
    answer = getchar();
    for (c = answer; c != '\n' && c != EOF; c = getchar()) {
        /* only the first letter counts */
    }
    if (answer != 'y' && answer != 'Y') {
        ksmctl_error("unmerge: nothing was done");
        return false;
    }
    return true;
}

typedef struct Unmerge {
    const char *sysfs_root;
    GError *error;              /* of the write; valid when it has ended */
    GMutex lock;
    GCond ended_cond;
    bool ended;
} Unmerge;

static void *unmerge_write(void *opaque)
{
    Unmerge *unmerge = opaque;

    ksm_sysfs_set(unmerge->sysfs_root, "run", "2", &unmerge->error);
    g_mutex_lock(&unmerge->lock);
    unmerge->ended = true;
    g_cond_signal(&unmerge->ended_cond);
    g_mutex_unlock(&unmerge->lock);
    return NULL;
}

/* True: the write has ended; false: some time has gone by. */
static bool unmerge_await(Unmerge *unmerge)
{
    int64_t until_us = g_get_monotonic_time() + GUARD_INTERVAL_US;
    bool ended;

    g_mutex_lock(&unmerge->lock);
    while (!unmerge->ended &&
           g_cond_wait_until(&unmerge->ended_cond, &unmerge->lock, until_us)) {
        /* woken for nothing */
    }
    ended = unmerge->ended;
    g_mutex_unlock(&unmerge->lock);
    return ended;
}

static bool unmerge_is_short(const KsmHost *host, const UnmergeNeeds *needs)
{
    KsmMemory memory;

    /* What can't be read is no sign that all is well. */
    return !ksm_memory_read(host->proc_root, &memory, NULL) ||
           memory.available_kib < needs->margin_kib;
}

static void unmerge_interrupted(int number)
{
    /* It is enough that a system call returns. */
}

/* @needs NULL: whatever becomes of memory.  False: @interrupted, or failed. */
static bool unmerge_guarded(const KsmHost *host, const UnmergeNeeds *needs,
                            bool *interrupted, GError **error)
{
    const struct sigaction action = { .sa_handler = unmerge_interrupted };
    Unmerge unmerge = { .sysfs_root = host->sysfs_root };
    pthread_t thread;

    g_mutex_init(&unmerge.lock);
    g_cond_init(&unmerge.ended_cond);
    sigaction(SIGUSR1, &action, NULL);
    *interrupted = false;
    if (pthread_create(&thread, NULL, unmerge_write, &unmerge) != 0) {
        g_error("unmerge: can't create a thread");
    }
    while (!unmerge_await(&unmerge)) {
        if (*interrupted || (needs && unmerge_is_short(host, needs))) {
            *interrupted = true;
            /* Again and again: the write may not have begun at first. */
            pthread_kill(thread, SIGUSR1);
        }
    }
    pthread_join(thread, NULL);
    g_cond_clear(&unmerge.ended_cond);
    g_mutex_clear(&unmerge.lock);
    if (unmerge.error) {
        g_propagate_error(error, unmerge.error);
        return false;
    }
    /* It may have been done just then. */
    *interrupted = false;
    return true;
}

static int unmerge_do(const KsmHost *host, const UnmergeNeeds *needs,
                      bool force)
{
    g_autoptr(GError) error = NULL;
    bool interrupted;
    KsmFigure run;

    if (!unmerge_guarded(host, force ? NULL : needs, &interrupted, &error)) {
        if (interrupted) {
            /* How many, the kernel counts when all of a process are. */
            ksmctl_error("unmerge: ended early, as less than %.1f MiB of "
                         "memory, %d %%, were available: some pages stay "
                         "merged, and ksmd rests: end or move guests, and try "
                         "again", needs->margin_kib / KIB_PER_MIB,
                         MARGIN_PERCENT);
        } else {
            ksmctl_set_failed(host->sysfs_root, "run", error);
        }
        return EXIT_FAILURE;
    }
    run = ksm_sysfs_figure(host->sysfs_root, "run");
    if (!run.known || run.value != 2) {
        ksmctl_error("unmerge: run is no longer 2: somebody else has set it; "
                     "stop what does, and try again");
        return EXIT_FAILURE;
    }
    printf("All pages are separated.  run is 2 now: ksmd rests until "
           "'ksmctl start'.\n");
    return EXIT_SUCCESS;
}

int ksmctl_unmerge(const KsmctlCommand *command, KsmHost *host,
                   int argc, char **argv)
{
    gboolean yes = FALSE;
    gboolean force = FALSE;
    const GOptionEntry entries[] = {
        { "yes", 'y', 0, G_OPTION_ARG_NONE, &yes, "Don't ask", NULL },
        { "force", 'f', 0, G_OPTION_ARG_NONE, &force,
          "Also if memory does not suffice", NULL },
        { NULL }
    };
    UnmergeNeeds needs;

    if (!ksmctl_options_parse(command, host, entries, NULL, &argc, &argv)) {
        return KSMCTL_USAGE;
    }
    if (!unmerge_needs(host, &needs) || (!force && !unmerge_fits(&needs)) ||
        (!yes && !unmerge_confirmed(&needs))) {
        return EXIT_FAILURE;
    }
    return unmerge_do(host, &needs, force);
}
