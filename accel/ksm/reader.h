/*
 * The reader: hash a region's pages that are due, and submit the stable ones
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef ACCEL_KSM_READER_H
#define ACCEL_KSM_READER_H

#include "state.h"

/* More pages than this: read a region, or start a pass, more often again. */
#define KSM_BUSY_PAGES          64

/*
 * Do what is due in @block's region @r.  False: go on with the same region.
 * Engine's lock.
 */
bool ksm_reader_step(KsmEngine *engine, KsmBlock *block, size_t r);

/*
 * A device has filled pages [@first, @last) of region @r: hash and submit them
 * now, but for those that are volatile.  If the region is armed, they were
 * noted as written.  Returns how many were hashed.  Engine's lock.
 */
unsigned ksm_reader_hinted(KsmEngine *engine, KsmBlock *block, size_t r,
                           size_t first, size_t last);

#endif
