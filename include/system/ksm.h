/*
 * Memory merging: what the rest of QEMU calls
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * See docs/devel/ksm.rst.  Without a ksm object nothing here changes what QEMU
 * does.
 */
#ifndef SYSTEM_KSM_H
#define SYSTEM_KSM_H

/*
 * Guest RAM [@host, @host + @size) may be merged (@merge), or not.  Without a
 * ksm object this is MADV_MERGEABLE or MADV_UNMERGEABLE; with one, the object
 * marks only what has a twin, and only the latter is advised at once.
 *
 * Returns what qemu_madvise() does.  BQL.
 */
int ksm_ram_madvise(void *host, size_t size, bool merge);

/*
 * The caller needs userfaultfd on guest RAM, where there can be only one:
 * yield() returns when the ksm object has none; it takes none until resume()
 * was called as often.  Any thread.
 */
void ksm_tracker_yield(void);
void ksm_tracker_resume(void);

/*
 * All guest RAM is about to be write-protected by userfaultfd, which the kernel
 * forgets of pages that it merges.  begin() returns when nothing can be merged
 * any more, which takes memory for what was, or is bound to fail.  ready() then
 * says which; if it returns false, the reason was reported.  end() as often as
 * you like.  In any thread, begin() without BQL.
 */
void ksm_snapshot_begin(void);
bool ksm_snapshot_ready(void);
void ksm_snapshot_end(void);

#endif
