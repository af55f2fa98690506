/*
 * The statistics that ksmtuned writes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_STATS_FILE_H
#define KSMCTL_STATS_FILE_H

#include <json-glib/json-glib.h>

#include "command.h"

/*
 * stats.json of the runtime directory, which the caller unrefs.  NULL: there
 * is none of a ksmtuned that runs, or it makes no sense; then @fault has the
 * reason and the way out, and the caller frees it.
 *
 * In @at_us as of when its figures hold, in microseconds of
 * g_get_real_time().  That is when the file was written, or shortly before
 * now: it would have been written again, had they changed.
 */
JsonObject *ksmctl_stats_read(const KsmctlHost *host, int64_t *at_us,
                              char **fault);

/* The same of what is there now; 0: nothing. */
int64_t ksmctl_stats_time(const KsmctlHost *host);

/* The ksmtuned that runs; 0: none does. */
pid_t ksmctl_stats_writer(const KsmctlHost *host);
/* That none does, and the way out; the caller frees it. */
char *ksmctl_stats_no_writer(const KsmctlHost *host);

#endif
