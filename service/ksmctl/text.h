/*
 * Figures as people read them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_TEXT_H
#define KSMCTL_TEXT_H

#include "snapshot.h"

#define KSMCTL_UNKNOWN  "-"

/* The caller frees them.  What is not known is KSMCTL_UNKNOWN. */
char *ksmctl_text_mib(KsmFigure bytes);
char *ksmctl_text_percent(const KsmctlSnapshot *snapshot);
/* Of @name, that may be NULL: safe for a terminal. */
char *ksmctl_text_name(const char *name);

/* What ksmd does. */
const char *ksmctl_text_run(KsmFigure run);

#endif
