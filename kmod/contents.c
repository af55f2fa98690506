// SPDX-License-Identifier: GPL-2.0-only
/*
 * Contents of pages: are they the same?
 *
 * Pages that are merged are the same, nearly always, so all of both is read.
 * By vectors that takes half the time where both are in a cache; memcmp(),
 * which asks after each word, twice the time.
 */
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/module.h>

#include "contents.h"

/* Words that are compared before anyone asks for the result. */
#define WORDS	32

static bool is_same_by_words(const unsigned long *a, const unsigned long *b)
{
	unsigned long differ = 0;

	for (unsigned int i = 0; i < PAGE_SIZE / sizeof(*a) && !differ;
	     i += WORDS)
#pragma GCC unroll 32
		for (unsigned int j = 0; j < WORDS; j++)
			differ |= a[i + j] ^ b[i + j];
	return !differ;
}

#ifdef CONFIG_X86_64
#include <asm/cpufeature.h>
#include <asm/fpu/api.h>
#include <asm/fpu/types.h>

static bool has_vectors __ro_after_init;

static bool vectors = true;
module_param(vectors, bool, 0644);
MODULE_PARM_DESC(vectors, "Compare pages by vectors where there are some");

void __init ksmfs_contents_init(void)
{
	has_vectors = boot_cpu_has(X86_FEATURE_AVX2) &&
		      cpu_has_xfeatures(XFEATURE_MASK_SSE | XFEATURE_MASK_YMM,
					NULL);
}

/* Bytes that a round of the loop compares. */
#define ROUND	256

static bool is_same_by_vectors(const void *a, const void *b)
{
	const void *end = a + PAGE_SIZE;
	bool same;

	kernel_fpu_begin();
	asm volatile("1:\n\t"
		     "vmovdqa (%[a]), %%ymm0\n\t"
		     "vmovdqa 32(%[a]), %%ymm1\n\t"
		     "vmovdqa 64(%[a]), %%ymm2\n\t"
		     "vmovdqa 96(%[a]), %%ymm3\n\t"
		     "vpxor (%[b]), %%ymm0, %%ymm0\n\t"
		     "vpxor 32(%[b]), %%ymm1, %%ymm1\n\t"
		     "vpxor 64(%[b]), %%ymm2, %%ymm2\n\t"
		     "vpxor 96(%[b]), %%ymm3, %%ymm3\n\t"
		     "vmovdqa 128(%[a]), %%ymm4\n\t"
		     "vmovdqa 160(%[a]), %%ymm5\n\t"
		     "vmovdqa 192(%[a]), %%ymm6\n\t"
		     "vmovdqa 224(%[a]), %%ymm7\n\t"
		     "vpxor 128(%[b]), %%ymm4, %%ymm4\n\t"
		     "vpxor 160(%[b]), %%ymm5, %%ymm5\n\t"
		     "vpxor 192(%[b]), %%ymm6, %%ymm6\n\t"
		     "vpxor 224(%[b]), %%ymm7, %%ymm7\n\t"
		     "vpor %%ymm1, %%ymm0, %%ymm0\n\t"
		     "vpor %%ymm3, %%ymm2, %%ymm2\n\t"
		     "vpor %%ymm5, %%ymm4, %%ymm4\n\t"
		     "vpor %%ymm7, %%ymm6, %%ymm6\n\t"
		     "vpor %%ymm2, %%ymm0, %%ymm0\n\t"
		     "vpor %%ymm6, %%ymm4, %%ymm4\n\t"
		     "vpor %%ymm4, %%ymm0, %%ymm0\n\t"
		     "vptest %%ymm0, %%ymm0\n\t"
		     "jnz 2f\n\t"
		     "add %[round], %[a]\n\t"
		     "add %[round], %[b]\n\t"
		     "cmp %[end], %[a]\n\t"
		     "jne 1b\n"
		     "2:\n\t"
		     "vzeroupper"
		     : [a] "+&r" (a), [b] "+&r" (b)
		     : [end] "r" (end), [round] "i" (ROUND)
		     : "memory", "cc");
	same = a == end;
	kernel_fpu_end();
	return same;
}

static bool may_use_vectors(void)
{
	return has_vectors && READ_ONCE(vectors) && irq_fpu_usable();
}
#else
void __init ksmfs_contents_init(void)
{
}

static bool is_same_by_vectors(const void *a, const void *b)
{
	return is_same_by_words(a, b);
}

static bool may_use_vectors(void)
{
	return false;
}
#endif

bool ksmfs_is_same(struct folio *a, struct folio *b)
{
	const void *at_a = kmap_local_folio(a, 0);
	const void *at_b = kmap_local_folio(b, 0);
	bool same = may_use_vectors() ? is_same_by_vectors(at_a, at_b)
				      : is_same_by_words(at_a, at_b);

	kunmap_local(at_b);
	kunmap_local(at_a);
	return same;
}

bool ksmfs_is_zero(struct folio *folio)
{
	const unsigned long *at = kmap_local_folio(folio, 0);
	bool may_be = !READ_ONCE(*at);

	kunmap_local(at);
	/* Most are not, as is seen at once. */
	return may_be && ksmfs_is_same(folio, page_folio(ZERO_PAGE(0)));
}
