/*
 * A guest: its process, and the files of that in /proc
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CENSUS_GUEST_H
#define CENSUS_GUEST_H

#include "census.h"

/* Owns @process then. */
CensusGuest *census_guest_new(KsmProcess *process);
void census_guest_free(CensusGuest *guest);

/* Before anything of it is opened.  False: see @error. */
bool census_guest_find(CensusGuest *guest, const char *proc_root,
                       GError **error);
/* To read its file @name.  -1: see @error. */
int census_guest_open(const CensusGuest *guest, const char *name,
                      GError **error);
/*
 * Sets @error: to do @what, "read" for instance, to its file @name failed with
 * the errno @number; or that the guest has ended, if that is why.  Returns
 * false, as does the other.
 */
bool census_guest_fail(const CensusGuest *guest, const char *what,
                       const char *name, int number, GError **error);
bool census_guest_ended(GError **error);

#endif
