/*
 * Test the digests of pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "../../accel/ksm/hasher.h"

static const uint8_t seed_a[KSM_SEED_SIZE] = { 1 };
static const uint8_t seed_b[KSM_SEED_SIZE] = { 2 };

static void test_zero(void)
{
    const size_t size = qemu_real_host_page_size();
    g_autofree uint8_t *page = g_malloc0(size);
    KsmHasher hasher;
    uint64_t digest;

    ksm_hasher_seed(&hasher, seed_a);
    g_assert_cmpint(ksm_hasher_page(&hasher, page, size, &digest), ==,
                    KSM_HASH_ZERO);
    for (size_t i = 0; i < size; i += 97) {
        page[i] = 1;
        g_assert_cmpint(ksm_hasher_page(&hasher, page, size, &digest), ==,
                        KSM_HASH_OK);
        page[i] = 0;
    }
}

/* Every byte counts, and so does the seed. */
static void test_digest(void)
{
    const size_t size = qemu_real_host_page_size();
    g_autofree uint8_t *page = g_malloc0(size);
    KsmHasher a, b;
    uint64_t first, again, other;

    ksm_hasher_seed(&a, seed_a);
    ksm_hasher_seed(&b, seed_b);
    g_assert_true(ksm_hasher_has_seed(&a, seed_a));
    g_assert_false(ksm_hasher_has_seed(&a, seed_b));
    memset(page, 0x5a, size);
    ksm_hasher_page(&a, page, size, &first);
    ksm_hasher_page(&a, page, size, &again);
    g_assert_cmphex(first, ==, again);
    g_assert_cmphex(first & ~KSM_PAGE_DIGEST, ==, 0);
    ksm_hasher_page(&b, page, size, &other);
    g_assert_cmphex(first, !=, other);
    for (size_t i = 0; i < size; i++) {
        page[i] ^= 1;
        ksm_hasher_page(&a, page, size, &other);
        g_assert_cmphex(first, !=, other);
        page[i] ^= 1;
    }
}

/* A page that can't be read is reported, and nothing else happens. */
static void test_poisoned(void)
{
    const size_t size = qemu_real_host_page_size();
    g_autofree char *name = NULL;
    int fd = g_file_open_tmp("test-ksm-hasher-XXXXXX", &name, NULL);
    KsmHasher hasher;
    uint64_t digest;
    uint8_t *map;

    g_assert_cmpint(fd, >=, 0);
    unlink(name);
    g_assert_cmpint(ftruncate(fd, 2 * size), ==, 0);
    map = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert_true(map != MAP_FAILED);
    map[0] = 1;
    /* Past the end of its file a mapping raises SIGBUS, too. */
    g_assert_cmpint(ftruncate(fd, size), ==, 0);

    ksm_hasher_install_sigbus();
    ksm_hasher_prepare_thread();
    ksm_hasher_seed(&hasher, seed_a);
    for (int i = 0; i < 100; i++) {
        g_assert_cmpint(ksm_hasher_page(&hasher, map + size, size, &digest),
                        ==, KSM_HASH_POISONED);
        g_assert_cmpint(ksm_hasher_page(&hasher, map, size, &digest), ==,
                        KSM_HASH_OK);
    }
    ksm_hasher_remove_sigbus();
    munmap(map, 2 * size);
    close(fd);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ksm/hasher/zero", test_zero);
    g_test_add_func("/ksm/hasher/digest", test_digest);
    g_test_add_func("/ksm/hasher/poisoned", test_poisoned);
    return g_test_run();
}
