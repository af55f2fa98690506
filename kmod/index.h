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
 * ksmfs_index_find - folios with a digest
 * @mount: the mount
 * @digest: theirs
 * @like: leave this folio out, and those of other nodes than its where these
 *	  must not be merged
 * @found: out: folios, the shared ones first; a reference to each is the
 *	   caller's
 *
 * Return: how many.
 */
unsigned int ksmfs_index_find(struct ksmfs_mount *mount, u64 digest,
			      struct folio *like,
			      struct folio *found[KSMFS_DIGEST_MAX]);

/*
 * Put @folio, which is private and locked, into the index, or back with
 * another @digest.
 *
 * Return: how many ksmfs_index_find() would find for it now, so that one that
 * came since the last look is not missed; -ENOSPC if there is no room for one
 * more of this digest.
 */
int ksmfs_index_add(struct ksmfs_mount *mount, struct folio *folio, u64 digest);
/* Take a locked @folio out, if it is in. */
void ksmfs_index_remove(struct ksmfs_mount *mount, struct folio *folio);

/* Is a locked @folio in the index, with @digest? */
bool ksmfs_index_has(struct folio *folio, u64 digest);

/* A locked private @folio of the index is shared from now on, by one slot. */
void ksmfs_index_make_shared(struct ksmfs_mount *mount, struct folio *folio);
/* One more slot shares @folio; false if it is not shared any more. */
bool ksmfs_index_share(struct ksmfs_mount *mount, struct folio *folio);
/*
 * A slot shares @folio no more.  True if that was the last one: @folio is out
 * of the index then, and the caller's.
 */
bool ksmfs_index_unshare(struct ksmfs_mount *mount, struct folio *folio);

#endif
