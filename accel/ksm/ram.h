/*
 * The RAM that the engine works on: RAMBlocks come, change and go
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef ACCEL_KSM_RAM_H
#define ACCEL_KSM_RAM_H

#include "state.h"

/* Hear of RAMBlocks, those that are there first, and of no more.  BQL. */
void ksm_ram_watch(KsmEngine *engine);
void ksm_ram_unwatch(KsmEngine *engine);
/* Eligibility of the block at @host changed.  BQL. */
void ksm_ram_set_merge(KsmEngine *engine, void *host, bool merge);

/* The rest with the engine's lock held. */

/* The figures of all RAMBlocks together. */
KsmFigures ksm_ram_figures(const KsmEngine *engine);
/* Disarm those of @block's regions [@r, @end) that are armed. */
void ksm_ram_disarm(KsmEngine *engine, KsmBlock *block, size_t r, size_t end);
/* As ksm_tracker_written(), of pages [@first, @last), by who tracks @block. */
int ksm_ram_written(KsmEngine *engine, KsmBlock *block, size_t first,
                    size_t last, KsmPageRange ranges[KSM_TRACKER_RANGES],
                    uint64_t *next);
/* Nothing is known of page @p any more, but that it is marked. */
void ksm_ram_forget(KsmEngine *engine, KsmBlock *block, size_t p);
/* Page @p met a hardware memory error when it was read. */
void ksm_ram_note_poisoned(KsmEngine *engine, KsmBlock *block, size_t p);
/* Work on @block if it is eligible; else its reason says why. */
void ksm_ram_start_block(KsmEngine *engine, KsmBlock *block);
/* Work on @block no more; its reason says why. */
void ksm_ram_stop_block(KsmEngine *engine, KsmBlock *block);

#endif
