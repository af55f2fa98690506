/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Contents of pages
 */
#ifndef KSMFS_CONTENTS_H
#define KSMFS_CONTENTS_H

#include <linux/init.h>
#include <linux/types.h>

struct folio;

/* How they are compared depends on the processor. */
void __init ksmfs_contents_init(void);

/* Have two pages, folios of one page each, the same contents? */
bool ksmfs_is_same(struct folio *a, struct folio *b);
/* Are all bytes of a page 0? */
bool ksmfs_is_zero(struct folio *folio);

#endif
