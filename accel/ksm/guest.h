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
 * There is no ksm object any more, or QEMU has marked RAM without one: keep
 * apart what is never to be merged, unless that was @done.
 */
void ksm_guest_take_over(bool done);

#endif
