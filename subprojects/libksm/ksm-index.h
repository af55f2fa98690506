/*
 * The twin index: which pages of which client have the same digest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ksmtuned keeps one for each domain; an engine without ksmtuned keeps one of
 * its own pages.  Not thread-safe.
 *
 * An entry is 12 bytes: 48 bits of digest, a client and a page.  At most
 * KSM_INDEX_CANDIDATES entries of one digest are kept, so that flooding a
 * digest costs only its sender; a page beyond them still learns that it has a
 * twin, and is not told when the last one leaves.
 */
#ifndef KSM_INDEX_H
#define KSM_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KSM_INDEX_DIGEST_BITS   48
#define KSM_INDEX_CANDIDATES    8

typedef struct KsmIndex KsmIndex;

typedef struct KsmIndexRef {
    uint16_t client;
    uint32_t page;
} KsmIndexRef;

KsmIndex *ksm_index_new(void);
void ksm_index_free(KsmIndex *index);

/*
 * Add (@digest, @client, @page).  Adding what is there changes nothing.
 *
 * Returns how many other pages of @digest the index holds (0: no twin), and
 * stores one of them in @peer if there are any.  When it returns 1, @peer has
 * just gained its first twin and should be told.
 */
unsigned ksm_index_publish(KsmIndex *index, uint64_t digest, uint16_t client,
                           uint32_t page, KsmIndexRef *peer);

/*
 * Remove (@digest, @client, @page); removing what is not there changes nothing
 * and returns UINT_MAX.
 *
 * Else returns how many other pages of @digest remain, and stores one of them
 * in @peer if there are any.  When it returns 1, @peer has just lost its last
 * twin.
 */
unsigned ksm_index_withdraw(KsmIndex *index, uint64_t digest, uint16_t client,
                            uint32_t page, KsmIndexRef *peer);

/*
 * Have the processor bring what publishing or withdrawing @digest will read.
 * Of many, call it some ahead: else each waits for memory.  Changes nothing.
 */
void ksm_index_prefetch(const KsmIndex *index, uint64_t digest);

/* A page of another client lost its last twin. */
typedef void KsmIndexOrphan(uint64_t digest, KsmIndexRef ref, void *opaque);

/*
 * Remove @client's entries from a part of the index, which takes some ms where
 * the index holds tens of millions; calls @orphan (may be NULL) after each.
 * Begin with @part 0, go on with the next as long as it returns true.  Others
 * may publish and withdraw in between.
 */
bool ksm_index_withdraw_client(KsmIndex *index, uint16_t client, unsigned part,
                               KsmIndexOrphan *orphan, void *opaque);

uint64_t ksm_index_entries(const KsmIndex *index);
/* Digests of two pages or more: each would be one page, all merged. */
uint64_t ksm_index_shared(const KsmIndex *index);
/* Memory held, in bytes. */
size_t ksm_index_bytes(const KsmIndex *index);

#endif
