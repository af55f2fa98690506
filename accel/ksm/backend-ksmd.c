/*
 * Merge backend: the kernel's samepage merging
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ksmd reads all memory that is marked MADV_MERGEABLE, so little but pages that
 * have a twin is marked.  See Documentation/admin-guide/mm/ksm.rst in the
 * kernel's source.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/madvise.h"
#include "qemu/module.h"
#include "backend.h"
#include "trace.h"

static bool ksmd_probe(KsmBlock *block)
{
    return ksm_block_is_private(block);
}

static bool ksmd_available(Error **errp)
{
    if (access("/sys/kernel/mm/ksm/run", F_OK)) {
        error_setg(errp, "ksm: the kernel has no samepage merging"
                   " (/sys/kernel/mm/ksm is missing): use a kernel with"
                   " CONFIG_KSM, or backend=null to only count");
        return false;
    }
    return true;
}

static bool ksmd_advise(uint8_t *host, size_t size, int advice)
{
    int ret;

    do {
        ret = qemu_madvise(host, size, advice) ? -errno : 0;
    } while (ret == -EINTR);
    trace_ksm_ksmd_advise(host, size, advice == QEMU_MADV_MERGEABLE, ret);
    errno = -ret;
    return ret == 0;
}

static bool ksmd_merge(KsmBlock *block, size_t first, size_t last)
{
    uint8_t *host = ksm_block_page_host(block, first);

    return ksmd_advise(host, ksm_block_page_host(block, last) - host,
                       QEMU_MADV_MERGEABLE);
}

bool ksm_backend_unmark(uint8_t *host, size_t size)
{
    /* A kernel without KSM knows no such advice, and has nothing merged. */
    return ksmd_advise(host, size, QEMU_MADV_UNMERGEABLE) || errno == EINVAL;
}

static bool ksmd_unmerge(KsmBlock *block, size_t first, size_t last)
{
    uint8_t *host = ksm_block_page_host(block, first);

    return ksm_backend_unmark(host, ksm_block_page_host(block, last) - host);
}

static const KsmBackend ksmd_backend = {
    .type = KSM_BACKEND_TYPE_KSMD,
    .preference = 1,
    .probe = ksmd_probe,
    .available = ksmd_available,
    .submit = ksm_twins_submit,
    .withdraw = ksm_twins_withdraw,
    .merge = ksmd_merge,
    .unmerge = ksmd_unmerge,
};

static void ksmd_register(void)
{
    ksm_backend_register(&ksmd_backend);
}

type_init(ksmd_register)
