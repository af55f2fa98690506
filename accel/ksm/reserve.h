/*
 * Memory that stays free while merged pages are given back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef ACCEL_KSM_RESERVE_H
#define ACCEL_KSM_RESERVE_H

#include "state.h"

/*
 * Giving merged pages back takes memory: is there enough for some now?  Notes
 * it in memory_low.  Lock.
 */
bool ksm_reserve_allows(KsmEngine *engine);

#endif
