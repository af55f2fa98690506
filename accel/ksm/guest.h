/*
 * What the guest advises: between the ksm-guest device and the engine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef ACCEL_KSM_GUEST_H
#define ACCEL_KSM_GUEST_H

#include "engine.h"

/* All BQL. */

/* What is advised now: @n ranges, until it changes. */
const KsmAdvisedRange *ksm_guest_advised(size_t *n);
/*
 * There is no ksm object, and not all is apart that is never to be merged: part
 * it.  Some of it at once, the rest from a timer.
 */
void ksm_guest_keep_apart(void);
/* There is an object again, which does that. */
void ksm_guest_hand_over(void);
/* Is any of this memory never to be merged? */
bool ksm_guest_has_never(const uint8_t *host, size_t size);

#endif
