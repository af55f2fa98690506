/*
 * Stream sockets to listen on
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_LISTEN_H
#define KSM_LISTEN_H

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * A socket at @path that listens, nonblocking, for its user and @group, which
 * may be -1: that of the process.  One there on which nobody listens is
 * replaced; anything else is left alone.  -1: see @error, which names @option
 * as what to give instead.
 */
int ksm_listen_unix(const char *path, gid_t group, const char *option,
                    GError **error);

/*
 * The socket that systemd passes, nonblocking: sd_listen_fds(3).  -1 without an
 * @error: it passes none.
 */
int ksm_listen_passed(GError **error);

#endif
