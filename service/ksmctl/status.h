/*
 * What ksmctl status prints
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_STATUS_H
#define KSMCTL_STATUS_H

#include "snapshot/snapshot.h"

/* To stdout; @host says where KSM's values are. */
void ksmctl_status_text(const KsmSnapshot *snapshot,
                        const KsmHost *host);
/* The same as one JSON object on a line. */
void ksmctl_status_json(const KsmSnapshot *snapshot,
                        const KsmHost *host);

#endif
