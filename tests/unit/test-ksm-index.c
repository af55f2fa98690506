/*
 * Test of the twin index
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Random operations are compared with a naive model: a list of all published
 * pages for each digest.
 */
#include <glib.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "ksm-index.h"

#define DIGEST_MASK     ((UINT64_C(1) << KSM_INDEX_DIGEST_BITS) - 1)

#ifndef TEST_GROW_PAGES
#define TEST_GROW_PAGES 200000
#endif

/* A different digest for each number. */
static uint64_t digest_of(uint64_t number)
{
    return (number * UINT64_C(0x9e3779b97f4a7c15)) & DIGEST_MASK;
}

/* The model */

#define MODEL_DIGESTS   64

typedef struct Model {
    GArray *refs[MODEL_DIGESTS];        /* of KsmIndexRef */
    uint64_t entries;
} Model;

static void model_init(Model *model)
{
    unsigned i;

    model->entries = 0;
    for (i = 0; i < MODEL_DIGESTS; i++) {
        model->refs[i] = g_array_new(FALSE, FALSE, sizeof(KsmIndexRef));
    }
}

static void model_clear(Model *model)
{
    unsigned i;

    for (i = 0; i < MODEL_DIGESTS; i++) {
        g_array_free(model->refs[i], TRUE);
    }
}

static guint model_find(const Model *model, unsigned digest, uint16_t client,
                        uint32_t page)
{
    GArray *refs = model->refs[digest];
    guint i;

    for (i = 0; i < refs->len; i++) {
        KsmIndexRef *ref = &g_array_index(refs, KsmIndexRef, i);

        if (ref->client == client && ref->page == page) {
            return i;
        }
    }
    return UINT_MAX;
}

static unsigned model_publish(Model *model, unsigned digest, uint16_t client,
                              uint32_t page)
{
    GArray *refs = model->refs[digest];
    KsmIndexRef ref = { .client = client, .page = page };
    unsigned others = refs->len;

    if (model_find(model, digest, client, page) != UINT_MAX) {
        return others - 1;
    }
    if (others < KSM_INDEX_CANDIDATES) {
        g_array_append_val(refs, ref);
        model->entries++;
    }
    return others;
}

static unsigned model_withdraw(Model *model, unsigned digest, uint16_t client,
                               uint32_t page)
{
    guint at = model_find(model, digest, client, page);

    if (at == UINT_MAX) {
        return UINT_MAX;
    }
    g_array_remove_index(model->refs[digest], at);
    model->entries--;
    return model->refs[digest]->len;
}

static uint64_t model_shared(const Model *model)
{
    uint64_t shared = 0;
    unsigned i;

    for (i = 0; i < MODEL_DIGESTS; i++) {
        shared += model->refs[i]->len > 1;
    }
    return shared;
}

typedef struct Orphans {
    Model *model;               /* without the client already */
    bool expected[MODEL_DIGESTS];
    unsigned count;
} Orphans;

static void on_orphan(uint64_t digest, KsmIndexRef ref, void *opaque)
{
    Orphans *orphans = opaque;
    unsigned i;

    for (i = 0; i < MODEL_DIGESTS; i++) {
        if (digest_of(i) == digest) {
            break;
        }
    }
    /* Named by its own digest, expected, once, and the one that remains. */
    g_assert_cmpuint(i, <, MODEL_DIGESTS);
    g_assert_true(orphans->expected[i]);
    orphans->expected[i] = false;
    g_assert_cmpuint(model_find(orphans->model, i, ref.client, ref.page), ==,
                     0);
    orphans->count++;
}

/* All parts, one after the other. */
static void withdraw_client(KsmIndex *index, uint16_t client,
                            KsmIndexOrphan *orphan, void *opaque)
{
    unsigned part = 0;

    while (ksm_index_withdraw_client(index, client, part, orphan, opaque)) {
        part++;
    }
}

static void check_withdraw_client(KsmIndex *index, Model *model,
                                  uint16_t client)
{
    Orphans orphans = { .model = model };
    unsigned expected = 0;
    unsigned i, j;

    for (i = 0; i < MODEL_DIGESTS; i++) {
        GArray *refs = model->refs[i];
        guint before = refs->len;

        for (j = refs->len; j-- > 0;) {
            if (g_array_index(refs, KsmIndexRef, j).client == client) {
                g_array_remove_index(refs, j);
                model->entries--;
            }
        }
        orphans.expected[i] = refs->len == 1 && before > 1;
        expected += orphans.expected[i];
    }
    withdraw_client(index, client, on_orphan, &orphans);
    g_assert_cmpuint(orphans.count, ==, expected);
}

static void check_peer(const Model *model, unsigned digest, KsmIndexRef peer,
                       uint16_t client, uint32_t page)
{
    g_assert_cmpuint(model_find(model, digest, peer.client, peer.page), !=,
                     UINT_MAX);
    g_assert_false(peer.client == client && peer.page == page);
}

static void test_random(void)
{
    KsmIndex *index = ksm_index_new();
    unsigned round;
    Model model;

    model_init(&model);
    for (round = 0; round < 400000; round++) {
        unsigned digest = g_test_rand_int_range(0, MODEL_DIGESTS);
        uint16_t client = g_test_rand_int_range(0, 4) ?
                          g_test_rand_int_range(0, 3) : UINT16_MAX;
        uint32_t page = g_test_rand_int_range(0, 4) ?
                        (uint32_t)g_test_rand_int_range(0, 5) : UINT32_MAX;
        KsmIndexRef peer = { 0 };
        unsigned others;

        if (!g_test_rand_int_range(0, 2000)) {
            check_withdraw_client(index, &model, client);
        } else if (g_test_rand_int() & 1) {
            others = ksm_index_publish(index, digest_of(digest), client, page,
                                       &peer);
            g_assert_cmpuint(others, ==, model_publish(&model, digest, client,
                                                       page));
            if (others) {
                check_peer(&model, digest, peer, client, page);
            }
        } else {
            others = ksm_index_withdraw(index, digest_of(digest), client, page,
                                        &peer);
            g_assert_cmpuint(others, ==, model_withdraw(&model, digest, client,
                                                        page));
            if (others && others != UINT_MAX) {
                check_peer(&model, digest, peer, client, page);
            }
        }
        g_assert_cmpuint(ksm_index_entries(index), ==, model.entries);
        g_assert_cmpuint(ksm_index_shared(index), ==, model_shared(&model));
    }
    model_clear(&model);
    ksm_index_free(index);
}

/* Grow to many entries and shrink again, every entry being found each time. */
static void test_grow_shrink(void)
{
    const unsigned count = TEST_GROW_PAGES;
    KsmIndex *index = ksm_index_new();
    size_t empty_bytes = ksm_index_bytes(index);
    KsmIndexRef peer;
    unsigned i;

    for (i = 0; i < count; i++) {
        g_assert_cmpuint(ksm_index_publish(index, digest_of(i), i % 7, i,
                                           &peer), ==, 0);
    }
    g_assert_cmpuint(ksm_index_entries(index), ==, count);
    for (i = 0; i < count; i++) {
        /* Already there. */
        g_assert_cmpuint(ksm_index_publish(index, digest_of(i), i % 7, i,
                                           &peer), ==, 0);
        g_assert_cmpuint(ksm_index_publish(index, digest_of(i), 7, i, &peer),
                         ==, 1);
        g_assert_cmpuint(peer.client, ==, i % 7);
        g_assert_cmpuint(peer.page, ==, i);
    }
    g_assert_cmpuint(ksm_index_entries(index), ==, 2 * count);
    for (i = 0; i < count; i++) {
        g_assert_cmpuint(ksm_index_withdraw(index, digest_of(i), i % 7, i,
                                            &peer), ==, 1);
        g_assert_cmpuint(peer.client, ==, 7);
        g_assert_cmpuint(ksm_index_withdraw(index, digest_of(i), i % 7, i,
                                            &peer), ==, UINT_MAX);
    }
    for (i = 0; i < count; i++) {
        g_assert_cmpuint(ksm_index_withdraw(index, digest_of(i), 7, i, &peer),
                         ==, 0);
    }
    g_assert_cmpuint(ksm_index_entries(index), ==, 0);
    g_assert_cmpuint(ksm_index_bytes(index), ==, empty_bytes);
    ksm_index_free(index);
}

/* Bytes that malloc has handed out. */
static size_t allocated_bytes(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

/* At no size above a million entries does an entry take more than 15 bytes. */
static void test_memory(void)
{
    const unsigned from = 1000000;
    const unsigned to = g_test_slow() ? 8000000 : 1600000;
    size_t before = allocated_bytes();
    KsmIndex *index = ksm_index_new();
    double worst = 0;
    int64_t start_us;
    double elapsed_us;
    KsmIndexRef peer;
    unsigned i;

    start_us = g_get_monotonic_time();
    for (i = 0; i < to; i++) {
        ksm_index_publish(index, digest_of(i), 0, i, &peer);
        if (i >= from) {
            worst = MAX(worst, (double)ksm_index_bytes(index) / (i + 1));
        }
    }
    elapsed_us = MAX(g_get_monotonic_time() - start_us, 1);
    g_test_message("at most %.2f bytes an entry, %.2f million a second", worst,
                   to / elapsed_us);
    g_assert_cmpfloat(worst, <, 15.0);

    /* What it says it holds is what it holds, where malloc tells. */
    if (allocated_bytes() > before) {
        g_assert_cmpfloat((double)(allocated_bytes() - before), <,
                          ksm_index_bytes(index) * 1.02);
    }
    ksm_index_free(index);
}

/* Full groups make long runs; neither size nor time may explode. */
static void test_memory_groups(void)
{
    const unsigned count = 1000000;
    KsmIndex *index = ksm_index_new();
    KsmIndexRef peer;
    unsigned i;

    for (i = 0; i < count; i++) {
        ksm_index_publish(index, digest_of(i % (count / KSM_INDEX_CANDIDATES)),
                          0, i, &peer);
    }
    g_assert_cmpuint(ksm_index_entries(index), ==, count);
    g_test_message("%.2f bytes an entry",
                   (double)ksm_index_bytes(index) / count);
    g_assert_cmpfloat((double)ksm_index_bytes(index) / count, <, 16.5);
    ksm_index_free(index);
}

static void test_flood(void)
{
    KsmIndex *index = ksm_index_new();
    size_t empty_bytes = ksm_index_bytes(index);
    KsmIndexRef peer;
    unsigned i;

    for (i = 0; i < 1000000; i++) {
        g_assert_cmpuint(ksm_index_publish(index, 42, i & 1, i, &peer), ==,
                         MIN(i, KSM_INDEX_CANDIDATES));
    }
    g_assert_cmpuint(ksm_index_entries(index), ==, KSM_INDEX_CANDIDATES);
    g_assert_cmpuint(ksm_index_bytes(index), ==, empty_bytes);
    /* One that wasn't kept isn't there. */
    g_assert_cmpuint(ksm_index_withdraw(index, 42, 1, 999999, &peer), ==,
                     UINT_MAX);
    ksm_index_free(index);
}

/* Publish @count digests, each @stride from the last; how long it took. */
static int64_t publish_us(uint64_t stride, unsigned count)
{
    KsmIndex *index = ksm_index_new();
    int64_t start_us = g_get_monotonic_time();
    int64_t end_us;
    KsmIndexRef peer;
    unsigned i;

    for (i = 0; i < count; i++) {
        g_assert_cmpuint(ksm_index_publish(index, (i * stride) & DIGEST_MASK,
                                           0, i, &peer), ==, 0);
    }
    end_us = g_get_monotonic_time();
    g_assert_cmpfloat((double)ksm_index_bytes(index) / count, <, 17.0);
    ksm_index_free(index);
    return MAX(end_us - start_us, 1);
}

/*
 * Digests that lie side by side take no longer than others: a sender can't aim
 * at one place.  In one place they would take hundreds of times as long.
 */
static void test_clustered(void)
{
    static const uint64_t strides[] = {
        1, 1 << 6, 1 << 24, UINT64_C(1) << 30,
    };
    const unsigned count = 1 << 17;
    int64_t random_us = publish_us(digest_of(1), count);
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(strides); i++) {
        g_assert_cmpint(publish_us(strides[i], count), <, random_us * 20);
    }
}

static void count_orphan(uint64_t digest, KsmIndexRef ref, void *opaque)
{
    unsigned *count = opaque;

    g_assert_cmpuint(ref.client, ==, 2);
    g_assert_cmphex(digest, ==, digest_of(ref.page));
    ++*count;
}

/*
 * Client 1 has each digest, client 2 every second, client 3 every fourth: only
 * the pages of client 2 that client 3 hasn't lose their last twin.
 */
static void test_orphans(void)
{
    const unsigned count = 100000;
    KsmIndex *index = ksm_index_new();
    unsigned orphans = 0;
    KsmIndexRef peer;
    unsigned i;

    for (i = 0; i < count; i++) {
        ksm_index_publish(index, digest_of(i), 1, i, &peer);
        if (i % 2 == 0) {
            ksm_index_publish(index, digest_of(i), 2, i, &peer);
        }
        if (i % 4 == 0) {
            ksm_index_publish(index, digest_of(i), 3, i, &peer);
        }
    }
    withdraw_client(index, 1, count_orphan, &orphans);
    g_assert_cmpuint(orphans, ==, count / 4);
    g_assert_cmpuint(ksm_index_entries(index), ==, count / 2 + count / 4);
    for (i = 0; i < count; i += 2) {
        g_assert_cmpuint(ksm_index_withdraw(index, digest_of(i), 2, i, &peer),
                         ==, i % 4 == 0 ? 1 : 0);
    }
    withdraw_client(index, 3, NULL, NULL);
    g_assert_cmpuint(ksm_index_entries(index), ==, 0);
    ksm_index_free(index);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ksm-index/entries/random", test_random);
    g_test_add_func("/ksm-index/entries/grow-shrink", test_grow_shrink);
    g_test_add_func("/ksm-index/entries/orphans", test_orphans);
    /* These rely on the slack that the index really has. */
    g_test_add_func("/ksm-index/bounds/memory", test_memory);
    g_test_add_func("/ksm-index/bounds/memory-groups", test_memory_groups);
    g_test_add_func("/ksm-index/bounds/flood", test_flood);
    g_test_add_func("/ksm-index/bounds/clustered", test_clustered);
    return g_test_run();
}
