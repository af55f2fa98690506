/*
 * Options that all commands have
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_OPTIONS_H
#define KSMCTL_OPTIONS_H

#include "command.h"

/*
 * What stands before the command, which then begins the arguments.  False:
 * wrong usage, which was said.  In @version whether that was asked for.
 */
bool ksmctl_options_parse_first(KsmHost *host, bool *version,
                                int *argc, char ***argv);

#endif
