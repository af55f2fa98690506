/*
 * Which format a client wants, from its Accept
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef EXPORTER_ACCEPT_H
#define EXPORTER_ACCEPT_H

#include "exposition.h"

/*
 * OpenMetrics where @accept, which may be NULL, names a version of it that is
 * written here, and likes it no less than plain text; else that.
 */
ExporterFormat exporter_accept(const char *accept);

#endif
