/*
 * Digests of pages, and the pages of each
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * XXH3 with 128 bits: among 2^40 different pages two have one digest with a
 * probability of 2^-49.  Nothing is merged because of it, so it has no secret:
 * a guest that makes pages for which it fails gets a wrong count.
 */
#include <stdlib.h>

#include "digests.h"
#include "host/memory.h"

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#if defined(__x86_64__) && __has_include("xxh_x86dispatch.h")
/* Renames XXH3_* to variants that choose by the CPU at run time. */
#include <xxh_x86dispatch.h>
#endif

/* Sorted one by one, so that this takes little memory. */
#define SHARDS  256

struct Digests {
    GArray *shards[SHARDS];     /* DigestPage */
};

G_STATIC_ASSERT(sizeof(DigestPage) == 32);

Digest digest_of(const void *data)
{
    XXH128_hash_t hash = XXH3_128bits(data, ksm_page_size());

    return (Digest) { hash.high64, hash.low64 };
}

Digests *digests_new(void)
{
    Digests *digests = g_new0(Digests, 1);
    unsigned i;

    for (i = 0; i < SHARDS; i++) {
        digests->shards[i] = g_array_new(false, false, sizeof(DigestPage));
    }
    return digests;
}

void digests_free(Digests *digests)
{
    unsigned i;

    for (i = 0; i < SHARDS; i++) {
        g_array_free(digests->shards[i], true);
    }
    g_free(digests);
}

static int digest_compare(Digest a, Digest b)
{
    return a.high != b.high ? (a.high > b.high) - (a.high < b.high) :
                              (a.low > b.low) - (a.low < b.low);
}

static int page_compare(const void *a, const void *b)
{
    const DigestPage *one = a, *other = b;
    int order = digest_compare(one->digest, other->digest);

    return order ? order : (one->frame > other->frame) -
                           (one->frame < other->frame);
}

void digests_add(Digests *digests, Digest digest, uint64_t frame,
                 unsigned mapping, uint64_t page)
{
    DigestPage added = { digest, frame, mapping, page };

    g_array_append_val(digests->shards[digest.low % SHARDS], added);
}

void digests_sort(Digests *digests)
{
    unsigned i;

    for (i = 0; i < SHARDS; i++) {
        GArray *shard = digests->shards[i];

        /* An empty one has no data: to sort that is undefined. */
        if (shard->len) {
            qsort(shard->data, shard->len, sizeof(DigestPage), page_compare);
        }
    }
}

static void shard_each(const GArray *shard, DigestsGroup *group, void *opaque)
{
    const DigestPage *page = (const DigestPage *)shard->data;
    const DigestPage *end = page + shard->len;

    while (page < end) {
        const DigestPage *first = page;

        while (page < end && !digest_compare(page->digest, first->digest)) {
            page++;
        }
        group(first, page - first, opaque);
    }
}

void digests_each(const Digests *digests, DigestsGroup *group, void *opaque)
{
    unsigned i;

    for (i = 0; i < SHARDS; i++) {
        shard_each(digests->shards[i], group, opaque);
    }
}
