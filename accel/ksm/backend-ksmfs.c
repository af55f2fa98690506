/*
 * Merge backend: the companion kernel module ksmfs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Guest RAM is a file of ksmfs, mapped shared.  The module knows which of its
 * pages were written, finds their twins in all files of the mount, and merges
 * each page, or says why not, before the ioctl returns.  So nothing is marked,
 * and no ksmtuned is needed.  linux/ksmfs.h is the definition.
 *
 * Digests are made with the seed of the mount, which all engines on it have.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "backend.h"
#include "trace.h"

#include <linux/ksmfs.h>
#include <sys/ioctl.h>

typedef struct KsmfsFile {
    int fd;                 /* of the RAMBlock */
    uint64_t first;         /* the file's index of page 0 */
    uint64_t results[KSMFS_ABSENT + 1];
    KsmHasher hasher;
} KsmfsFile;

static bool get_info(const KsmBlock *block, struct ksmfs_info *info)
{
    uint64_t offset;
    int fd = ksm_block_shared_fd(block, &offset);

    *info = (struct ksmfs_info) { .size = sizeof(*info) };
    return fd >= 0 && QEMU_IS_ALIGNED(offset, qemu_real_host_page_size()) &&
           ioctl(fd, KSMFS_IOC_INFO, info) == 0 && info->abi == KSMFS_ABI &&
           info->page_size == qemu_real_host_page_size();
}

static bool ksmfs_probe(KsmBlock *block)
{
    struct ksmfs_info info;

    if (get_info(block, &info)) {
        return true;
    }
    /* What else it is would be told by backends for that. */
    block->reason = ksm_block_is_private(block) ? KSM_INELIGIBLE_NOT_KSMFS
                                                : block->reason;
    return false;
}

static void ksmfs_attach(KsmBlock *block)
{
    KsmfsFile *file = g_new0(KsmfsFile, 1);
    struct ksmfs_collect restart = {
        .size = sizeof(restart),
        .flags = KSMFS_COLLECT_RESTART,
        .end = UINT64_MAX,
    };
    struct ksmfs_info info;
    uint64_t offset;

    QEMU_BUILD_BUG_ON(KSMFS_SEED_SIZE != KSM_SEED_SIZE);
    file->fd = ksm_block_shared_fd(block, &offset);
    file->first = offset / qemu_real_host_page_size();
    if (get_info(block, &info)) {
        ksm_hasher_seed(&file->hasher, info.seed);
    }
    /* Whoever had the file before us knows pages that we don't. */
    ioctl(file->fd, KSMFS_IOC_COLLECT, &restart);
    block->attached = file;
    block->hasher = &file->hasher;
}

static void ksmfs_detach(KsmBlock *block)
{
    g_clear_pointer(&block->attached, g_free);
    block->hasher = NULL;
}

static int collect(KsmBlock *block, size_t first, size_t last, uint32_t flags,
                   struct ksmfs_range found[KSM_TRACKER_RANGES],
                   size_t *next)
{
    const KsmfsFile *file = block->attached;
    struct ksmfs_collect collect = {
        .size = sizeof(collect),
        .flags = flags,
        .start = file->first + first,
        .end = file->first + last,
        .ranges = (uintptr_t)found,
        .max = KSM_TRACKER_RANGES,
    };
    int ret = ioctl(file->fd, KSMFS_IOC_COLLECT, &collect) ? -errno
                                                           : collect.count;

    trace_ksm_ksmfs_collect(ksm_block_page_host(block, first), last - first,
                            flags, ret);
    *next = ret < 0 ? first : collect.next - file->first;
    return ret;
}

static int ksmfs_written(KsmBlock *block, size_t first, size_t last,
                         KsmPageRange ranges[KSM_TRACKER_RANGES],
                         uint64_t *next)
{
    const KsmfsFile *file = block->attached;
    struct ksmfs_range found[KSM_TRACKER_RANGES];
    size_t next_page;
    int n = collect(block, first, last, KSMFS_COLLECT_PEEK, found, &next_page);

    for (int i = 0; i < n; i++) {
        ranges[i] = (KsmPageRange) {
            .start = (uintptr_t)ksm_block_page_host(block, found[i].start -
                                                           file->first),
            .end = (uintptr_t)ksm_block_page_host(block, found[i].end -
                                                         file->first),
        };
    }
    *next = (uintptr_t)ksm_block_page_host(block, next_page);
    return n;
}

static int ksmfs_rearm(KsmBlock *block, size_t first, size_t last)
{
    struct ksmfs_range found[KSM_TRACKER_RANGES];
    int n = 0;

    while (first < last && n >= 0) {
        n = collect(block, first, last, 0, found, &first);
    }
    return MIN(n, 0);
}

/* What the record of a page says of the @result of its merge. */
static void note_result(KsmBlock *block, size_t page, uint32_t result)
{
    KsmPage record = block->pages[page];

    switch (result) {
    case KSMFS_MERGED:
    case KSMFS_ALREADY:
        record |= KSM_PAGE_TWIN;
        break;
    case KSMFS_CHANGED:
        /* It is reported as written, or was hashed in mid-write. */
        record = ksm_page_set_age(record, 0) | KSM_PAGE_WRITTEN;
        record &= ~KSM_PAGE_SUBMITTED;
        block->regions[ksm_block_region_of(block, page)].pending = true;
        break;
    case KSMFS_BUSY:
        record = ksm_page_set_age(record, KSM_PAGE_AGE_MAX) | KSM_PAGE_WRITTEN;
        record &= ~KSM_PAGE_SUBMITTED;
        block->regions[ksm_block_region_of(block, page)].pending = true;
        break;
    case KSMFS_LIMIT:
        /* The reader comes back to it. */
        record &= ~KSM_PAGE_SUBMITTED;
        break;
    case KSMFS_ABSENT:
        record = 0;
        break;
    default:
        break;
    }
    ksm_block_set_page(block, page, record);
}

static bool ksmfs_submit(KsmTwins *twins, KsmBlock *block,
                         const KsmCandidate *candidates, size_t n)
{
    KsmfsFile *file = block->attached;
    KSM_UNINITIALIZED struct ksmfs_merge_entry entries[KSM_REGION_MAX_PAGES];
    struct ksmfs_merge merge = {
        .size = sizeof(merge),
        .entries = (uintptr_t)entries,
        .count = n,
    };
    int ret;

    assert(n <= ARRAY_SIZE(entries));
    for (size_t i = 0; i < n; i++) {
        entries[i] = (struct ksmfs_merge_entry) {
            .index = file->first + candidates[i].page,
            .digest = candidates[i].digest,
        };
    }
    ret = ioctl(file->fd, KSMFS_IOC_MERGE, &merge) ? -errno : 0;
    trace_ksm_ksmfs_merge(block->host, n, merge.done, ret);
    for (size_t i = 0; i < n; i++) {
        uint32_t result = entries[i].result;

        if (result && result <= KSMFS_ABSENT) {
            file->results[result]++;
        } else {
            /* A signal came first, or it was refused. */
            result = ret == 0 || ret == -EINTR ? KSMFS_BUSY : KSMFS_LIMIT;
        }
        note_result(block, candidates[i].page, result);
    }
    errno = -ret;
    return ret == 0 || ret == -EINTR;
}

static bool ksmfs_split(KsmBlock *block, size_t first, size_t last)
{
    uint64_t offset;
    int fd = ksm_block_shared_fd(block, &offset);
    uint64_t file_first = offset / qemu_real_host_page_size();
    struct ksmfs_split split = {
        .size = sizeof(split),
        .start = file_first + first,
        .end = file_first + last,
        .max = last - first,
    };
    int ret = 0;

    while (split.start < split.end && ret == 0) {
        if (ioctl(fd, KSMFS_IOC_SPLIT, &split) == 0) {
            split.start = split.next;
        } else if (errno != EINTR) {
            ret = -errno;
        }
    }
    trace_ksm_ksmfs_split(ksm_block_page_host(block, first), last - first, ret);
    errno = -ret;
    return ret == 0;
}

static void ksmfs_query(const KsmBlock *block, KsmRAMBlockInfo *info)
{
    const KsmfsFile *file = block->attached;
    struct ksmfs_stat stat = { .size = sizeof(stat) };

    if (ioctl(file->fd, KSMFS_IOC_STAT, &stat) == 0) {
        info->has_pages_sharing = true;
        info->pages_sharing = stat.pages_sharing + stat.pages_zero;
    }
    info->merge_results = g_new(KsmMergeResults, 1);
    *info->merge_results = (KsmMergeResults) {
        .merged = file->results[KSMFS_MERGED],
        .already = file->results[KSMFS_ALREADY],
        .indexed = file->results[KSMFS_INDEXED],
        .changed = file->results[KSMFS_CHANGED],
        .busy = file->results[KSMFS_BUSY],
        .limit = file->results[KSMFS_LIMIT],
        .absent = file->results[KSMFS_ABSENT],
    };
}

static const KsmBackend ksmfs_backend = {
    .type = KSM_BACKEND_TYPE_KSMFS,
    .preference = 2,
    .probe = ksmfs_probe,
    .attach = ksmfs_attach,
    .detach = ksmfs_detach,
    .written = ksmfs_written,
    .rearm = ksmfs_rearm,
    .submit = ksmfs_submit,
    .split = ksmfs_split,
    .query = ksmfs_query,
};

static void ksmfs_register(void)
{
    ksm_backend_register(&ksmfs_backend);
}

type_init(ksmfs_register)
