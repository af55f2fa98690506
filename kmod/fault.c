// SPDX-License-Identifier: GPL-2.0-only
/*
 * Faults of who maps a file
 *
 * The core maps the folio that it is given while that is locked, which the
 * rule of slot.c needs.  Of locks of the core they need that of the mapping
 * alone: other mappings are found and unmapped by i_mmap_rwsem.
 */
#include <linux/mm.h>

#include "slot.h"

/*
 * -ENOMEM is no VM_FAULT_OOM, with which the core tries again: memory is
 * refused for good where a file's cgroup is full and has no process that may be
 * killed.
 */
static vm_fault_t to_fault(int err)
{
	switch (err) {
	case 0:
		return VM_FAULT_LOCKED;
	case -EHWPOISON:
		return VM_FAULT_HWPOISON;
	default:
		return VM_FAULT_SIGBUS;
	}
}

/* Lock what is to be mapped read-only, or copied by a private mapping. */
static int lock_to_read(struct ksmfs_slot *slot, struct ksmfs_inode *ki,
			pgoff_t index)
{
	ksmfs_slot_lock(slot, ki, index);
	if (index >= ksmfs_end(ki)) {
		ksmfs_slot_unlock(slot);
		return -EFBIG;
	}
	ksmfs_slot_mark_mapped(slot);
	return 0;
}

static vm_fault_t ksmfs_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct ksmfs_inode *ki = ksmfs_inode(file_inode(vma->vm_file));
	struct ksmfs_slot slot;
	int err;

	if ((vmf->flags & FAULT_FLAG_WRITE) && (vma->vm_flags & VM_SHARED))
		err = ksmfs_slot_lock_private(&slot, ki, vmf->pgoff,
					      KSMFS_BY_FAULT, vmf);
	else
		err = lock_to_read(&slot, ki, vmf->pgoff);
	if (err)
		return to_fault(err);
	if (PageHWPoison(folio_page(slot.folio, 0))) {
		ksmfs_slot_unlock(&slot);
		return VM_FAULT_HWPOISON;
	}
	/* The reference is the core's now. */
	vmf->page = folio_page(slot.folio, 0);
	return VM_FAULT_LOCKED;
}

static vm_fault_t ksmfs_page_mkwrite(struct vm_fault *vmf)
{
	struct ksmfs_inode *ki = ksmfs_inode(file_inode(vmf->vma->vm_file));
	struct ksmfs_slot slot;
	int err;

	err = ksmfs_slot_lock_private(&slot, ki, vmf->pgoff, KSMFS_BY_FAULT,
				      vmf);
	if (err)
		return to_fault(err);
	if (folio_page(slot.folio, 0) != vmf->page) {
		/* That one is mapped here no more: the next fault finds this. */
		ksmfs_slot_unlock(&slot);
		return VM_FAULT_NOPAGE;
	}
	/* The core has a reference of its own. */
	folio_put(slot.folio);
	return VM_FAULT_LOCKED;
}

/*
 * Maps nothing around what a read fault is about.  That there is one tells the
 * core that no fault needs the mmap_lock; else it would begin with the lock of
 * the mapping alone, and do each fault again with that.
 */
static vm_fault_t ksmfs_map_pages(struct vm_fault *vmf, pgoff_t start,
				  pgoff_t end)
{
	return 0;
}

static bool is_unwritable(const struct vm_area_struct *vma)
{
	return (vma->vm_flags & (VM_SHARED | VM_MAYWRITE)) !=
	       (VM_SHARED | VM_MAYWRITE);
}

static void ksmfs_vm_open(struct vm_area_struct *vma)
{
	if (is_unwritable(vma))
		atomic_inc(&ksmfs_inode(file_inode(vma->vm_file))->
			   unwritable_maps);
}

static void ksmfs_vm_close(struct vm_area_struct *vma)
{
	if (is_unwritable(vma))
		atomic_dec(&ksmfs_inode(file_inode(vma->vm_file))->
			   unwritable_maps);
}

const struct vm_operations_struct ksmfs_vm_operations = {
	.open = ksmfs_vm_open,
	.close = ksmfs_vm_close,
	.fault = ksmfs_fault,
	.map_pages = ksmfs_map_pages,
	.page_mkwrite = ksmfs_page_mkwrite,
};
