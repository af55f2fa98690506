/*
 * The commands of ksmctl
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_COMMAND_H
#define KSMCTL_COMMAND_H

#include <glib.h>
#include <stdbool.h>

#include "host/host.h"

#define KSMCTL_USAGE    2       /* exit status */

typedef struct KsmctlCommand KsmctlCommand;

struct KsmctlCommand {
    const char *name;
    const char *arguments;      /* as in the synopsis; "" if there are none */
    const char *summary;
    /* Its arguments begin with its name.  Returns the exit status. */
    int (*run)(const KsmctlCommand *command, KsmHost *host,
               int argc, char **argv);
};

/* In the order in which they are listed; ends with a name that is NULL. */
extern const KsmctlCommand ksmctl_commands[];

/*
 * Take @entries, ending with one that is empty, and the options that all
 * commands have from the arguments.  Callbacks get @opaque.  Nothing else may
 * be left, unless the command takes words.  False: wrong usage, which was
 * said.
 */
bool ksmctl_options_parse(const KsmctlCommand *command, KsmHost *host,
                          const GOptionEntry *entries, void *opaque,
                          int *argc, char ***argv);

int ksmctl_start(const KsmctlCommand *command, KsmHost *host,
                 int argc, char **argv);
int ksmctl_stop(const KsmctlCommand *command, KsmHost *host,
                int argc, char **argv);
int ksmctl_status(const KsmctlCommand *command, KsmHost *host,
                  int argc, char **argv);
int ksmctl_top(const KsmctlCommand *command, KsmHost *host,
               int argc, char **argv);
int ksmctl_domains(const KsmctlCommand *command, KsmHost *host,
                   int argc, char **argv);
int ksmctl_tune(const KsmctlCommand *command, KsmHost *host,
                int argc, char **argv);
int ksmctl_retune(const KsmctlCommand *command, KsmHost *host,
                  int argc, char **argv);
int ksmctl_libvirt_xml(const KsmctlCommand *command, KsmHost *host,
                       int argc, char **argv);
int ksmctl_unmerge(const KsmctlCommand *command, KsmHost *host,
                   int argc, char **argv);

#endif
