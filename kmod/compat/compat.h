/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels that ksmfs is built for
 */
#ifndef KSMFS_COMPAT_H
#define KSMFS_COMPAT_H

#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/version.h>

#if !IS_ENABLED(CONFIG_64BIT)
#error "ksmfs needs a 64-bit kernel: a digest is kept in a field of struct page"
#endif

#if !IS_ENABLED(CONFIG_MAPPING_DIRTY_HELPERS)
#error "ksmfs needs CONFIG_MAPPING_DIRTY_HELPERS (DRM_VMWGFX selects it)"
#endif

static inline struct folio *ksmfs_vma_alloc_folio(gfp_t gfp,
						  struct vm_area_struct *vma,
						  unsigned long address)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	return vma_alloc_folio(gfp, 0, vma, address);
#else
	return vma_alloc_folio(gfp, 0, vma, address, false);
#endif
}

/* Copy a folio of one page; not 0 if @from has a memory error. */
static inline int ksmfs_copy_mc_folio(struct folio *to, struct folio *from)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	return copy_mc_highpage(folio_page(to, 0), folio_page(from, 0));
#else
	copy_highpage(folio_page(to, 0), folio_page(from, 0));
	return 0;
#endif
}

#endif
