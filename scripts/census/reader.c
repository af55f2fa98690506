/*
 * Reads the RAM of a guest: its resident pages, and no others
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * To read a hole would populate it, and to read a swapped page would bring it
 * in.  So pagemap is asked right before each read of up to a region, and what
 * is resident is read in runs.  A page that goes away in between is the one
 * exception.
 *
 * From /proc/PID/mem, and not by process_vm_readv(), which is faster: that pins
 * pages, and the kernel copies one that ksmd has merged for whoever pins it (as
 * seen on Linux 6.18).  To look would undo the merging.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"
#include "host/memory.h"
#include "pagemap.h"
#include "reader.h"

typedef struct Reader {
    CensusGuest *guest;
    CensusMapping *mapping;
    unsigned number;            /* of the mapping */
    Digests *digests;
    int memory;
    int pagemap;
    PagemapPage *pages;         /* of a region */
    char *data;                 /* for as many */
    bool *scanned;
} Reader;

static bool page_is_zero(const char *data)
{
    return !data[0] && !memcmp(data, data + 1, ksm_page_size() - 1);
}

static void reader_add(const Reader *reader, const PagemapPage *page,
                       const char *data, uint64_t number)
{
    CensusMapping *mapping = reader->mapping;

    if (page_is_zero(data)) {
        g_array_append_val(reader->guest->zero_frames[mapping->pool],
                           page->frame);
        mapping->marks[number] |= CENSUS_ZERO | CENSUS_TWIN;
    } else {
        digests_add(reader->digests, digest_of(data), page->frame,
                    reader->number, number);
    }
    reader->guest->shares[mapping->pool].resident++;
    if (page->flags & PAGEMAP_HUGE) {
        mapping->marks[number] |= CENSUS_HUGE;
    }
}

/*
 * Read @count resident pages, from @page of the mapping on; @known is what
 * pagemap said of them.
 */
static bool reader_run(const Reader *reader, uint64_t page,
                       const PagemapPage *known, size_t count, GError **error)
{
    const size_t size = ksm_page_size();
    size_t done = 0, read;

    while (done < count) {
        off_t at = reader->mapping->start + (page + done) * size;
        ssize_t got = pread(reader->memory, reader->data,
                            (count - done) * size, at);

        /* The kernel has no memory of it any more. */
        if (!got) {
            return census_guest_ended(error);
        }
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && errno != EIO) {
            return census_guest_fail(reader->guest, "read", "mem", errno,
                                     error);
        }
        /* The next page can't be read: it has an error, or was unmapped. */
        if (got < 0) {
            reader->guest->unreadable++;
            done++;
            continue;
        }
        for (read = 0; read < got / size; read++, done++) {
            reader_add(reader, known + done, reader->data + read * size,
                       page + done);
        }
    }
    return true;
}

/* The @count pages from @page on, which are at most a region. */
static bool reader_part(const Reader *reader, uint64_t page, size_t count,
                        GError **error)
{
    const PagemapPage *known = reader->pages;
    size_t i, first;

    if (!pagemap_read(reader->pagemap,
                      reader->mapping->start + page * ksm_page_size(),
                      reader->pages, count, reader->scanned)) {
        return census_guest_ended(error);
    }
    for (i = 0; i < count; i++) {
        reader->guest->zero_mapped += known[i].flags == PAGEMAP_ZERO_PAGE;
    }
    for (i = 0; i < count; i++) {
        first = i;
        while (i < count && known[i].flags & PAGEMAP_RESIDENT) {
            i++;
        }
        if (i > first && !reader_run(reader, page + first, known + first,
                                     i - first, error)) {
            return false;
        }
    }
    return true;
}

/* Regions are aligned, as huge pages are. */
static bool reader_parts(const Reader *reader, GError **error)
{
    const uint64_t size = ksm_page_size();
    const uint64_t start = reader->mapping->start;
    const uint64_t end = start + reader->mapping->pages * size;
    uint64_t at = start, part_end;

    while (at < end) {
        if (!pagemap_next(reader->pagemap, &at, end)) {
            return census_guest_ended(error);
        }
        part_end = MIN((at / CENSUS_REGION_BYTES + 1) * CENSUS_REGION_BYTES,
                       end);
        if (!reader_part(reader, (at - start) / size, (part_end - at) / size,
                         error)) {
            return false;
        }
        at = part_end;
    }
    return true;
}

bool reader_read(Census *census, unsigned number, Digests *digests,
                 GError **error)
{
    CensusMapping *mapping = g_ptr_array_index(census->mappings, number);
    Reader reader = {
        .guest = g_ptr_array_index(census->guests, mapping->guest),
        .mapping = mapping,
        .number = number,
        .digests = digests,
        .memory = -1,
        .pagemap = -1,
        .scanned = &census->scanned,
    };
    bool done = false;

    reader.memory = census_guest_open(reader.guest, "mem", error);
    if (reader.memory >= 0) {
        reader.pagemap = census_guest_open(reader.guest, "pagemap", error);
    }
    if (reader.pagemap >= 0) {
        reader.pages = g_new(PagemapPage,
                             CENSUS_REGION_BYTES / ksm_page_size());
        reader.data = g_malloc(CENSUS_REGION_BYTES);
        done = reader_parts(&reader, error);
        g_free(reader.data);
        g_free(reader.pages);
        close(reader.pagemap);
    }
    if (reader.memory >= 0) {
        close(reader.memory);
    }
    return done;
}
