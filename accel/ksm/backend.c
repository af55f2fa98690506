/*
 * Merge backends: the list of them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "backend.h"

static const KsmBackend *backends[KSM_BACKEND_TYPE__MAX];

void ksm_backend_register(const KsmBackend *backend)
{
    assert(!backends[backend->type]);
    backends[backend->type] = backend;
}

const KsmBackend *ksm_backend_find(KsmBackendType type, KsmBlock *block)
{
    const KsmBackend *best = NULL;

    if (type != KSM_BACKEND_TYPE_AUTO) {
        const KsmBackend *backend = backends[type];

        return backend && backend->probe(block) ? backend : NULL;
    }
    for (int i = 0; i < KSM_BACKEND_TYPE__MAX; i++) {
        const KsmBackend *backend = backends[i];

        if (backend && backend->preference > (best ? best->preference : 0) &&
            backend->probe(block)) {
            best = backend;
        }
    }
    return best;
}

void ksm_backend_attach(KsmBlock *block)
{
    if (block->backend->attach) {
        block->backend->attach(block);
    }
}

void ksm_backend_detach(KsmBlock *block)
{
    if (block->backend->detach) {
        block->backend->detach(block);
    }
}

void ksm_backend_withdraw(KsmTwins *twins, KsmBlock *block, size_t page)
{
    KsmPage record = block->pages[page];

    if ((record & KSM_PAGE_SUBMITTED) && block->backend->withdraw) {
        block->backend->withdraw(twins, block, page,
                                 record & KSM_PAGE_DIGEST);
    }
}

bool ksm_backend_available(KsmBackendType type, Error **errp)
{
    const KsmBackend *best = backends[type];

    for (int i = 0; type == KSM_BACKEND_TYPE_AUTO &&
                    i < KSM_BACKEND_TYPE__MAX; i++) {
        if (backends[i] && backends[i]->available &&
            (!best || backends[i]->preference > best->preference)) {
            best = backends[i];
        }
    }
    return !best->available || best->available(errp);
}
