/*
 * Figures as people read them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_TEXT_H
#define KSMCTL_TEXT_H

#include "snapshot.h"

#define KSMCTL_UNKNOWN  "-"

/* The caller frees what is not const.  Not known: KSMCTL_UNKNOWN. */
char *ksmctl_text_mib(KsmFigure bytes);
char *ksmctl_text_percent(const KsmctlSnapshot *snapshot);
char *ksmctl_text_rate(KsmctlRate rate);
/* Of @guest's engine: "ksmd,ksmfs"; "none". */
char *ksmctl_text_backends(const KsmctlGuest *guest);
const char *ksmctl_text_engine(const KsmctlGuest *guest);
/* The line below that of @guest, which says what is wrong; NULL: nothing. */
char *ksmctl_text_limit(const KsmctlGuest *guest);
/* How many engines there are, or why none is known. */
char *ksmctl_text_engines(const KsmctlEngines *engines);
/* Of @name, that may be NULL: safe for a terminal. */
char *ksmctl_text_name(const char *name);

/* What ksmd does. */
const char *ksmctl_text_run(KsmFigure run);

#endif
