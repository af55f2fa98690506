/*
 * The memory that guests hold
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMTUNED_COMMITMENT_H
#define KSMTUNED_COMMITMENT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Of all QEMU processes, in KiB.  A page that KSM has merged counts once.
 * @strict: what ksmtuned's original counts, which is such a page in each guest
 * again, and only guests with "-enable-kvm" whose program was given without a
 * path.
 */
int64_t ksmtuned_committed_kib(const char *proc_root, const char *sysfs_root,
                               bool strict);

#endif
