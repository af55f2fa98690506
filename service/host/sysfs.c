/*
 * KSM's values in /sys/kernel/mm/ksm
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"
#include "sysfs.h"

const KsmSysfsValue ksm_sysfs_values[] = {
    { "run", KSM_SYSFS_SETTING,
      "0: ksmd rests, 1: it merges, 2: all merged pages were separated" },
    { "pages_to_scan", KSM_SYSFS_SETTING, "pages in a batch of ksmd" },
    { "sleep_millisecs", KSM_SYSFS_SETTING,
      "ms that ksmd sleeps after each batch" },
    { "merge_across_nodes", KSM_SYSFS_SETTING,
      "1: pages of different NUMA nodes are merged" },
    { "max_page_sharing", KSM_SYSFS_SETTING,
      "how often one page may be shared" },
    { "stable_node_chains_prune_millisecs", KSM_SYSFS_SETTING,
      "how often ksmd looks for pages that nobody shares any more" },
    { "use_zero_pages", KSM_SYSFS_SETTING,
      "1: pages of zeros are merged with the kernel's own" },
    { "smart_scan", KSM_SYSFS_SETTING,
      "1: ksmd leaves pages out for a while that didn't merge" },
    { "advisor_mode", KSM_SYSFS_SETTING,
      "who sets pages_to_scan: nobody, or the kernel (scan-time)" },
    { "advisor_max_cpu", KSM_SYSFS_SETTING,
      "% of a core that the advisor allows" },
    { "advisor_min_pages_to_scan", KSM_SYSFS_SETTING,
      "the advisor's lower limit" },
    { "advisor_max_pages_to_scan", KSM_SYSFS_SETTING,
      "the advisor's upper limit" },
    { "advisor_target_scan_time", KSM_SYSFS_SETTING,
      "s that a full scan should take with the advisor" },
    { "max_kernel_pages", KSM_SYSFS_SETTING,
      "how many pages may be shared; only in Linux 2.6.32" },
    { "pages_shared", KSM_SYSFS_FIGURE, "pages that others share" },
    { "pages_sharing", KSM_SYSFS_FIGURE,
      "more places that share them: what is saved" },
    { "pages_unshared", KSM_SYSFS_FIGURE, "pages that have no twin" },
    { "pages_volatile", KSM_SYSFS_FIGURE,
      "pages that changed too fast to be merged" },
    { "pages_skipped", KSM_SYSFS_FIGURE, "pages that smart_scan left out" },
    { "pages_scanned", KSM_SYSFS_FIGURE, "pages that ksmd has read, ever" },
    { "full_scans", KSM_SYSFS_FIGURE,
      "how often ksmd has gone through all mergeable memory" },
    { "ksm_zero_pages", KSM_SYSFS_FIGURE,
      "pages merged with the kernel's page of zeros" },
    { "general_profit", KSM_SYSFS_FIGURE,
      "bytes saved less what KSM itself needs" },
    { "stable_node_chains", KSM_SYSFS_FIGURE,
      "pages with more sharers than max_page_sharing" },
    { "stable_node_dups", KSM_SYSFS_FIGURE, "copies of these" },
    { NULL }
};

char *ksm_sysfs_get(const char *root, const char *name)
{
    g_autofree char *path = g_build_filename(root, name, NULL);
    g_autofree char *text = NULL;
    char *open_bracket, *close_bracket;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return NULL;
    }
    g_strstrip(text);
    open_bracket = strchr(text, '[');
    close_bracket = open_bracket ? strchr(open_bracket, ']') : NULL;
    if (close_bracket) {
        return g_strndup(open_bracket + 1, close_bracket - open_bracket - 1);
    }
    return g_steal_pointer(&text);
}

bool ksm_sysfs_get_number(const char *root, const char *name, int64_t *number)
{
    g_autofree char *text = ksm_sysfs_get(root, name);

    *number = 0;
    return text && g_ascii_string_to_signed(text, 10, G_MININT64, G_MAXINT64,
                                            number, NULL);
}

KsmFigure ksm_sysfs_figure(const char *root, const char *name)
{
    KsmFigure figure;

    figure.known = ksm_sysfs_get_number(root, name, &figure.value);
    return figure;
}

KsmFigure ksm_pages_bytes(KsmFigure pages)
{
    pages.known = pages.known && !__builtin_mul_overflow(pages.value,
                                                         ksm_page_size(),
                                                         &pages.value);
    return pages;
}

KsmFigure ksm_saved_bytes(KsmFigure pages, KsmFigure zero_pages)
{
    pages.known = pages.known && !__builtin_add_overflow(pages.value,
                                                         zero_pages.value,
                                                         &pages.value);
    return ksm_pages_bytes(pages);
}

KsmFigure ksm_sysfs_saved(const char *root)
{
    return ksm_saved_bytes(ksm_sysfs_figure(root, "pages_sharing"),
                           ksm_sysfs_figure(root, "ksm_zero_pages"));
}

bool ksm_sysfs_set(const char *root, const char *name, const char *value,
                   GError **error)
{
    g_autofree char *path = g_build_filename(root, name, NULL);
    size_t size = strlen(value);
    int fd, saved_errno;
    ssize_t done = -1;

    fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd >= 0) {
        done = write(fd, value, size);
    }
    saved_errno = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (done != (ssize_t)size) {
        g_set_error(error, G_FILE_ERROR,
                    g_file_error_from_errno(saved_errno),
                    "can't write '%s' to %s: %s", value, path,
                    g_strerror(saved_errno));
        return false;
    }
    return true;
}
