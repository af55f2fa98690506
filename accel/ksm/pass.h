/*
 * A pass: find what was written, hash what is stable, mark what has twins
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All with the engine's lock held.
 */
#ifndef ACCEL_KSM_PASS_H
#define ACCEL_KSM_PASS_H

#include "state.h"

/* Do a unit of work; false: none is due now. */
bool ksm_pass_step(KsmEngine *engine, int64_t now_ns);
/* Forget where the current pass is. */
void ksm_pass_abandon(KsmEngine *engine);

#endif
