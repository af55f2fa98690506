/*
 * What merging would save: sums of what was found
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "census.h"

uint64_t census_saved(const CensusSavings *savings)
{
    return savings->zero + savings->within + savings->between;
}

CensusShare census_guest_share(const CensusGuest *guest)
{
    CensusShare sum = { 0 };
    const CensusShare *share;

    for (share = guest->shares; share < guest->shares + CENSUS_POOLS;
         share++) {
        sum.resident += share->resident;
        sum.zero += share->zero;
        sum.within += share->within;
        sum.between += share->between;
    }
    return sum;
}

bool census_has_pool(const Census *census, CensusPool pool)
{
    return census->figures[pool].resident > 0;
}
