/*
 * Digests of pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A read of guest memory can meet a page with a hardware memory error, which
 * raises SIGBUS in the thread that reads.  As in qemu_prealloc_mem(), the
 * handler jumps back where the reading thread asked for it, and passes on
 * every other SIGBUS to the handler that was there before.
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/cutils.h"
#include "hasher.h"

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#if defined(__x86_64__) && __has_include("xxh_x86dispatch.h")
/* Renames XXH3_* to variants that choose by the CPU at run time. */
#include <xxh_x86dispatch.h>
#endif

#include <setjmp.h>

QEMU_BUILD_BUG_ON(KSM_SECRET_SIZE != XXH3_SECRET_DEFAULT_SIZE);

/* Where this thread goes on after a SIGBUS; NULL while it reads nothing. */
static __thread sigjmp_buf *sigbus_return;
static struct sigaction sigbus_old;
static unsigned sigbus_users;       /* BQL */

static void sigbus_handler(int signal, siginfo_t *info, void *context)
{
    if (sigbus_return) {
        siglongjmp(*sigbus_return, 1);
    }
    if (sigbus_old.sa_flags & SA_SIGINFO) {
        sigbus_old.sa_sigaction(signal, info, context);
    } else if (sigbus_old.sa_handler != SIG_IGN &&
               sigbus_old.sa_handler != SIG_DFL) {
        sigbus_old.sa_handler(signal);
    } else {
        /* The default action, when the faulting access is tried again. */
        sigaction(SIGBUS, &sigbus_old, NULL);
    }
}

void ksm_hasher_install_sigbus(void)
{
    struct sigaction action = {
        .sa_sigaction = sigbus_handler,
        /* Jumping out of the handler must not leave the signal blocked. */
        .sa_flags = SA_SIGINFO | SA_NODEFER,
    };

    if (sigbus_users++ == 0) {
        sigaction(SIGBUS, &action, &sigbus_old);
    }
}

void ksm_hasher_remove_sigbus(void)
{
    struct sigaction now;

    if (--sigbus_users == 0) {
        /* Whoever took over meanwhile may still pass signals on to us. */
        sigaction(SIGBUS, NULL, &now);
        if (now.sa_sigaction == sigbus_handler) {
            sigaction(SIGBUS, &sigbus_old, NULL);
        }
    }
}

void ksm_hasher_prepare_thread(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGBUS);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static uint64_t digest_of(const KsmHasher *hasher, const void *page,
                          size_t size)
{
    /* For so many bytes, it is the low half of what XXH3_128bits makes. */
    return XXH3_64bits_withSecret(page, size, hasher->secret,
                                  KSM_SECRET_SIZE) & KSM_PAGE_DIGEST;
}

void ksm_hasher_seed(KsmHasher *hasher, const uint8_t seed[KSM_SEED_SIZE])
{
    const size_t page_size = qemu_real_host_page_size();
    g_autofree void *zeros = g_malloc0(page_size);

    memcpy(hasher->seed, seed, KSM_SEED_SIZE);
    XXH3_generateSecret(hasher->secret, KSM_SECRET_SIZE, seed, KSM_SEED_SIZE);
    hasher->zero_digest = digest_of(hasher, zeros, page_size);
}

bool ksm_hasher_has_seed(const KsmHasher *hasher,
                         const uint8_t seed[KSM_SEED_SIZE])
{
    return !memcmp(hasher->seed, seed, KSM_SEED_SIZE);
}

KsmHashResult ksm_hasher_page(const KsmHasher *hasher, const void *page,
                              size_t size, uint64_t *digest)
{
    KSM_UNINITIALIZED sigjmp_buf back;
    KsmHashResult result;

    if (sigsetjmp(back, 0)) {
        result = KSM_HASH_POISONED;
    } else {
        sigbus_return = &back;
        barrier();
        /*
         * Read from start to end first: buffer_is_zero() looks here and there,
         * and waits for memory each time.
         */
        *digest = digest_of(hasher, page, size);
        result = *digest == hasher->zero_digest && buffer_is_zero(page, size)
                 ? KSM_HASH_ZERO : KSM_HASH_OK;
    }
    barrier();
    sigbus_return = NULL;
    return result;
}
