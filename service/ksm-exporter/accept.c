/*
 * Which format a client wants, from its Accept
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * RFC 9110, as far as two formats need it: the most specific range that names
 * one of them would count, but nobody names one twice.  What is wrong there is
 * what the client doesn't want.
 */
#include "accept.h"

#define ACCEPT_OPENMETRICS      "application/openmetrics-text"

/* What it is written in is the same in both. */
static const char *const accept_versions[] = { "1.0.0", "0.0.1", NULL };
static const char *const accept_text[] = { "text/plain", "text/*", "*/*",
                                           NULL };

/* From 0, not at all, to 1. */
static double accept_quality(const char *text)
{
    double quality = g_ascii_strtod(text, NULL);

    /* Not a number is neither. */
    return quality > 0 && quality <= 1 ? quality : 0;
}

/*
 * Of the @parameters of a range, the first of which is its name, how much it is
 * liked.  0: none of @versions, which are NULL if any will do.
 */
static double accept_parameters(char **parameters,
                                const char *const *versions)
{
    double quality = 1;

    while (*++parameters) {
        const char *parameter = g_strstrip(*parameters);

        if (!g_ascii_strncasecmp(parameter, "q=", 2)) {
            quality = accept_quality(parameter + 2);
        } else if (!g_ascii_strncasecmp(parameter, "version=", 8) &&
                   versions && !g_strv_contains(versions, parameter + 8)) {
            return 0;
        }
    }
    return quality;
}

ExporterFormat exporter_accept(const char *accept)
{
    g_auto(GStrv) ranges = g_strsplit(accept ? accept : "", ",", -1);
    double text = 0, openmetrics = 0;
    char **range;

    for (range = ranges; *range; range++) {
        g_auto(GStrv) parameters = g_strsplit(*range, ";", -1);
        g_autofree char *name = NULL;

        /* It may be empty. */
        name = parameters[0] ? g_ascii_strdown(g_strstrip(parameters[0]), -1) :
                               NULL;
        if (!g_strcmp0(name, ACCEPT_OPENMETRICS)) {
            openmetrics = MAX(openmetrics,
                              accept_parameters(parameters, accept_versions));
        } else if (name && g_strv_contains(accept_text, name)) {
            text = MAX(text, accept_parameters(parameters, NULL));
        }
    }
    return openmetrics > 0 && openmetrics >= text ? EXPORTER_OPENMETRICS :
                                                    EXPORTER_TEXT;
}
