/*
 * The memory that guests hold
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * PSS would say it too, but the kernel walks all of a process' memory to tell
 * it: too dear for hundreds of guests every minute.
 */
#include <string.h>

#include "commitment.h"
#include "host/memory.h"
#include "host/processes.h"
#include "host/sysfs.h"

/* As its "pgrep -f '^qemu-system.*-enable-kvm'". */
static bool commitment_original_counts(const KsmProcess *guest)
{
    return g_str_has_prefix(guest->command_line, "qemu-system") &&
           strstr(guest->command_line, "-enable-kvm");
}

static int64_t commitment_merged_kib(const KsmProcess *guest,
                                     uint64_t page_kib)
{
    return MIN(guest->merging.merging_pages * page_kib, guest->resident_kib);
}

int64_t ksmtuned_committed_kib(const char *proc_root, const char *sysfs_root,
                               bool strict)
{
    g_autoptr(GPtrArray) guests = ksm_processes_find(proc_root);
    int64_t page_kib = ksm_page_size() / 1024;
    int64_t sum_kib = 0, merged_kib = 0, shared_pages;
    guint i;

    for (i = 0; i < guests->len; i++) {
        const KsmProcess *guest = g_ptr_array_index(guests, i);

        if (!strict || commitment_original_counts(guest)) {
            sum_kib += guest->resident_kib;
            merged_kib += commitment_merged_kib(guest, page_kib);
        }
    }
    if (strict) {
        return sum_kib;
    }
    /* Others than guests may share them, too. */
    ksm_sysfs_get_number(sysfs_root, "pages_shared", &shared_pages);
    return sum_kib - merged_kib +
           CLAMP(shared_pages, 0, merged_kib / page_kib) * page_kib;
}
