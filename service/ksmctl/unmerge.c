/*
 * ksmctl unmerge
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The kernel separates pages until memory ends, and then ends processes.  So
 * this is begun only where memory suffices, and interrupted when it no longer
 * does; ksmd rests then.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "command.h"
#include "guarded-write.h"
#include "host/memory.h"
#include "host/sysfs.h"
#include "message.h"
#include "setting.h"
#include "snapshot/stats-file.h"

#define KIB_PER_MIB     1024.0
/* That must be left afterwards, in percent of memory. */
#define MARGIN_PERCENT  5

typedef struct UnmergeNeeds {
    const char *proc_root;
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
    needs->proc_root = host->proc_root;
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

static bool unmerge_may_go_on(void *opaque)
{
    const UnmergeNeeds *needs = opaque;
    KsmMemory memory;

    /* What can't be read is no sign that all is well. */
    return ksm_memory_read(needs->proc_root, &memory, NULL) &&
           memory.available_kib >= needs->margin_kib;
}

static int unmerge_do(const KsmHost *host, UnmergeNeeds *needs, bool force)
{
    g_autoptr(GError) error = NULL;
    bool interrupted;
    KsmFigure run;

    if (!ksmctl_set_guarded(host->sysfs_root, "run", "2",
                            force ? NULL : unmerge_may_go_on, needs,
                            &interrupted, &error)) {
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
    printf("All pages are separated.  run is 2 now: ksmd rests until %s.\n",
           ksm_stats_writer(host) ? "ksmtuned has it merge again" :
                                    "'ksmctl start'");
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
