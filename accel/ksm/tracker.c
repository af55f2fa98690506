/*
 * Which resident pages were written since they were last asked for
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/userfaultfd.h"
#include "tracker.h"
#include "trace.h"

#include <sys/ioctl.h>

/* Linux 6.7; the build may run with older headers. */
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC           (1 << 15)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED     (1 << 13)
#endif

bool ksm_tracker_open(KsmTracker *tracker, const KsmPagemap *pagemap,
                      Error **errp)
{
    struct uffdio_api api = {
        .api = UFFD_API,
        .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
    };

    tracker->pagemap = pagemap;
    tracker->uffd = -1;
    if (!pagemap->has_scan) {
        error_setg(errp, "ksm: the kernel has no PAGEMAP_SCAN: use Linux 6.7"
                   " or newer to read only memory that was written");
        return false;
    }
    /*
     * No fault is ever delivered in asynchronous mode, so that the writes of
     * the kernel itself are tracked too, and no privilege is needed.
     */
    tracker->uffd = uffd_open(O_CLOEXEC | UFFD_USER_MODE_ONLY);
    if (tracker->uffd < 0) {
        error_setg_errno(errp, errno, "ksm: can't open a userfaultfd: permit"
                         " it to read only memory that was written");
        tracker->uffd = -1;
        return false;
    }
    if (ioctl(tracker->uffd, UFFDIO_API, &api)) {
        error_setg_errno(errp, errno, "ksm: the kernel's userfaultfd has no"
                         " asynchronous write protection: use Linux 6.7 or"
                         " newer to read only memory that was written");
        close(tracker->uffd);
        tracker->uffd = -1;
        return false;
    }
    return true;
}

void ksm_tracker_close(KsmTracker *tracker)
{
    if (tracker->uffd >= 0) {
        close(tracker->uffd);
        tracker->uffd = -1;
    }
}

int ksm_tracker_arm(KsmTracker *tracker, void *host, size_t size)
{
    struct uffdio_register reg = {
        .range = { .start = (uintptr_t)host, .len = size },
        .mode = UFFDIO_REGISTER_MODE_WP,
    };
    int ret;

    if (ioctl(tracker->uffd, UFFDIO_REGISTER, &reg)) {
        ret = -errno;
    } else {
        ret = ksm_pagemap_arm(tracker->pagemap, (uintptr_t)host,
                              (uintptr_t)host + size);
        if (ret < 0) {
            ksm_tracker_disarm(tracker, host, size);
        }
    }
    trace_ksm_tracker_arm(host, size, ret);
    return ret;
}

int ksm_tracker_disarm(KsmTracker *tracker, void *host, size_t size)
{
    struct uffdio_range range = { .start = (uintptr_t)host, .len = size };
    int ret = ioctl(tracker->uffd, UFFDIO_UNREGISTER, &range) ? -errno : 0;

    trace_ksm_tracker_disarm(host, size, ret);
    return ret;
}

int ksm_tracker_written(KsmTracker *tracker, uint64_t start, uint64_t end,
                        KsmPageRange ranges[KSM_TRACKER_RANGES],
                        uint64_t *next)
{
    /*
     * The scan must not arm what it walks over: that notifies KVM of all of
     * it, and an idle guest would fault its whole memory in again after each
     * pass.
     */
    int n = ksm_pagemap_written(tracker->pagemap, start, end, ranges,
                                KSM_TRACKER_RANGES, next);

    trace_ksm_tracker_written(start, end, n);
    return n;
}

int ksm_tracker_rearm(KsmTracker *tracker, uint64_t start, uint64_t end)
{
    int ret = ksm_pagemap_arm(tracker->pagemap, start, end);

    trace_ksm_tracker_rearm(start, end, ret);
    return ret;
}
