/*
 * The commands of ksmctl
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "command.h"

const KsmctlCommand ksmctl_commands[] = {
    { "start", "", "Let ksmd merge; KSM_MAX_KERNEL_PAGES is its limit",
      ksmctl_start },
    { "stop", "", "Let ksmd rest; merged pages stay merged", ksmctl_stop },
    { "status", "[--json] [--watch[=SECONDS]]",
      "Show what is saved, by whom, and all of KSM's values",
      ksmctl_status },
    { "top", "", "Show guests on the full screen, the most saved first",
      ksmctl_top },
    { "domains", "[--json]", "Show which guests are merged with which",
      ksmctl_domains },
    { "tune", "NAME=VALUE...", "Change settings of KSM", ksmctl_tune },
    { "retune", "", "Have ksmtuned decide anew, as guests have come or gone",
      ksmctl_retune },
    { "libvirt-xml", "DOMAIN [NAME=VALUE...]",
      "Give a guest of libvirt a ksm object, change it, or take it away",
      ksmctl_libvirt_xml },
    { "unmerge", "[--yes] [--force]",
      "Separate all merged pages, if memory suffices", ksmctl_unmerge },
    { NULL }
};
