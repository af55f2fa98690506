/*
 * The statistics that ksmtuned writes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_STATS_FILE_H
#define KSM_STATS_FILE_H

#include <json-glib/json-glib.h>

#include "host/host.h"

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

#endif
