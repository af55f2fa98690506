/*
 * Figures as people read them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "printable.h"
#include "text.h"

char *ksmctl_text_mib(KsmFigure bytes)
{
    return bytes.known ? g_strdup_printf("%.1f", bytes.value / 1048576.0) :
                         g_strdup(KSMCTL_UNKNOWN);
}

char *ksmctl_text_percent(const KsmctlSnapshot *snapshot)
{
    return snapshot->percent_known ?
           g_strdup_printf("%.1f", snapshot->ksmd_percent) :
           g_strdup(KSMCTL_UNKNOWN);
}

char *ksmctl_text_name(const char *name)
{
    return name ? ksmctl_printable(name) : g_strdup(KSMCTL_UNKNOWN);
}

const char *ksmctl_text_run(KsmFigure run)
{
    if (!run.known) {
        return KSMCTL_UNKNOWN;
    }
    switch (run.value) {
    case 0:
        return "rests";
    case 1:
        return "runs";
    case 2:
        return "rests, all pages were separated";
    default:
        return "in a state that ksmctl doesn't know";
    }
}
