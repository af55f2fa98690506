/*
 * Reads the RAM of a guest: its resident pages, and no others
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CENSUS_READER_H
#define CENSUS_READER_H

#include "census.h"
#include "digests.h"

/*
 * Add the digests of all resident pages of @census's mapping @number to those
 * of its pool, in @digests, and count them in the figures of its guest.
 * False: see @error; the guest has ended, or may not be read.
 */
bool reader_read(Census *census, unsigned number, Digests *digests,
                 GError **error);

#endif
