/*
 * Digests of pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef ACCEL_KSM_HASHER_H
#define ACCEL_KSM_HASHER_H

#include "page.h"

/* Bytes of a seed: that of the rendezvous, or random. */
#define KSM_SEED_SIZE 32
/* Bytes of an XXH3 secret (XXH3_SECRET_DEFAULT_SIZE). */
#define KSM_SECRET_SIZE 192

typedef struct KsmHasher {
    uint8_t seed[KSM_SEED_SIZE];
    uint8_t secret[KSM_SECRET_SIZE];
    uint64_t zero_digest;   /* of a host page of zeros */
} KsmHasher;

typedef enum KsmHashResult {
    KSM_HASH_OK,
    KSM_HASH_ZERO,          /* all bytes are 0; no digest */
    KSM_HASH_POISONED,      /* reading it raised SIGBUS; no digest */
} KsmHashResult;

/* Digests made with different seeds have nothing to do with each other. */
void ksm_hasher_seed(KsmHasher *hasher, const uint8_t seed[KSM_SEED_SIZE]);
bool ksm_hasher_has_seed(const KsmHasher *hasher,
                         const uint8_t seed[KSM_SEED_SIZE]);

/*
 * Let ksm_hasher_page() survive a memory error.  install() and remove() are
 * counted; call them with the BQL held.  prepare_thread() is called once in
 * each thread that hashes.
 */
void ksm_hasher_install_sigbus(void);
void ksm_hasher_remove_sigbus(void);
void ksm_hasher_prepare_thread(void);

/*
 * Hash the host page of @size bytes at @page: XXH3-128 (libxxhash) with the
 * hasher's secret, cut to KSM_INDEX_DIGEST_BITS.
 *
 * The page must be resident, or reading it brings it in.
 */
KsmHashResult ksm_hasher_page(const KsmHasher *hasher, const void *page,
                              size_t size, uint64_t *digest);

#endif
