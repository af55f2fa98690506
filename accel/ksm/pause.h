/*
 * When guest memory is somebody else's
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef ACCEL_KSM_PAUSE_H
#define ACCEL_KSM_PAUSE_H

#include "state.h"

/* Migration is writing guest RAM. */
bool ksm_pause_is_receiving(void);
/* Memory is being received or pinned, or lent to another userfaultfd.  Lock. */
bool ksm_pause_is_due(const KsmEngine *engine);

#endif
