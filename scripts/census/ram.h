/*
 * The RAM of a guest, from /proc/PID/smaps
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CENSUS_RAM_H
#define CENSUS_RAM_H

#include "census.h"

/*
 * Append the mappings of @guest, which has this @number, to @mappings, and add
 * what they have swapped and as huge pages to its figures.  False: see @error;
 * then some may be there, without marks.
 */
bool census_ram_find(CensusGuest *guest, unsigned number, GPtrArray *mappings,
                     GError **error);

void census_mapping_free(CensusMapping *mapping);

#endif
