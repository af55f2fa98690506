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

char *ksmctl_text_percent(const KsmSnapshot *snapshot)
{
    return snapshot->percent_known ?
           g_strdup_printf("%.1f", snapshot->ksmd_percent) :
           g_strdup(KSMCTL_UNKNOWN);
}

char *ksmctl_text_rate(KsmRate rate)
{
    return rate.known ? g_strdup_printf("%.1f", rate.value) :
                        g_strdup(KSMCTL_UNKNOWN);
}

char *ksmctl_text_backends(const KsmGuest *guest)
{
    GPtrArray *backends = guest->engine ? guest->engine->backends : NULL;
    GString *text = g_string_new(NULL);
    guint i;

    for (i = 0; backends && i < backends->len; i++) {
        g_string_append_printf(text, "%s%s", i ? "," : "",
                               (char *)g_ptr_array_index(backends, i));
    }
    if (!text->len) {
        g_string_append(text, backends ? "none" : KSMCTL_UNKNOWN);
    }
    return g_string_free(text, FALSE);
}

const char *ksmctl_text_engine(const KsmGuest *guest)
{
    return guest->engine_state ? guest->engine_state : KSMCTL_UNKNOWN;
}

char *ksmctl_text_limit(const KsmGuest *guest)
{
    const char *limit = ksm_guest_limit(guest);
    g_autofree char *shown = limit ? ksmctl_printable(limit) : NULL;

    return shown ? g_strdup_printf("%8s %s", "", shown) : NULL;
}

char *ksmctl_text_engines(const KsmEngines *engines)
{
    g_autofree char *shown = engines->fault ?
                             ksmctl_printable(engines->fault) : NULL;

    return shown ? g_strdup_printf("%s (%s)", KSMCTL_UNKNOWN, shown) :
                   g_strdup_printf("%u", engines->list->len);
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
