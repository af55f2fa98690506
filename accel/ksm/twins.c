/*
 * Who else has this page: ksmtuned's twin index, or one of our own
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "twins.h"
#include "trace.h"

void ksm_twins_init(KsmTwins *twins, KsmBlockList *blocks)
{
    twins->blocks = blocks;
    twins->own = ksm_index_new();
}

void ksm_twins_cleanup(KsmTwins *twins)
{
    ksm_index_free(twins->own);
    twins->own = NULL;
}

void ksm_twins_use_own(KsmTwins *twins, bool own)
{
    KsmBlock *block;

    ksm_index_free(twins->own);
    twins->own = own ? ksm_index_new() : NULL;
    QTAILQ_FOREACH(block, twins->blocks, next) {
        if (block->hasher) {
            /* Another index knows its digests. */
            continue;
        }
        for (size_t r = 0; r < block->n_regions; r++) {
            block->regions[r].resubmit = true;
        }
    }
}

bool ksm_twins_answer(KsmTwins *twins, uint32_t number, uint64_t digest,
                      bool twin)
{
    KsmBlock *block;

    QTAILQ_FOREACH(block, twins->blocks, next) {
        size_t page = number - block->first;
        KsmPage old, now;

        if (number < block->first || page >= block->n_pages) {
            continue;
        }
        old = block->pages[page];
        /* The page may have changed since it was submitted. */
        if (!(old & KSM_PAGE_SUBMITTED) || (old & KSM_PAGE_DIGEST) != digest) {
            return false;
        }
        now = twin ? old | KSM_PAGE_TWIN : old & ~KSM_PAGE_TWIN;
        if (now == old) {
            return false;
        }
        if (twin && (old & KSM_PAGE_REUSED)) {
            now &= ~KSM_PAGE_REUSED;
            twins->again++;
        }
        ksm_block_set_page(block, page, now);
        block->regions[ksm_block_region_of(block, page)].answered = true;
        return true;
    }
    return false;
}

bool ksm_twins_submit(KsmTwins *twins, KsmBlock *block,
                      const KsmCandidate *candidates, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t number = block->first + candidates[i].page;
        uint64_t digest = candidates[i].digest;
        KsmIndexRef peer;
        unsigned others;

        if (!twins->own) {
            ksm_rendezvous_publish(&twins->rendezvous, number, digest);
            continue;
        }
        others = ksm_index_publish(twins->own, digest, 0, number, &peer);
        if (others) {
            ksm_twins_answer(twins, number, digest, true);
        }
        if (others == 1) {
            ksm_twins_answer(twins, peer.page, digest, true);
        }
    }
    trace_ksm_twins_submit(block->host, n, !twins->own);
    return true;
}

void ksm_twins_withdraw(KsmTwins *twins, KsmBlock *block, size_t page,
                        uint64_t digest)
{
    uint32_t number = block->first + page;
    KsmIndexRef peer;

    if (!twins->own) {
        ksm_rendezvous_withdraw(&twins->rendezvous, number, digest);
    } else if (ksm_index_withdraw(twins->own, digest, 0, number, &peer) == 1) {
        ksm_twins_answer(twins, peer.page, digest, false);
    }
}
