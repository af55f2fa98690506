/*
 * The collector: note what was written in armed regions, and arm it again
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All with the engine's lock held.
 */
#ifndef ACCEL_KSM_COLLECTOR_H
#define ACCEL_KSM_COLLECTOR_H

#include "state.h"

/*
 * Find what was written in region @r, and in armed ones that follow it.  The
 * phase then goes on behind them.
 */
void ksm_collector_step(KsmEngine *engine, KsmBlock *block, size_t r);

/* Arm pages [@first, @last) of an armed region again. */
void ksm_collector_rearm(KsmEngine *engine, KsmBlock *block, size_t first,
                         size_t last);

/* Which of pages [@first, @last) of armed regions were written?  Note these. */
void ksm_collector_look(KsmEngine *engine, KsmBlock *block, size_t first,
                        size_t last);
/* They were written, as somebody says. */
void ksm_collector_note(KsmEngine *engine, KsmBlock *block, size_t first,
                        size_t last);

#endif
