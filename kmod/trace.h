/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Trace events of ksmfs
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ksmfs

#if !defined(KSMFS_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define KSMFS_TRACE_H

#include <linux/tracepoint.h>

#include "slot.h"

TRACE_DEFINE_ENUM(KSMFS_BY_FAULT);
TRACE_DEFINE_ENUM(KSMFS_BY_WRITE);
TRACE_DEFINE_ENUM(KSMFS_BY_SPLIT);

/* A slot gets a folio of its own. */
TRACE_EVENT(ksmfs_break,
	TP_PROTO(const struct ksmfs_slot *slot, int why),
	TP_ARGS(slot, why),
	TP_STRUCT__entry(
		__field(unsigned long, ino)
		__field(pgoff_t, index)
		__field(int, why)
		__field(bool, hole)
		__field(bool, zero)
	),
	TP_fast_assign(
		__entry->ino = slot->ki->vfs_inode.i_ino;
		__entry->index = slot->index;
		__entry->why = why;
		__entry->hole = !slot->entry;
		__entry->zero = xa_is_value(slot->entry);
	),
	TP_printk("ino=%lu index=%lu why=%s was=%s", __entry->ino,
		  __entry->index,
		  __print_symbolic(__entry->why,
				   { KSMFS_BY_FAULT, "fault" },
				   { KSMFS_BY_WRITE, "write" },
				   { KSMFS_BY_SPLIT, "split" }),
		  __entry->hole ? "hole" : __entry->zero ? "zero" : "shared")
);

/* An entry of KSMFS_IOC_MERGE has its result. */
TRACE_EVENT(ksmfs_merge,
	TP_PROTO(struct ksmfs_inode *ki, const struct ksmfs_merge_entry *merge),
	TP_ARGS(ki, merge),
	TP_STRUCT__entry(
		__field(unsigned long, ino)
		__field(u64, index)
		__field(u64, digest)
		__field(u32, result)
	),
	TP_fast_assign(
		__entry->ino = ki->vfs_inode.i_ino;
		__entry->index = merge->index;
		__entry->digest = merge->digest;
		__entry->result = merge->result;
	),
	TP_printk("ino=%lu index=%llu digest=%016llx result=%s", __entry->ino,
		  __entry->index, __entry->digest,
		  __print_symbolic(__entry->result,
				   { KSMFS_MERGED, "merged" },
				   { KSMFS_ALREADY, "already" },
				   { KSMFS_INDEXED, "indexed" },
				   { KSMFS_CHANGED, "changed" },
				   { KSMFS_BUSY, "busy" },
				   { KSMFS_LIMIT, "limit" },
				   { KSMFS_ABSENT, "absent" }))
);

/* A run of written pages is reported, and watched again. */
TRACE_EVENT(ksmfs_collect,
	TP_PROTO(struct ksmfs_inode *ki, pgoff_t index, unsigned long n),
	TP_ARGS(ki, index, n),
	TP_STRUCT__entry(
		__field(unsigned long, ino)
		__field(pgoff_t, index)
		__field(unsigned long, n)
	),
	TP_fast_assign(
		__entry->ino = ki->vfs_inode.i_ino;
		__entry->index = index;
		__entry->n = n;
	),
	TP_printk("ino=%lu index=%lu n=%lu", __entry->ino, __entry->index,
		  __entry->n)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
