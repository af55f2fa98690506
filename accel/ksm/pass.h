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
/* When there is work, while it is between two passes: QEMU_CLOCK_REALTIME. */
int64_t ksm_pass_next_ns(const KsmEngine *engine);
/* Pages were said to have twins: they are to be marked soon. */
void ksm_pass_answered(KsmEngine *engine, int64_t now_ns);
/* Forget where the current pass is. */
void ksm_pass_abandon(KsmEngine *engine);

#endif
