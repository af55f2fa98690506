/*
 * What keeps the engine from doing all of its job
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef ACCEL_KSM_LIMITS_H
#define ACCEL_KSM_LIMITS_H

#include "qapi/qapi-types-ksm.h"
#include "state.h"

/* The weightiest first; the caller frees it.  Lock. */
KsmLimitInfoList *ksm_limits(const KsmEngine *engine);

#endif
