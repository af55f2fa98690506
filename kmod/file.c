// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files: read, write, map, truncate, allocate and punch holes
 */
#include <linux/blk_types.h>
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/highmem.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/splice.h>
#include <linux/uio.h>

#include "compat/compat.h"
#include "slot.h"

static ssize_t ksmfs_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	struct ksmfs_inode *ki = ksmfs_inode(inode);
	ssize_t done = 0;

	while (iov_iter_count(to)) {
		loff_t size = i_size_read(inode);
		size_t offset = offset_in_page(iocb->ki_pos);
		struct folio *folio;
		size_t n, copied;

		if (iocb->ki_pos >= size)
			break;
		n = min3((loff_t)iov_iter_count(to), size - iocb->ki_pos,
			 (loff_t)(PAGE_SIZE - offset));
		/* Not locked: who reads while others write may see either. */
		folio = ksmfs_slot_get_folio(ki, iocb->ki_pos >> PAGE_SHIFT);
		copied = PageHWPoison(folio_page(folio, 0)) ? 0 :
			 copy_page_to_iter(folio_page(folio, 0), offset, n, to);
		if (!copied && PageHWPoison(folio_page(folio, 0))) {
			folio_put(folio);
			return done ?: -EIO;
		}
		folio_put(folio);
		iocb->ki_pos += copied;
		done += copied;
		if (copied < n)
			return done ?: -EFAULT;
		if (fatal_signal_pending(current))
			return done ?: -EINTR;
		cond_resched();
	}
	file_accessed(iocb->ki_filp);
	return done;
}

/* Write into one page: how many bytes, or -errno. */
static ssize_t write_page(struct ksmfs_inode *ki, loff_t pos, size_t n,
			  struct iov_iter *from)
{
	const pgoff_t index = pos >> PAGE_SHIFT;
	const pgoff_t end = ksmfs_end(ki);
	struct ksmfs_slot slot;
	size_t copied;
	int err;

	if (fault_in_iov_iter_readable(from, n) == n)
		return -EFAULT;
	err = ksmfs_slot_lock_private(&slot, ki, index, KSMFS_BY_WRITE, NULL);
	if (err)
		return err == -EHWPOISON ? -EIO : err;
	/* The memory it comes from may be this page: no faults meanwhile. */
	copied = copy_folio_from_iter_atomic(slot.folio, offset_in_page(pos),
					     n, from);
	ksmfs_slot_unlock(&slot);
	if (pos + copied > i_size_read(&ki->vfs_inode))
		i_size_write(&ki->vfs_inode, pos + copied);
	else if (!copied && index >= end)
		ksmfs_slots_remove(ki, index, index + 1);
	return copied;
}

static ssize_t write_locked(struct kiocb *iocb, struct iov_iter *from)
{
	struct file *file = iocb->ki_filp;
	struct ksmfs_inode *ki = ksmfs_inode(file_inode(file));
	ssize_t err, done = 0;

	err = generic_write_checks(iocb, from);
	if (err <= 0)
		return err;
	err = file_remove_privs(file) ?: file_update_time(file);
	if (err)
		return err;
	while (iov_iter_count(from)) {
		size_t n = min_t(size_t, iov_iter_count(from),
				 PAGE_SIZE - offset_in_page(iocb->ki_pos));
		ssize_t copied = write_page(ki, iocb->ki_pos, n, from);

		if (copied < 0)
			return done ?: copied;
		iocb->ki_pos += copied;
		done += copied;
		if (fatal_signal_pending(current))
			return done ?: -EINTR;
		cond_resched();
	}
	return done;
}

static ssize_t ksmfs_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	ssize_t done;

	inode_lock(inode);
	done = write_locked(iocb, from);
	inode_unlock(inode);
	return done;
}

/* Bytes [@from, @to), all of one page, are 0 from now on. */
static int zero_bytes(struct ksmfs_inode *ki, loff_t from, loff_t to)
{
	struct ksmfs_slot slot;
	int err;

	if (from == to || !xa_load(&ki->slots, from >> PAGE_SHIFT))
		return 0;
	err = ksmfs_slot_lock_private(&slot, ki, from >> PAGE_SHIFT,
				      KSMFS_BY_WRITE, NULL);
	if (err)
		return err == -EHWPOISON ? -EIO : err;
	folio_zero_range(slot.folio, offset_in_page(from), to - from);
	ksmfs_slot_unlock(&slot);
	return 0;
}

static int resize(struct inode *inode, loff_t size)
{
	struct ksmfs_inode *ki = ksmfs_inode(inode);
	loff_t old = i_size_read(inode);
	loff_t whole = round_up(size, PAGE_SIZE);
	int err;

	if (size < old) {
		err = zero_bytes(ki, size, min(whole, old));
		if (err)
			return err;
	}
	truncate_setsize(inode, size);
	if (size < old) {
		/* Now nobody maps anything behind the end any more. */
		ksmfs_slots_wait_faults(ki);
		ksmfs_slots_remove(ki, whole >> PAGE_SHIFT, ULONG_MAX);
		unmap_mapping_range(inode->i_mapping, whole, 0, 0);
	}
	return 0;
}

static int ksmfs_setattr(struct mnt_idmap *idmap, struct dentry *dentry,
			 struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	int err = setattr_prepare(idmap, dentry, attr);

	if (err)
		return err;
	if (attr->ia_valid & ATTR_SIZE) {
		err = resize(inode, attr->ia_size);
		if (err)
			return err;
	}
	setattr_copy(idmap, inode, attr);
	return 0;
}

static int ksmfs_getattr(struct mnt_idmap *idmap, const struct path *path,
			 struct kstat *stat, u32 request_mask,
			 unsigned int flags)
{
	struct inode *inode = d_inode(path->dentry);
	struct ksmfs_inode *ki = ksmfs_inode(inode);
	u64 pages = atomic_long_read(&ki->pages_private) +
		    atomic_long_read(&ki->pages_sharing) +
		    atomic_long_read(&ki->pages_zero);

	generic_fillattr(idmap, request_mask, inode, stat);
	stat->blocks = pages * (PAGE_SIZE / SECTOR_SIZE);
	return 0;
}

static int punch(struct inode *inode, loff_t from, loff_t to)
{
	struct ksmfs_inode *ki = ksmfs_inode(inode);
	loff_t first = round_up(from, PAGE_SIZE);
	loff_t last = round_down(to, PAGE_SIZE);
	int err;

	if (first > last)
		return zero_bytes(ki, from, to);
	err = zero_bytes(ki, from, first) ?: zero_bytes(ki, last, to);
	if (err || first == last)
		return err;
	/* All at once, so that little is left to be unmapped page by page. */
	unmap_mapping_range(inode->i_mapping, first, last - first, 0);
	ksmfs_slots_remove(ki, first >> PAGE_SHIFT, last >> PAGE_SHIFT);
	return 0;
}

static int allocate(struct inode *inode, loff_t from, loff_t to)
{
	struct ksmfs_inode *ki = ksmfs_inode(inode);
	pgoff_t end = DIV_ROUND_UP_ULL((u64)to, PAGE_SIZE);

	for (pgoff_t index = from >> PAGE_SHIFT; index < end; index++) {
		struct ksmfs_slot slot;
		int err;

		if (signal_pending(current))
			return -EINTR;
		if (xa_load(&ki->slots, index))
			continue;
		err = ksmfs_slot_lock_private(&slot, ki, index, KSMFS_BY_WRITE,
					      NULL);
		if (err)
			return err;
		ksmfs_slot_unlock(&slot);
		cond_resched();
	}
	return 0;
}

static long ksmfs_fallocate(struct file *file, int mode, loff_t offset,
			    loff_t length)
{
	struct inode *inode = file_inode(file);
	loff_t end = offset + length;
	loff_t size;
	int err = 0;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE))
		return -EOPNOTSUPP;
	inode_lock(inode);
	size = i_size_read(inode);
	if (mode & FALLOC_FL_PUNCH_HOLE) {
		err = punch(inode, offset, end);
	} else {
		/* Nothing is kept behind the end, so nothing allocated there. */
		if (mode & FALLOC_FL_KEEP_SIZE)
			end = min(end, size);
		else if (end > size)
			err = inode_newsize_ok(inode, end);
		err = err ?: allocate(inode, offset, end);
		if (err && end > size)
			ksmfs_slots_remove(ksmfs_inode(inode),
					   ksmfs_end(ksmfs_inode(inode)),
					   ULONG_MAX);
		else if (end > size)
			i_size_write(inode, end);
	}
	if (!err)
		err = file_modified(file);
	inode_unlock(inode);
	return err;
}

static int ksmfs_mmap(struct file *file, struct vm_area_struct *vma)
{
	file_accessed(file);
	vma->vm_ops = &ksmfs_vm_operations;
	/*
	 * It is counted before it is there to be found: what a walk of COLLECT
	 * has met is known when the walk is over.
	 */
	vma->vm_ops->open(vma);
	return 0;
}

static int ksmfs_release(struct inode *inode, struct file *file)
{
	ksmfs_collect_release(file);
	return 0;
}

const struct file_operations ksmfs_file_operations = {
	.read_iter = ksmfs_read_iter,
	.write_iter = ksmfs_write_iter,
	.mmap = ksmfs_mmap,
	.release = ksmfs_release,
	.fsync = noop_fsync,
	.llseek = generic_file_llseek,
	.fallocate = ksmfs_fallocate,
	.unlocked_ioctl = ksmfs_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.splice_read = copy_splice_read,
	.splice_write = iter_file_splice_write,
};

const struct inode_operations ksmfs_file_inode_operations = {
	.setattr = ksmfs_setattr,
	.getattr = ksmfs_getattr,
};
