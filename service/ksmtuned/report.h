/*
 * What an engine reports of itself
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMTUNED_REPORT_H
#define KSMTUNED_REPORT_H

#include <glib.h>
#include <sys/types.h>

#include "ksm-wire.h"

/* Appends an object to @json.  @at_ms: when it came, monotonic. */
void ksmtuned_report_json(GString *json, const char *name,
                          const char *domain, pid_t pid, int64_t at_ms,
                          const KsmFrameReport *report);

#endif
