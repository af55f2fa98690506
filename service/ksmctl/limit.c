/*
 * The limit of shared pages, KSM_MAX_KERNEL_PAGES
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Linux 2.6.32 had such a limit.  Now each mount of ksmfs has one, of the same
 * meaning.  It is set in /sys/fs/ksmfs and not by a remount: that needs more
 * rights, would have to give the flags of the mount point again, and reaches
 * only mounts of this namespace.
 */
#include <inttypes.h>
#include <stdio.h>

#include "host/memory.h"
#include "host/mounts.h"
#include "host/number.h"
#include "limit.h"
#include "message.h"
#include "printable.h"
#include "setting.h"

#define LIMIT_VARIABLE  "KSM_MAX_KERNEL_PAGES"

bool ksmctl_limit_from_environment(KsmFigure *limit)
{
    const char *text = g_getenv(LIMIT_VARIABLE);

    *limit = (KsmFigure) { .known = text && text[0] };
    if (!limit->known) {
        return true;
    }
    if (!ksm_number_parse(text, 0, G_MAXINT64, &limit->value)) {
        ksmctl_error("%s='%s': not a number of pages: set it in "
                     "/etc/default/ksm or /etc/sysconfig/ksm to one, to 0 for "
                     "no limit, or remove it for the default",
                     LIMIT_VARIABLE, text);
        return false;
    }
    return true;
}

static bool limit_set(const char *root, int64_t limit, const char *where)
{
    g_autofree char *value = g_strdup_printf("%" PRId64, limit);
    g_autofree char *shown = ksmctl_printable(where);

    if (!ksmctl_set(root, KSMCTL_LIMIT_NAME, value)) {
        return false;
    }
    if (limit) {
        printf("%s: at most %s pages may be shared\n", shown, value);
    } else {
        printf("%s: any number of pages may be shared\n", shown);
    }
    return true;
}

static bool limit_default(const KsmHost *host, int64_t *limit)
{
    g_autoptr(GError) error = NULL;
    KsmMemory memory;

    if (!ksm_memory_read(host->proc_root, &memory, &error)) {
        ksmctl_error("%s: the default limit is half of memory, which is not "
                     "known: set %s", error->message, LIMIT_VARIABLE);
        return false;
    }
    *limit = memory.total_kib * 1024 / ksm_page_size() / 2;
    return true;
}

static bool limit_apply_to_mounts(const KsmHost *host, int64_t limit)
{
    g_autoptr(GPtrArray) mounts = ksm_mounts_find(host->ksmfs_root,
                                                  host->proc_root);
    guint i;

    for (i = 0; i < mounts->len; i++) {
        KsmMount *mount = g_ptr_array_index(mounts, i);
        g_autofree char *root = g_build_filename(host->ksmfs_root,
                                                 mount->device, NULL);

        if (!limit_set(root, limit,
                       mount->path ? mount->path : mount->device)) {
            return false;
        }
    }
    if (!mounts->len) {
        printf("%s: this kernel has no limit of its own, and no ksmfs is "
               "mounted: only ksmtuned holds to it\n", LIMIT_VARIABLE);
    }
    return true;
}

bool ksmctl_limit_apply(const KsmHost *host, const KsmFigure *limit)
{
    int64_t pages = limit->value;

    if (!ksm_sysfs_figure(host->sysfs_root, KSMCTL_LIMIT_NAME).known) {
        return !limit->known || limit_apply_to_mounts(host, pages);
    }
    return (limit->known || limit_default(host, &pages)) &&
           limit_set(host->sysfs_root, pages, "KSM");
}
