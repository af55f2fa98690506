/*
 * Test the digests of pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/userfaultfd.h"
#include "../../accel/ksm/hasher.h"

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include <sys/ioctl.h>

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

/* It is what the documents say, and other programs could make. */
static void test_algorithm(void)
{
    const size_t size = qemu_real_host_page_size();
    g_autofree uint8_t *page = g_malloc(size);
    KsmHasher hasher;
    uint64_t digest;
    XXH128_hash_t hash;

    ksm_hasher_seed(&hasher, seed_a);
    for (size_t i = 0; i < size; i++) {
        page[i] = i * i / 7;
    }
    ksm_hasher_page(&hasher, page, size, &digest);
    hash = XXH3_128bits_withSecret(page, size, hasher.secret, KSM_SECRET_SIZE);
    g_assert_cmphex(digest, ==, hash.low64 & KSM_PAGE_DIGEST);
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

/* Of three pages the second can't be read, and the others can. */
static void check_poisoned(const uint8_t *pages)
{
    const size_t size = qemu_real_host_page_size();
    KsmHasher hasher;
    uint64_t digest;

    ksm_hasher_install_sigbus();
    ksm_hasher_prepare_thread();
    ksm_hasher_seed(&hasher, seed_a);
    for (int i = 0; i < 300; i++) {
        g_assert_cmpint(ksm_hasher_page(&hasher, pages + i % 3 * size, size,
                                        &digest), ==,
                        i % 3 == 1 ? KSM_HASH_POISONED : KSM_HASH_OK);
    }
    ksm_hasher_remove_sigbus();
}

static uint8_t *three_pages(void)
{
    const size_t size = 3 * qemu_real_host_page_size();
    uint8_t *pages = mmap(NULL, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    g_assert_true(pages != MAP_FAILED);
    madvise(pages, size, MADV_NOHUGEPAGE);
    memset(pages, 1, size);
    return pages;
}

/* The kernel knows of a memory error: as migration tells it. */
static void test_memory_error(void)
{
    const size_t size = qemu_real_host_page_size();
    struct uffdio_api api = {
        .api = UFFD_API,
        .features = UFFD_FEATURE_POISON,
    };
    struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
    struct uffdio_poison poison = { };
    int uffd = uffd_open(O_CLOEXEC | UFFD_USER_MODE_ONLY);
    uint8_t *pages;

    if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api)) {
        g_test_skip("userfaultfd is not permitted, or Linux is before 6.6");
        return;
    }
    pages = three_pages();
    reg.range.start = poison.range.start = (uintptr_t)pages + size;
    reg.range.len = poison.range.len = size;
    g_assert_cmpint(ioctl(uffd, UFFDIO_REGISTER, &reg), ==, 0);
    g_assert_cmpint(madvise(pages + size, size, MADV_DONTNEED), ==, 0);
    g_assert_cmpint(ioctl(uffd, UFFDIO_POISON, &poison), ==, 0);
    check_poisoned(pages);
    munmap(pages, 3 * size);
    close(uffd);
}

/* The same with a page that the host can't use until it is booted again. */
static void test_hwpoison(void)
{
    const size_t size = qemu_real_host_page_size();
    uint8_t *pages = three_pages();

    if (madvise(pages + size, size, MADV_HWPOISON)) {
        g_autofree char *why = g_strdup_printf("MADV_HWPOISON: %s: it needs"
            " root and CONFIG_MEMORY_FAILURE", strerror(errno));

        g_test_skip(why);
    } else {
        check_poisoned(pages);
    }
    munmap(pages, 3 * size);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ksm/hasher/zero", test_zero);
    g_test_add_func("/ksm/hasher/digest", test_digest);
    g_test_add_func("/ksm/hasher/algorithm", test_algorithm);
    g_test_add_func("/ksm/hasher/poisoned", test_poisoned);
    g_test_add_func("/ksm/hasher/memory_error", test_memory_error);
    if (g_test_slow()) {
        g_test_add_func("/ksm/hasher/hwpoison", test_hwpoison);
    }
    return g_test_run();
}
