/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * ksmfs: files whose identical pages are merged, copy-on-write
 *
 * The only copy of this interface: the module, QEMU, the services and the
 * tests include it.
 */
#ifndef _UAPI_LINUX_KSMFS_H
#define _UAPI_LINUX_KSMFS_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * DOC: ioctls of a ksmfs file
 *
 * All are called on an open regular file of a ksmfs mount.  KSMFS_IOC_INFO and
 * KSMFS_IOC_STAT take any file descriptor but one of O_PATH; the others one
 * that is open for writing.
 *
 * The argument points to a structure that begins with its own size, by which
 * the kernel tells versions apart: fields are only ever added at the end, what
 * an older program does not have is taken as 0, and what a newer program has
 * must be 0 or the call fails with E2BIG.  Reserved fields and unknown flags
 * must be 0.  All numbers are in the byte order of the host, pointers are
 * 64-bit numbers, and 32-bit programs need no translation.
 *
 * Pages are named by their index in the file: offset divided by the page size
 * that KSMFS_IOC_INFO tells.  Ranges are half open.  A page beyond the end of
 * the file is absent, like a hole.
 *
 * Errors of all of them:
 *
 * ============  =============================================================
 * EBADF         the file is not open for writing, and has to be
 * EFAULT        a pointer can't be read or written.  What was done before
 *               stays done; the structure tells of it only if it was written
 * EINVAL        size is less than the first version's, a flag is unknown, a
 *               reserved field is not 0, a range ends before it starts
 * E2BIG         size is beyond what this kernel knows, and what it does not
 *               know is not 0; or beyond a page
 * EINTR         a signal came before anything was done.  Later it ends the
 *               call early and successfully; the structure says how far
 * ENOMEM        there was no memory for the call, and nothing was done
 * ENOTTY        no such ioctl, or not a regular file of ksmfs
 * ============  =============================================================
 *
 * Each ioctl's own errors are told with its structure.
 */

#define KSMFS_IOC_MAGIC		0xBC

/* What KSMFS_IOC_INFO calls the version of this interface. */
#define KSMFS_ABI		1

#define KSMFS_SEED_SIZE		32

/**
 * struct ksmfs_info - argument of KSMFS_IOC_INFO
 * @size: sizeof(struct ksmfs_info)
 * @abi: out: KSMFS_ABI
 * @features: out: none is defined yet
 * @page_size: out: bytes of a page
 * @reserved: out: 0
 * @seed: out: of the digests in this mount: random, the same for all files and
 *        as long as it is mounted.  Whoever merges must agree on how to digest
 *        a page; qemu-ksm takes XXH3 with a secret made of this seed.
 */
struct ksmfs_info {
	__u32 size;
	__u32 abi;
	__u64 features;
	__u32 page_size;
	__u32 reserved;
	__u8 seed[KSMFS_SEED_SIZE];
};

/**
 * struct ksmfs_range - pages of a file
 * @start: index of the first
 * @end: index behind the last
 */
struct ksmfs_range {
	__u64 start;
	__u64 end;
};

/*
 * Flags of struct ksmfs_collect, of which at most one may be set.
 *
 * KSMFS_COLLECT_RESTART: report nothing now, and all pages of the range as if
 * they never were, next time.  @ranges and @max are not used.
 *
 * KSMFS_COLLECT_PEEK: report, but don't watch again: it costs no write a fault,
 * and the same is reported next time.  For whoever wants to leave pages out
 * that are written all the time anyway.
 */
#define KSMFS_COLLECT_RESTART	(1U << 0)
#define KSMFS_COLLECT_PEEK	(1U << 1)

/**
 * struct ksmfs_collect - argument of KSMFS_IOC_COLLECT
 * @size: sizeof(struct ksmfs_collect)
 * @flags: 0, or KSMFS_COLLECT_*
 * @start: index of the first page to look at
 * @end: index behind the last; may be beyond the end of the file
 * @ranges: address of an array of struct ksmfs_range: out: pages that were
 *          written since they were last reported here, ascending
 * @max: elements of that array, at least 1
 * @count: out: elements that were stored
 * @next: out: index of the first page that was not looked at; @end if all was
 *
 * A page is reported when it was written, by whatever means, after it was last
 * reported, and so is each page that was never reported before.  What is
 * reported is watched from then on: its next write costs a fault.  If a page
 * can still be written without one, since someone holds a reference (direct
 * I/O into it, say), it is reported again next time.
 *
 * A file has one collector: the open file description that first asked, until
 * the last who has it, or a mapping made by it, lets it go.  Others get EBUSY.
 *
 * Also: EINVAL if @max is 0.
 */
struct ksmfs_collect {
	__u32 size;
	__u32 flags;
	__u64 start;
	__u64 end;
	__u64 ranges;
	__u32 max;
	__u32 count;
	__u64 next;
};

/**
 * enum ksmfs_result - what became of a page that was to be merged
 * @KSMFS_MERGED: it shares a page, or is a merged zero page, now
 * @KSMFS_ALREADY: it did before
 * @KSMFS_INDEXED: no twin is known yet; it will be found as one
 * @KSMFS_CHANGED: it does not have the contents of others with this digest, and
 *                 was written since it was last collected; or while it was
 *                 being merged.  Digest it again
 * @KSMFS_BUSY: it, or its twin, is being written, pinned or faulted in; try
 *              again later.  Or it has a memory error
 * @KSMFS_LIMIT: max_kernel_pages pages are shared already, or as many different
 *               pages of this digest are known as are kept
 * @KSMFS_ABSENT: a hole, or beyond the end of the file
 */
enum ksmfs_result {
	KSMFS_MERGED = 1,
	KSMFS_ALREADY,
	KSMFS_INDEXED,
	KSMFS_CHANGED,
	KSMFS_BUSY,
	KSMFS_LIMIT,
	KSMFS_ABSENT,
};

/**
 * struct ksmfs_merge_entry - a page that may have a twin
 * @index: of the page
 * @digest: of its contents.  A wrong one costs a merge, never data
 * @result: out: one of enum ksmfs_result
 * @reserved: must be 0
 */
struct ksmfs_merge_entry {
	__u64 index;
	__u64 digest;
	__u32 result;
	__u32 reserved;
};

/**
 * struct ksmfs_merge - argument of KSMFS_IOC_MERGE
 * @size: sizeof(struct ksmfs_merge)
 * @flags: must be 0
 * @entries: address of an array of struct ksmfs_merge_entry
 * @count: elements of that array
 * @done: out: elements from the first on whose result was stored
 *
 * Pages are compared byte by byte with those of the same digest anywhere in
 * the mount, and merged if they are alike.  Neighbouring pages in neighbouring
 * entries cost the least.
 *
 * Also: EINVAL if an entry's reserved field is not 0.
 */
struct ksmfs_merge {
	__u32 size;
	__u32 flags;
	__u64 entries;
	__u32 count;
	__u32 done;
};

/**
 * struct ksmfs_split - argument of KSMFS_IOC_SPLIT
 * @size: sizeof(struct ksmfs_split)
 * @flags: must be 0
 * @start: index of the first page to look at
 * @end: index behind the last; may be beyond the end of the file
 * @max: split at most so many pages, at least 1
 * @next: out: index of the first page that was not looked at; @end if all was
 * @count: out: pages that were split
 *
 * Gives each page of the range that shares one, or is a merged zero page, a
 * page of its own.  And those for which KSMFS_IOC_MERGE found no twin are not
 * found as one any more: no page of the range is merged before it is passed to
 * that again.  A page with a memory error stays as it is.
 *
 * Also: EINVAL if @max is 0; ENOMEM, or ENOSPC with mount option overcommit, if
 * there is no page to be had for the page at @start.
 */
struct ksmfs_split {
	__u32 size;
	__u32 flags;
	__u64 start;
	__u64 end;
	__u64 max;
	__u64 next;
	__u64 count;
};

/**
 * struct ksmfs_stat - argument of KSMFS_IOC_STAT
 * @size: sizeof(struct ksmfs_stat)
 * @flags: must be 0
 * @pages_private: out: pages of the file that are its own
 * @pages_sharing: out: pages that share one with other pages, of any file
 * @pages_zero: out: merged zero pages
 * @merges: out: pages of this file that were merged, ever
 * @cow_breaks: out: merged pages of this file that got a page of their own
 *              again because they were written, ever
 */
struct ksmfs_stat {
	__u32 size;
	__u32 flags;
	__u64 pages_private;
	__u64 pages_sharing;
	__u64 pages_zero;
	__u64 merges;
	__u64 cow_breaks;
};

#define KSMFS_IOC_INFO		_IO(KSMFS_IOC_MAGIC, 0)
#define KSMFS_IOC_COLLECT	_IO(KSMFS_IOC_MAGIC, 1)
#define KSMFS_IOC_MERGE		_IO(KSMFS_IOC_MAGIC, 2)
#define KSMFS_IOC_SPLIT		_IO(KSMFS_IOC_MAGIC, 3)
#define KSMFS_IOC_STAT		_IO(KSMFS_IOC_MAGIC, 4)

#endif /* _UAPI_LINUX_KSMFS_H */
