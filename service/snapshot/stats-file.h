/*
 * The statistics that ksmtuned writes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_STATS_FILE_H
#define KSM_STATS_FILE_H

#include <json-glib/json-glib.h>

#include "host/host.h"
#include "host/sysfs.h"

/*
 * stats.json of the runtime directory, which the caller unrefs.  NULL: there
 * is none of a ksmtuned that runs, or it makes no sense; then @fault has the
 * reason and the way out, and the caller frees it.
 *
 * In @at_us as of when its figures hold, in microseconds of
 * g_get_real_time().  That is when the file was written, or shortly before
 * now: it would have been written again, had they changed.
 */
JsonObject *ksm_stats_read(const KsmHost *host, int64_t *at_us,
                           char **fault);

/* The same of what is there now; 0: nothing. */
int64_t ksm_stats_time(const KsmHost *host);

/* The ksmtuned that runs; 0: none does. */
pid_t ksm_stats_writer(const KsmHost *host);
/* That none does, and the way out; the caller frees it. */
char *ksm_stats_no_writer(const KsmHost *host);

/* Members of @object.  What isn't there, or is something else, is NULL. */
const char *ksm_stats_string(JsonObject *object, const char *name);
JsonArray *ksm_stats_array(JsonObject *object, const char *name);
/* Not known: it is no integer from @min to @max either. */
KsmFigure ksm_stats_figure(JsonObject *object, const char *name,
                           int64_t min, int64_t max);
/* That of @words, a list that ends with NULL, which @text is. */
const char *ksm_stats_word(const char *const *words, const char *text);

#endif
