/*
 * The limit of shared pages, KSM_MAX_KERNEL_PAGES
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_LIMIT_H
#define KSMCTL_LIMIT_H

#include "command.h"
#include "host/sysfs.h"

#define KSMCTL_LIMIT_NAME       "max_kernel_pages"

/*
 * From the environment; not known: it is unset, or empty.  False: it is no
 * number of pages, which was said.
 */
bool ksmctl_limit_from_environment(KsmFigure *limit);

/*
 * Set @limit where this host has one: in the kernel (half of memory if it is
 * not known), else on all mounts of ksmfs (if it is).  Says what was set.
 * False: it could not be, which was said.
 */
bool ksmctl_limit_apply(const KsmHost *host, const KsmFigure *limit);

#endif
