/*
 * The twin index: which pages of which client have the same digest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Theory of operation
 *
 * Digests come from senders that may choose them.  A keyed bijection of 48
 * bits (a Feistel network with a random key an index) turns each into a mixed
 * digest whose place nobody outside can predict; only mixed digests are
 * stored, and the one caller who needs the digest again inverts it.  The top
 * KSM_SHARD_BITS bits of a mixed digest name its shard, the others are the
 * entry's key.
 *
 * A shard is an open-addressed table that never wraps round.  The home of a
 * key grows with the key (home = key * homes / 2^42), and linear probing keeps
 * entries in the order of their keys: a shard is a sorted array with gaps.
 * It follows that
 *  - a search ends at the first greater key, hit or miss, after about
 *    1 / (2 * (1 - load)) steps from home, i.e. 5 at the highest load;
 *  - the pages of one digest lie side by side;
 *  - resizing a shard moves its entries once, from start to end.
 *
 * Entries that are pushed beyond the last home go into a few slots of slack;
 * the last slot is always empty and ends every scan.
 *
 * Shards grow by 1/8, and their smallest sizes differ, so that they don't all
 * grow at the same time and the average slot count is half a step above need.
 */
#include <glib.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>

#include "ksm-index.h"

#define KSM_SHARD_BITS          6
#define KSM_SHARDS              (1u << KSM_SHARD_BITS)
#define KSM_KEY_BITS            (KSM_INDEX_DIGEST_BITS - KSM_SHARD_BITS)
/* The bit above the key marks a slot in use: an empty slot is all zero. */
#define KSM_SLOT_USED           (UINT64_C(1) << KSM_KEY_BITS)

/* A shard grows above 0.9 entries a home, */
#define KSM_GROW_NUM            9
#define KSM_GROW_DEN            10
/* to 9/8 of its homes, */
#define KSM_STEP_DEN            8
/* and shrinks below 0.6, to 0.8. */
#define KSM_SHRINK_NUM          6
#define KSM_SHRINK_DEN          10

#define KSM_HOMES_MIN           64u
/* A test makes the slack small, to see it used up. */
#ifndef KSM_SLACK_MAX
#define KSM_SLACK_MIN           32u
#define KSM_SLACK_MAX           256u
#endif

#define CACHE_LINE              64

#define KSM_MIX_ROUNDS          4
#define KSM_MIX_HALF_BITS       (KSM_INDEX_DIGEST_BITS / 2)
#define KSM_MIX_HALF_MASK       ((1u << KSM_MIX_HALF_BITS) - 1)

typedef struct KsmSlot {
    uint32_t key_high;          /* KSM_SLOT_USED and the key's upper bits */
    uint16_t key_low;
    uint16_t client;
    uint32_t page;
} KsmSlot;

G_STATIC_ASSERT(sizeof(KsmSlot) == 12);
G_STATIC_ASSERT(KSM_KEY_BITS + 1 <= 48);

typedef struct KsmShard {
    KsmSlot *slots;
    uint32_t homes;
    uint32_t capacity;          /* slots: homes and slack */
    uint32_t used;
    uint32_t homes_min;
} KsmShard;

typedef struct KsmMixKey {
    uint64_t add;
    uint64_t multiply[2];       /* odd */
} KsmMixKey;

struct KsmIndex {
    KsmMixKey mix[KSM_MIX_ROUNDS];
    uint64_t entries;
    uint64_t shared;            /* digests that have two entries or more */
    size_t slots_bytes;
    KsmShard shards[KSM_SHARDS];
};

/* Keyed mixing */

static void ksm_mix_init(KsmMixKey *mix)
{
    size_t size = KSM_MIX_ROUNDS * sizeof(*mix);
    unsigned i;

    if (getrandom(mix, size, 0) != (ssize_t)size) {
        /* A sandbox may forbid it; GLib's generator is seeded elsewhere. */
        uint32_t *word = (uint32_t *)mix;

        for (i = 0; i < size / sizeof(*word); i++) {
            word[i] = g_random_int();
        }
    }
    for (i = 0; i < KSM_MIX_ROUNDS; i++) {
        mix[i].multiply[0] |= 1;
        mix[i].multiply[1] |= 1;
    }
}

static inline uint32_t ksm_mix_round(const KsmMixKey *mix, uint32_t half)
{
    uint64_t x = (half + mix->add) * mix->multiply[0];

    x ^= x >> 32;
    x *= mix->multiply[1];
    return x >> (64 - KSM_MIX_HALF_BITS);
}

static uint64_t ksm_mix(const KsmIndex *index, uint64_t digest)
{
    uint32_t left = (digest >> KSM_MIX_HALF_BITS) & KSM_MIX_HALF_MASK;
    uint32_t right = digest & KSM_MIX_HALF_MASK;
    unsigned i;

    for (i = 0; i < KSM_MIX_ROUNDS; i += 2) {
        left ^= ksm_mix_round(&index->mix[i], right);
        right ^= ksm_mix_round(&index->mix[i + 1], left);
    }
    return ((uint64_t)left << KSM_MIX_HALF_BITS) | right;
}

static uint64_t ksm_unmix(const KsmIndex *index, uint64_t mixed)
{
    uint32_t left = mixed >> KSM_MIX_HALF_BITS;
    uint32_t right = mixed & KSM_MIX_HALF_MASK;
    unsigned i;

    for (i = KSM_MIX_ROUNDS; i > 0; i -= 2) {
        right ^= ksm_mix_round(&index->mix[i - 1], left);
        left ^= ksm_mix_round(&index->mix[i - 2], right);
    }
    return ((uint64_t)left << KSM_MIX_HALF_BITS) | right;
}

/* Slots; a slot's key includes KSM_SLOT_USED and is 0 when it is empty */

static inline uint64_t ksm_slot_key(const KsmSlot *slot)
{
    return ((uint64_t)slot->key_high << 16) | slot->key_low;
}

static inline KsmSlot ksm_slot_make(uint64_t key, uint16_t client,
                                    uint32_t page)
{
    KsmSlot slot = {
        .key_high = key >> 16,
        .key_low = key & 0xffff,
        .client = client,
        .page = page,
    };

    return slot;
}

static inline uint32_t ksm_shard_home(const KsmShard *shard, uint64_t key)
{
    uint32_t top = (key & (KSM_SLOT_USED - 1)) >> (KSM_KEY_BITS - 32);

    return ((uint64_t)top * shard->homes) >> 32;
}

/* The first slot whose key isn't below @key and that @key may take. */
static inline uint32_t ksm_shard_find(const KsmShard *shard, uint64_t key)
{
    uint32_t i = ksm_shard_home(shard, key);

    for (;;) {
        uint64_t found = ksm_slot_key(&shard->slots[i]);

        if (!found || found >= key) {
            return i;
        }
        i++;
    }
}

/* Resizing */

static uint32_t ksm_homes_capacity(uint32_t homes)
{
    /* One more slot stays empty to end scans. */
    return homes + CLAMP(homes / 16, KSM_SLACK_MIN, KSM_SLACK_MAX) + 1;
}

/*
 * Put the entries of @shard into @slots, which are all empty, in order.  False
 * if the slack is too small for those of the highest keys.
 */
static bool ksm_shard_spread(const KsmShard *shard, KsmSlot *slots,
                             uint32_t homes)
{
    const KsmShard wider = { .homes = homes };
    const uint32_t end = ksm_homes_capacity(homes) - 1;
    uint32_t left = shard->used;
    uint32_t to = 0;

    for (const KsmSlot *slot = shard->slots; left; slot++) {
        uint64_t key = ksm_slot_key(slot);

        if (!key) {
            continue;
        }
        to = MAX(ksm_shard_home(&wider, key), to);
        if (to == end) {
            return false;
        }
        slots[to++] = *slot;
        left--;
    }
    return true;
}

/* Give the shard @homes, or more if its slack would not do. */
static void ksm_shard_resize(KsmIndex *index, KsmShard *shard, uint32_t homes)
{
    uint32_t capacity = ksm_homes_capacity(homes);
    KsmSlot *slots = g_new0(KsmSlot, capacity);

    while (!ksm_shard_spread(shard, slots, homes)) {
        g_free(slots);
        homes += homes / KSM_STEP_DEN;
        capacity = ksm_homes_capacity(homes);
        slots = g_new0(KsmSlot, capacity);
    }
    g_free(shard->slots);
    index->slots_bytes -= shard->capacity * sizeof(KsmSlot);
    index->slots_bytes += capacity * sizeof(KsmSlot);
    shard->slots = slots;
    shard->homes = homes;
    shard->capacity = capacity;
}

static void ksm_shard_grow(KsmIndex *index, KsmShard *shard)
{
    ksm_shard_resize(index, shard, shard->homes + shard->homes / KSM_STEP_DEN);
}

static bool ksm_shard_is_sparse(const KsmShard *shard)
{
    return shard->homes > shard->homes_min &&
           (uint64_t)shard->used * KSM_SHRINK_DEN <
           (uint64_t)shard->homes * KSM_SHRINK_NUM;
}

static uint32_t ksm_shard_wanted_homes(const KsmShard *shard)
{
    return MAX(shard->homes_min, (uint64_t)shard->used * 5 / 4);
}

/* Public functions */

KsmIndex *ksm_index_new(void)
{
    KsmIndex *index = g_new0(KsmIndex, 1);
    unsigned i;

    ksm_mix_init(index->mix);
    for (i = 0; i < KSM_SHARDS; i++) {
        KsmShard *shard = &index->shards[i];

        /* Spread over one growth step, see the top of this file. */
        shard->homes_min = KSM_HOMES_MIN +
                           i * KSM_HOMES_MIN / KSM_STEP_DEN / KSM_SHARDS;
        ksm_shard_resize(index, shard, shard->homes_min);
    }
    return index;
}

void ksm_index_free(KsmIndex *index)
{
    unsigned i;

    if (!index) {
        return;
    }
    for (i = 0; i < KSM_SHARDS; i++) {
        g_free(index->shards[i].slots);
    }
    g_free(index);
}

void ksm_index_prefetch(const KsmIndex *index, uint64_t digest)
{
    uint64_t mixed = ksm_mix(index, digest);
    const KsmShard *shard = &index->shards[mixed >> KSM_KEY_BITS];
    const KsmSlot *home = &shard->slots[ksm_shard_home(shard, mixed)];

    /* A search ends some slots on, and a page that is added goes there. */
    __builtin_prefetch(home, 1);
    __builtin_prefetch(home + CACHE_LINE / sizeof(KsmSlot), 1);
}

/* The pages of one digest. */
typedef struct KsmGroup {
    KsmShard *shard;
    uint64_t key;
    uint32_t first;             /* the first one's slot, or where it would be */
    uint32_t mine;              /* the slot of the page asked for, or NO_SLOT */
    unsigned others;            /* how many there are besides it */
} KsmGroup;

#define NO_SLOT     UINT32_MAX

/* The pages of @digest; stores one that isn't (@client, @page) in @peer. */
static KsmGroup ksm_index_find(KsmIndex *index, uint64_t digest,
                               uint16_t client, uint32_t page,
                               KsmIndexRef *peer)
{
    uint64_t mixed = ksm_mix(index, digest);
    KsmGroup group = {
        .shard = &index->shards[mixed >> KSM_KEY_BITS],
        .key = (mixed & (KSM_SLOT_USED - 1)) | KSM_SLOT_USED,
        .mine = NO_SLOT,
    };
    const KsmSlot *slot;
    uint32_t i;

    group.first = ksm_shard_find(group.shard, group.key);
    for (i = group.first;; i++) {
        slot = &group.shard->slots[i];
        if (ksm_slot_key(slot) != group.key) {
            return group;
        }
        if (slot->client == client && slot->page == page) {
            group.mine = i;
            continue;
        }
        if (!group.others++ && peer) {
            peer->client = slot->client;
            peer->page = slot->page;
        }
    }
}

static void ksm_shard_insert(KsmIndex *index, KsmShard *shard, uint64_t key,
                             uint32_t at, KsmSlot slot)
{
    uint32_t gap;

    while ((uint64_t)(shard->used + 1) * KSM_GROW_DEN >
           (uint64_t)shard->homes * KSM_GROW_NUM) {
        ksm_shard_grow(index, shard);
        at = ksm_shard_find(shard, key);
    }
    for (;;) {
        gap = at;
        while (ksm_slot_key(&shard->slots[gap])) {
            gap++;
        }
        if (gap < shard->capacity - 1) {
            break;
        }
        /* The slack is full. */
        ksm_shard_grow(index, shard);
        at = ksm_shard_find(shard, key);
    }
    memmove(&shard->slots[at + 1], &shard->slots[at],
            (gap - at) * sizeof(KsmSlot));
    shard->slots[at] = slot;
    shard->used++;
    index->entries++;
}

static void ksm_shard_remove(KsmIndex *index, KsmShard *shard, uint32_t at)
{
    uint32_t end = at + 1;

    /* What was pushed away from its home moves back by one. */
    for (;;) {
        uint64_t key = ksm_slot_key(&shard->slots[end]);

        if (!key || ksm_shard_home(shard, key) == end) {
            break;
        }
        end++;
    }
    memmove(&shard->slots[at], &shard->slots[at + 1],
            (end - at - 1) * sizeof(KsmSlot));
    memset(&shard->slots[end - 1], 0, sizeof(KsmSlot));
    shard->used--;
    index->entries--;

    if (ksm_shard_is_sparse(shard)) {
        ksm_shard_resize(index, shard, ksm_shard_wanted_homes(shard));
    }
}

unsigned ksm_index_publish(KsmIndex *index, uint64_t digest, uint16_t client,
                           uint32_t page, KsmIndexRef *peer)
{
    KsmGroup group = ksm_index_find(index, digest, client, page, peer);

    if (group.mine == NO_SLOT && group.others < KSM_INDEX_CANDIDATES) {
        ksm_shard_insert(index, group.shard, group.key, group.first,
                         ksm_slot_make(group.key, client, page));
        index->shared += group.others == 1;
    }
    return group.others;
}

unsigned ksm_index_withdraw(KsmIndex *index, uint64_t digest, uint16_t client,
                            uint32_t page, KsmIndexRef *peer)
{
    KsmGroup group = ksm_index_find(index, digest, client, page, peer);

    if (group.mine == NO_SLOT) {
        return UINT_MAX;
    }
    ksm_shard_remove(index, group.shard, group.mine);
    index->shared -= group.others == 1;
    return group.others;
}

/*
 * Pack the shard without @client's entries, group by group.  The index is not
 * in a searchable state while @orphan runs.
 */
static void ksm_shard_withdraw_client(KsmIndex *index, KsmShard *shard,
                                      uint16_t client, KsmIndexOrphan *orphan,
                                      void *opaque)
{
    uint64_t shard_bits = (uint64_t)(shard - index->shards) << KSM_KEY_BITS;
    uint32_t kept = 0;
    uint32_t seen = 0;
    uint32_t i = 0;

    while (seen < shard->used) {
        uint64_t key = ksm_slot_key(&shard->slots[i]);
        uint32_t group = kept;
        uint32_t removed = 0;

        if (!key) {
            i++;
            continue;
        }
        /* Writes stay at or below the slot that is read. */
        for (; ksm_slot_key(&shard->slots[i]) == key; i++, seen++) {
            if (shard->slots[i].client == client) {
                removed++;
            } else {
                shard->slots[kept++] = shard->slots[i];
            }
        }
        index->shared -= removed + kept - group > 1 && kept - group <= 1;
        if (orphan && removed && kept - group == 1) {
            KsmIndexRef ref = {
                .client = shard->slots[group].client,
                .page = shard->slots[group].page,
            };

            orphan(ksm_unmix(index, shard_bits | (key & ~KSM_SLOT_USED)), ref,
                   opaque);
        }
    }
    index->entries -= shard->used - kept;
    shard->used = kept;
}

static bool ksm_shard_has_client(const KsmShard *shard, uint16_t client)
{
    uint32_t i;

    for (i = 0; i < shard->capacity; i++) {
        if (ksm_slot_key(&shard->slots[i]) &&
            shard->slots[i].client == client) {
            return true;
        }
    }
    return false;
}

bool ksm_index_withdraw_client(KsmIndex *index, uint16_t client, unsigned part,
                               KsmIndexOrphan *orphan, void *opaque)
{
    KsmShard *shard = &index->shards[part];

    if (ksm_shard_has_client(shard, client)) {
        ksm_shard_withdraw_client(index, shard, client, orphan, opaque);
        ksm_shard_resize(index, shard,
                         ksm_shard_is_sparse(shard) ?
                         ksm_shard_wanted_homes(shard) : shard->homes);
    }
    return part + 1 < KSM_SHARDS;
}

uint64_t ksm_index_entries(const KsmIndex *index)
{
    return index->entries;
}

uint64_t ksm_index_shared(const KsmIndex *index)
{
    return index->shared;
}

size_t ksm_index_bytes(const KsmIndex *index)
{
    return sizeof(*index) + index->slots_bytes;
}
