/*
 * Counts pages that are alike
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CENSUS_TALLY_H
#define CENSUS_TALLY_H

#include "census.h"
#include "digests.h"

/*
 * From @digests, all of @pool, the pool's figures but for its runs, its part of
 * the guests' shares, and of the marks CENSUS_TWIN and CENSUS_WHOLE.  Pages of
 * guests that are lost don't count.
 */
void tally_pool(Census *census, CensusPool pool, const Digests *digests);

#endif
