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
/* The ksm object goes.  Was all carried out? */
void ksm_guest_end(bool done);
/* There is no ksm object, and QEMU has marked RAM: not what is kept apart. */
void ksm_guest_keep_apart(void);

#endif
