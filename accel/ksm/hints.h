/*
 * Hints of devices, acted on: pages are hashed and submitted at once, or never
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All with the engine's lock held, but for ksm_hints_init() and
 * ksm_hints_cleanup(), which need the BQL.
 */
#ifndef ACCEL_KSM_HINTS_H
#define ACCEL_KSM_HINTS_H

#include "state.h"

/* Before anything else, and when nobody works any more. */
void ksm_hints_init(KsmEngine *engine);
void ksm_hints_cleanup(KsmEngine *engine);

/* Want hints, or not, as the parameters say. */
void ksm_hints_apply(KsmEngine *engine);
/* Act on some of the newest hints; false: nothing is to be done now. */
bool ksm_hints_step(KsmEngine *engine, int64_t now_ns);
/* Are there hints that can be acted on now? */
bool ksm_hints_wait(const KsmEngine *engine);
/* When to look for hints next: QEMU_CLOCK_REALTIME, or INT64_MAX. */
int64_t ksm_hints_next_ns(const KsmEngine *engine);

KsmHintFigures ksm_hints_figures(const KsmEngine *engine);

#endif
