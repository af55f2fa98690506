/*
 * A RAMBlock as the engine works on it: its pages and regions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "hw/boards.h"
#include "system/hostmem.h"
#include "block.h"

static RAMBlock *find_ram_block(void *host)
{
    RAMBlock *rb;

    RAMBLOCK_FOREACH(rb) {
        if (rb->host == host) {
            return rb;
        }
    }
    return NULL;
}

KsmBlock *ksm_block_containing(const uint8_t *host)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        if (rb->host && (size_t)(host - rb->host) < rb->used_length) {
            return ksm_block_new(rb->host, rb->used_length, rb->max_length);
        }
    }
    return NULL;
}

KsmBlock *ksm_block_new(void *host, uint64_t size, uint64_t max_size)
{
    KsmBlock *block = g_new0(KsmBlock, 1);

    block->host = host;
    block->page_bits = ctz64(qemu_real_host_page_size());
    block->size = size;
    block->max_size = max_size;
    return block;
}

char *ksm_block_name(const KsmBlock *block)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    rb = find_ram_block(block->host);
    if (!rb) {
        return g_strdup("");
    }
    return g_strdup(rb->idstr[0] ? rb->idstr : memory_region_name(rb->mr));
}

void ksm_block_free(KsmBlock *block)
{
    ksm_block_stop(block);
    g_free(block);
}

static size_t regions_of(const KsmBlock *block, uint64_t size)
{
    return DIV_ROUND_UP((uintptr_t)block->host % KSM_REGION_SIZE + size,
                        KSM_REGION_SIZE);
}

void ksm_block_start(KsmBlock *block, uint32_t first)
{
    const size_t page_size = qemu_real_host_page_size();
    const size_t max_regions = regions_of(block, block->max_size);

    block->eligible = true;
    block->first = first;
    block->skew = (uintptr_t)block->host % KSM_REGION_SIZE / page_size;
    block->n_pages = block->size / page_size;
    block->n_regions = regions_of(block, block->size);
    /* Large, and mostly untouched while the guest has not used its memory. */
    block->pages = g_new0(KsmPage, block->max_size / page_size);
    block->regions = g_new0(KsmRegion, max_regions);
    for (size_t r = 0; r < max_regions; r++) {
        block->regions[r].interval = 1;
    }
}

/* What is advised of pages from @page on. */
static void forget_advised(KsmBlock *block, size_t page)
{
    const size_t n = regions_of(block, block->max_size);
    size_t r = ksm_block_region_of(block, page);
    KsmAdvisedPages *advised = block->regions[r].advised;
    size_t first, last;

    ksm_region_pages(block, r, &first, &last);
    if (advised && page > first) {
        bitmap_clear(advised->never, page - first,
                     KSM_REGION_MAX_PAGES - (page - first));
        bitmap_clear(advised->rewritten, page - first,
                     KSM_REGION_MAX_PAGES - (page - first));
        r++;
    }
    for (; r < n; r++) {
        g_clear_pointer(&block->regions[r].advised, g_free);
    }
}

void ksm_block_stop(KsmBlock *block)
{
    if (block->regions) {
        forget_advised(block, 0);
        for (size_t r = 0; r < regions_of(block, block->max_size); r++) {
            g_free(block->regions[r].filled);
        }
    }
    block->eligible = false;
    block->n_pages = block->n_regions = 0;
    g_clear_pointer(&block->pages, g_free);
    g_clear_pointer(&block->regions, g_free);
}

KsmBlock *ksm_block_leave(KsmBlock *block)
{
    KsmBlock *leaving = ksm_block_new(NULL, block->size, block->max_size);

    leaving->backend = block->backend;
    leaving->first = block->first;
    leaving->n_pages = block->n_pages;
    leaving->pages = g_steal_pointer(&block->pages);
    ksm_block_stop(block);
    return leaving;
}

void ksm_block_resize(KsmBlock *block, uint64_t size)
{
    const size_t n_pages = size / qemu_real_host_page_size();

    block->size = size;
    if (!block->eligible) {
        return;
    }
    for (size_t p = n_pages; p < block->n_pages; p++) {
        ksm_block_set_page(block, p, 0);
    }
    if (n_pages < block->n_pages) {
        forget_advised(block, n_pages);
    }
    block->n_pages = n_pages;
    block->n_regions = regions_of(block, size);
}

bool ksm_block_merge_enabled(void *host)
{
    RAMBlock *rb;
    Object *owner;

    RCU_READ_LOCK_GUARD();
    rb = find_ram_block(host);
    owner = rb ? memory_region_owner(rb->mr) : NULL;
    if (owner && object_dynamic_cast(owner, TYPE_MEMORY_BACKEND)) {
        return MEMORY_BACKEND(owner)->merge;
    }
    return machine_mem_merge(current_machine);
}

static bool is_read_only(const RAMBlock *rb)
{
    return rb->mr->readonly || rb->mr->rom_device ||
           (rb->flags & (RAM_READONLY | RAM_READONLY_FD));
}

bool ksm_block_is_read_only(const KsmBlock *block)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    rb = find_ram_block(block->host);
    return !rb || is_read_only(rb);
}

bool ksm_block_is_eligible(KsmBlock *block)
{
    const size_t page_size = qemu_real_host_page_size();
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    rb = find_ram_block(block->host);
    if (!rb || rb->mr->ram_device) {
        block->reason = KSM_INELIGIBLE_DEVICE;
    } else if (!block->merge) {
        block->reason = KSM_INELIGIBLE_MERGE_OFF;
    } else if (qemu_ram_pagesize(rb) > page_size) {
        block->reason = KSM_INELIGIBLE_HUGETLB;
    } else if (is_read_only(rb)) {
        block->reason = KSM_INELIGIBLE_READ_ONLY;
    } else if (current_machine->cgs || (rb->flags & RAM_GUEST_MEMFD)) {
        block->reason = KSM_INELIGIBLE_CONFIDENTIAL;
    } else if (rb->flags & RAM_PREALLOC) {
        /* The memory is a device's or an accelerator's own. */
        block->reason = KSM_INELIGIBLE_DEVICE;
    } else if (block->size < page_size ||
               !QEMU_IS_ALIGNED((uintptr_t)block->host | block->size,
                                page_size)) {
        block->reason = KSM_INELIGIBLE_UNALIGNED;
    } else if (ram_block_discard_is_disabled()) {
        block->reason = KSM_INELIGIBLE_PINNED;
    } else {
        return true;
    }
    return false;
}

bool ksm_block_is_private(KsmBlock *block)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    rb = find_ram_block(block->host);
    if (rb->flags & RAM_SHARED) {
        block->reason = KSM_INELIGIBLE_SHARED;
    } else if (rb->fd >= 0) {
        block->reason = KSM_INELIGIBLE_FILE;
    } else {
        return true;
    }
    return false;
}

int ksm_block_shared_fd(const KsmBlock *block, uint64_t *offset)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    rb = find_ram_block(block->host);
    *offset = rb->fd_offset;
    return rb->flags & RAM_SHARED ? rb->fd : -1;
}

char *ksm_block_ineligible_message(const KsmBlock *block,
                                   KsmIneligible reason)
{
    static const char *const why[KSM_INELIGIBLE__MAX] = {
        [KSM_INELIGIBLE_MERGE_OFF] =
            "is excluded by mem-merge=off or merge=off: set it to on",
        [KSM_INELIGIBLE_HUGETLB] =
            "is of explicit huge pages, which can't be merged: use memory"
            " without hugetlb",
        [KSM_INELIGIBLE_READ_ONLY] =
            "is read-only: nothing in it changes, so it is not tracked; a ROM"
            " is marked whole",
        [KSM_INELIGIBLE_DEVICE] = "is a device's memory",
        [KSM_INELIGIBLE_SHARED] =
            "is share=on and not on ksmfs: mount ksmfs and use mem-path=, or"
            " share=off",
        [KSM_INELIGIBLE_FILE] =
            "is private memory of a file: use memory-backend-ram",
        [KSM_INELIGIBLE_CONFIDENTIAL] =
            "belongs to a confidential guest, whose memory the host can't"
            " read",
        [KSM_INELIGIBLE_PINNED] =
            "is pinned for a device: without vfio devices it can be merged",
        [KSM_INELIGIBLE_RECEIVING] = "is being received by migration",
        [KSM_INELIGIBLE_UNALIGNED] = "is not made of whole host pages",
        [KSM_INELIGIBLE_NOT_KSMFS] =
            "is not on ksmfs: use memory-backend-file with share=on and"
            " mem-path= on a mount of it, or backend=auto",
        [KSM_INELIGIBLE_TOO_LARGE] =
            "has more pages than can be numbered together with the others':"
            " give the guest less than 2^32 pages",
    };

    g_autofree char *name = ksm_block_name(block);

    return g_strdup_printf("RAMBlock '%s' %s", name, why[reason]);
}

void ksm_region_pages(const KsmBlock *block, size_t r, size_t *first,
                      size_t *last)
{
    const size_t n = 1ul << (KSM_REGION_BITS - block->page_bits);

    *first = r ? r * n - block->skew : 0;
    *last = MIN((r + 1) * n - block->skew, block->n_pages);
}

size_t ksm_regions_memory(const KsmBlock *block, size_t r, size_t end,
                          uint8_t **host)
{
    size_t first, last, ignored;

    ksm_region_pages(block, r, &first, &ignored);
    ksm_region_pages(block, end - 1, &ignored, &last);
    *host = ksm_block_page_host(block, first);
    return ksm_block_page_host(block, last) - *host;
}

void ksm_block_set_page(KsmBlock *block, size_t page, KsmPage value)
{
    KsmRegion *region = &block->regions[ksm_block_region_of(block, page)];
    const KsmPage old = block->pages[page];
    const KsmPage changed = old ^ value;

    block->pages[page] = value;
    if (!(changed & KSM_PAGE_FLAGS)) {
        return;
    }
    region->unstable += ksm_page_is_volatile(value) -
                        ksm_page_is_volatile(old);
    if (changed & KSM_PAGE_SUBMITTED) {
        region->submitted += value & KSM_PAGE_SUBMITTED ? 1 : -1;
    }
    if (changed & KSM_PAGE_MARKED) {
        region->marked += value & KSM_PAGE_MARKED ? 1 : -1;
    }
    if (!(changed & (KSM_PAGE_TWIN | KSM_PAGE_ZERO | KSM_PAGE_ZEROPAGE))) {
        return;
    }
    if (changed & KSM_PAGE_TWIN) {
        region->twins += value & KSM_PAGE_TWIN ? 1 : -1;
    }
    if (changed & KSM_PAGE_ZERO) {
        region->zeros += value & KSM_PAGE_ZERO ? 1 : -1;
    }
    if (changed & KSM_PAGE_ZEROPAGE) {
        region->zeropages += value & KSM_PAGE_ZEROPAGE ? 1 : -1;
    }
    region->marks_due = true;
    region->quiet = 0;
}

size_t ksm_block_metadata(const KsmBlock *block)
{
    size_t bytes = sizeof(*block);

    if (block->pages) {
        bytes += block->max_size / qemu_real_host_page_size() *
                 sizeof(KsmPage);
    }
    if (block->regions) {
        bytes += regions_of(block, block->max_size) * sizeof(KsmRegion);
    }
    for (size_t r = 0; r < block->n_regions; r++) {
        bytes += block->regions[r].advised ? sizeof(KsmAdvisedPages) : 0;
        bytes += block->regions[r].filled ? sizeof(KsmFilledPages) : 0;
    }
    return bytes;
}

void ksm_block_add_figures(const KsmBlock *block, KsmFigures *sum)
{
    const KsmFigures *own = &block->figures;

    sum->pages_scanned += own->pages_scanned;
    sum->pages_hashed += own->pages_hashed;
    sum->pages_submitted += own->pages_submitted;
    sum->poisoned += own->poisoned;
    if (block->whole) {
        sum->pages_marked += block->max_size / qemu_real_host_page_size();
    }
    for (size_t r = 0; r < block->n_regions; r++) {
        const KsmRegion *region = &block->regions[r];
        size_t first, last;

        ksm_region_pages(block, r, &first, &last);
        sum->pages_tracked += region->armed ? last - first : 0;
        sum->pages_twins += region->twins;
        sum->pages_unshared += region->submitted - region->twins;
        sum->pages_volatile += region->unstable;
        sum->pages_zero += region->zeros;
        sum->pages_zero_shared += region->zeropages;
        sum->pages_marked += region->marked;
    }
}
