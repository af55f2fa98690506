/*
 * What ksmtuned is told of the engine, for administrators
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef ACCEL_KSM_REPORT_H
#define ACCEL_KSM_REPORT_H

#include "state.h"

/* KsmState of query-ksm.  Lock. */
KsmState ksm_report_state(const KsmEngine *engine);
/* Memory that the engine holds, in bytes.  Lock. */
uint64_t ksm_report_metadata(const KsmEngine *engine);

/* A figure of /proc/self/ksm_stat; false on kernels without.  Any thread. */
bool ksm_report_process_stat(const char *name, int64_t *value);
/*
 * Pages that are merged on ksmfs, or KSM_REPORT_UNKNOWN if there is no memory
 * on it.  Lock.
 */
uint64_t ksm_report_ksmfs_sharing(const KsmEngine *engine);

/*
 * The engine rests, or may not work: tell ksmtuned, if it wants to know and the
 * last time was long enough ago.  The next run of the rendezvous sends it.
 * Lock.
 */
void ksm_report(KsmEngine *engine, int64_t now_ns);

#endif
