/*
 * Memory that stays free while merged pages are given back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef ACCEL_KSM_RESERVE_H
#define ACCEL_KSM_RESERVE_H

#include "state.h"

/* Is there so little memory that no merged pages may be given back? */
bool ksm_reserve_is_low(void);
/* False if it is, by an engine: it looks now and then, and notes it.  Lock. */
bool ksm_reserve_allows(KsmEngine *engine);

#endif
