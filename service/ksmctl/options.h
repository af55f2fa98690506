/*
 * Options that all commands have
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_OPTIONS_H
#define KSMCTL_OPTIONS_H

#include "command.h"

/* Of ksmtuned, unless --runtime-dir says otherwise. */
#define KSMCTL_RUNTIME_DIR      "/run/ksmtuned"

/*
 * What stands before the command, which then begins the arguments.  False:
 * wrong usage, which was said.  In @version whether that was asked for.
 */
bool ksmctl_options_parse_first(KsmctlHost *host, bool *version,
                                int *argc, char ***argv);

void ksmctl_host_clear(KsmctlHost *host);

#endif
