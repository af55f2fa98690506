/*
 * The socket where engines connect
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMTUNED_SERVER_H
#define KSMTUNED_SERVER_H

#include <glib.h>
#include <stdbool.h>

#include "client.h"

typedef struct KsmtunedServer KsmtunedServer;

/*
 * @shared is used as it is, except ->closed and ->opaque, which the server
 * sets; it must outlive the server.
 */
KsmtunedServer *ksmtuned_server_new(KsmtunedClientShared *shared);
/* Closes all connections; removes the socket that _listen() made. */
void ksmtuned_server_free(KsmtunedServer *server);

/*
 * Make the socket @path, mode 0660 and, if it isn't NULL, of @group.  A socket
 * that nobody listens on is replaced.
 */
bool ksmtuned_server_listen(KsmtunedServer *server, const char *path,
                            const char *group, GError **error);
/* Take over @fd, which listens. */
void ksmtuned_server_adopt(KsmtunedServer *server, int fd);

/* Look again what the engines weigh against each other. */
void ksmtuned_server_weigh(KsmtunedServer *server);

unsigned ksmtuned_server_clients(const KsmtunedServer *server);
/* What the engines last reported, as a JSON array; the caller frees it. */
char *ksmtuned_server_reports_json(const KsmtunedServer *server);

#endif
