/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The index of a mount: folios by digest
 */
#ifndef KSMFS_INDEX_H
#define KSMFS_INDEX_H

#include "ksmfs.h"

int ksmfs_index_init(struct ksmfs_mount *mount);
void ksmfs_index_free(struct ksmfs_mount *mount);

/* A new folio is in no index. */
void ksmfs_index_init_folio(struct folio *folio);

/**
 * ksmfs_index_find_or_add - folios with a digest; or a folio gets it
 * @mount: the mount
 * @folio: private and locked: not found itself.  Nor are those of other nodes
 *	   than its where these must not be merged
 * @digest: of it, from now on
 * @known: so many at most are known to be others: 0 at first
 * @found: out: folios, a shared one first if there is any; a reference to each
 *	   is the caller's
 *
 * Return: how many are in @found, if these are more than @known; else 0, and
 * @folio is in the index.  -ENOSPC if there is no room for one more of this
 * digest.
 */
int ksmfs_index_find_or_add(struct ksmfs_mount *mount, struct folio *folio,
			    u64 digest, int known,
			    struct folio *found[KSMFS_DIGEST_MAX]);

/* Take a locked @folio out, if it is in. */
void ksmfs_index_remove(struct ksmfs_mount *mount, struct folio *folio);

/* Is a locked @folio in the index, with @digest? */
bool ksmfs_index_has(struct folio *folio, u64 digest);

/* A locked private @folio of the index is shared from now on, by two slots. */
void ksmfs_index_make_shared(struct ksmfs_mount *mount, struct folio *folio);
/* One more slot shares @folio; false if it is not shared any more. */
bool ksmfs_index_share(struct ksmfs_mount *mount, struct folio *folio);
/*
 * A slot shares @folio no more.  True if that was the last one: @folio is out
 * of the index then, and the caller's.
 */
bool ksmfs_index_unshare(struct ksmfs_mount *mount, struct folio *folio);

#endif
