/*
 * Where to listen
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef EXPORTER_ADDRESS_H
#define EXPORTER_ADDRESS_H

#include <glib.h>

#define EXPORTER_PORT   9796

/*
 * A socket that listens, nonblocking, at @address: unix:PATH, or ADDRESS:PORT
 * with an IPv6 address in brackets and port 0 for any that is free.  -1: see
 * @error.  In @path that of a Unix socket, which the caller removes and frees;
 * else NULL.
 */
int exporter_address_listen(const char *address, char **path, GError **error);

/* Where the socket @fd listens, as above.  The caller frees it. */
char *exporter_address_of(int fd);

#endif
