/*
 * Figures as people read them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_TEXT_H
#define KSMCTL_TEXT_H

#include "snapshot/snapshot.h"

#define KSMCTL_UNKNOWN  "-"

/* The caller frees what is not const.  Not known: KSMCTL_UNKNOWN. */
char *ksmctl_text_mib(KsmFigure bytes);
char *ksmctl_text_percent(const KsmSnapshot *snapshot);
char *ksmctl_text_rate(KsmRate rate);
/* Of @guest's engine: "ksmd,ksmfs"; "none". */
char *ksmctl_text_backends(const KsmGuest *guest);
const char *ksmctl_text_engine(const KsmGuest *guest);
/* The line below that of @guest, which says what is wrong; NULL: nothing. */
char *ksmctl_text_limit(const KsmGuest *guest);
/* How many engines there are, or why none is known. */
char *ksmctl_text_engines(const KsmEngines *engines);
/* Of @name, that may be NULL: safe for a terminal. */
char *ksmctl_text_name(const char *name);

/* What ksmd does. */
const char *ksmctl_text_run(KsmFigure run);

#endif
