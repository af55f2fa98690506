/*
 * Digests of pages, and the pages of each
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A page takes 32 bytes, all mappings together one byte more a page.  Sorting
 * takes as much again for a 256th of the pages, or for all that are alike.
 * Those of zeros, which most pages may be, are not kept here.
 */
#ifndef CENSUS_DIGESTS_H
#define CENSUS_DIGESTS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Digest {
    uint64_t high;
    uint64_t low;
} Digest;

typedef struct DigestPage {
    Digest digest;
    uint64_t frame;             /* 0: not known */
    uint64_t mapping:24;        /* its number */
    uint64_t page:40;           /* in that mapping */
} DigestPage;

typedef struct Digests Digests;

Digests *digests_new(void);
void digests_free(Digests *digests);

/* @data: all bytes of a page. */
Digest digest_of(const void *data);

void digests_add(Digests *digests, Digest digest, uint64_t frame,
                 unsigned mapping, uint64_t page);
/* After the last one was added. */
void digests_sort(Digests *digests);

/*
 * @number pages, at least one, that have one digest.  Those that have a frame
 * in common follow each other.
 */
typedef void DigestsGroup(const DigestPage *pages, size_t number,
                          void *opaque);

void digests_each(const Digests *digests, DigestsGroup *group, void *opaque);

#endif
