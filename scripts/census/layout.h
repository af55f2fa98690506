/*
 * Where twins are: in which runs, and in which parts of a mapping
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CENSUS_LAYOUT_H
#define CENSUS_LAYOUT_H

#include "census.h"

/* From the marks: the runs of @pool, and the twins of its mappings. */
void layout_pool(Census *census, CensusPool pool);

/*
 * The first page of @part of a mapping, which is that after the last one of the
 * part before; they differ by a page if the mapping can't be divided.
 */
uint64_t layout_part_begin(const CensusMapping *mapping, unsigned part);

#endif
