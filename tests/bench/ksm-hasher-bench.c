/*
 * How fast the engine hashes resident memory, beside merely reading it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Usage: ksm-hasher-bench MIB ROUNDS
 *
 * Both take turns.  For each round it prints the bytes per second of both.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/madvise.h"
#include "qemu/units.h"
#include "../../accel/ksm/hasher.h"

typedef uint64_t Vector __attribute__((vector_size(64)));

static const KsmHasher *hasher;

/* As wide as the processor can. */
#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
static uint64_t read_page(const void *page, size_t size)
{
    const Vector *at = page;
    Vector sum[2] = { 0 };

    for (size_t i = 0; i < size / sizeof(Vector); i += 2) {
        sum[0] |= at[i];
        sum[1] |= at[i + 1];
    }
    sum[0] |= sum[1];
    return sum[0][0] | sum[0][1] | sum[0][2] | sum[0][3] |
           sum[0][4] | sum[0][5] | sum[0][6] | sum[0][7];
}

static uint64_t hash_page(const void *page, size_t size)
{
    uint64_t digest = 0;

    g_assert(ksm_hasher_page(hasher, page, size, &digest) == KSM_HASH_OK);
    return digest;
}

/* Bytes per second at which @function goes through all pages. */
static double rate(uint64_t (*function)(const void *page, size_t size),
                   const uint8_t *memory, size_t size)
{
    const size_t page_size = qemu_real_host_page_size();
    const int64_t start = g_get_monotonic_time();
    uint64_t all = 0;

    for (size_t at = 0; at < size; at += page_size) {
        all |= function(memory + at, page_size);
    }
    g_assert(all);
    return size / ((g_get_monotonic_time() - start) / 1e6);
}

int main(int argc, char **argv)
{
    const uint8_t seed[KSM_SEED_SIZE] = { 1 };
    g_autofree KsmHasher *seeded = g_new0(KsmHasher, 1);
    uint64_t mib, rounds;
    uint64_t *memory;
    size_t size;

    if (argc != 3 || qemu_strtou64(argv[1], NULL, 10, &mib) || !mib ||
        qemu_strtou64(argv[2], NULL, 10, &rounds)) {
        fprintf(stderr, "usage: %s MIB ROUNDS\n", argv[0]);
        return 2;
    }
    size = mib * MiB;
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        fprintf(stderr, "%s: %" PRIu64 " MiB: %s\n", argv[0], mib,
                strerror(errno));
        return 1;
    }
    /* As QEMU does it with a guest's. */
    qemu_madvise(memory, size, QEMU_MADV_HUGEPAGE);
    for (size_t i = 0; i < size / sizeof(*memory); i++) {
        memory[i] = i * UINT64_C(0x9e3779b97f4a7c15) + 1;
    }
    ksm_hasher_seed(seeded, seed);
    hasher = seeded;
    ksm_hasher_install_sigbus();
    ksm_hasher_prepare_thread();
    for (uint64_t i = 0; i < rounds; i++) {
        double read = rate(read_page, (uint8_t *)memory, size);

        printf("%.0f %.0f\n", read, rate(hash_page, (uint8_t *)memory, size));
    }
    return 0;
}
