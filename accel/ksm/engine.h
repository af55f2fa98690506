/*
 * The KSM engine: its life and its slices of work, in an IOThread
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * tracker --ranges--> hasher --(page, digest)--> backend --twins--> marks
 */
#ifndef ACCEL_KSM_ENGINE_H
#define ACCEL_KSM_ENGINE_H

#include "state.h"

/*
 * Start to work in @ctx, which nothing else uses if @owns_thread.  @engine is
 * zeroed but for its parameters.  The @n_advised ranges are what the guest
 * advises by now.  BQL.
 */
bool ksm_engine_start(KsmEngine *engine, const char *id, AioContext *ctx,
                      bool owns_thread, const SocketAddress *rendezvous,
                      const KsmAdvisedRange *advised, size_t n_advised,
                      Error **errp);
/* Nothing runs in the IOThread for @engine after this.  BQL. */
void ksm_engine_stop(KsmEngine *engine);

/* Parameters changed, or there is something to do: run a slice soon. */
void ksm_engine_kick(KsmEngine *engine);
/* Start a pass now. */
void ksm_engine_scan(KsmEngine *engine);
/* Give the guest all of its pages again. */
void ksm_engine_unmerge(KsmEngine *engine);
/* The guest advises this from now on, see ksm_guest_advise(). */
void ksm_engine_advise(KsmEngine *engine, const KsmAdvisedRange *ranges,
                       size_t n);
/* Someone else needs userfaultfd: disarm all until as many resumes. */
void ksm_engine_yield(KsmEngine *engine);
void ksm_engine_resume(KsmEngine *engine);
/*
 * Someone else is about to write-protect all memory by userfaultfd, until
 * ksm_engine_end_snapshot().  Nothing may be merged meanwhile, as the kernel
 * forgets the protection of what it merges: all marks are withdrawn, in slices.
 */
void ksm_engine_begin_snapshot(KsmEngine *engine);
void ksm_engine_end_snapshot(KsmEngine *engine);
/*
 * How far that is: *@done, else *@memory_low if it waits for memory.  False,
 * when it is done, if the kernel has refused to take marks back.
 */
bool ksm_engine_snapshot_ready(KsmEngine *engine, bool *done,
                               bool *memory_low);

#endif
