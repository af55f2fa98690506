/*
 * The RAM of a guest, from /proc/PID/smaps
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ram_block_add() of every QEMU calls madvise() on the memory of each RAMBlock:
 * with MADV_DONTFORK, but for qtest, and with MADV_HUGEPAGE, where the kernel
 * has huge pages.  The kernel shows both as flags of the mapping.  Nothing else
 * of QEMU is so, but for the code that TCG makes, which is executable.
 *
 * Blocks of every size count: what is the same in all guests, as ROMs are, can
 * be merged, too.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"
#include "host/memory.h"
#include "ram.h"

/* A mapping as the file has it. */
typedef struct Vma {
    uint64_t start;
    uint64_t end;
    char rights[5];
    unsigned long inode;
    uint64_t resident_kib;      /* of hugetlb, too */
    uint64_t huge_kib;
    uint64_t swapped_kib;
} Vma;

void census_mapping_free(CensusMapping *mapping)
{
    g_free(mapping->marks);
    g_free(mapping);
}

static bool flags_have(const char *flags, const char *flag)
{
    const char *found = strstr(flags, flag);

    /* All have two letters, and a space before and after. */
    return found && found[-1] == ' ' && (!found[2] || found[2] == ' ');
}

static bool vma_is_ram(const Vma *vma, const char *flags)
{
    return vma->rights[0] == 'r' &&
           (flags_have(flags, "dc") || flags_have(flags, "hg")) &&
           !flags_have(flags, "ex") && !flags_have(flags, "io") &&
           !flags_have(flags, "pf");
}

static CensusPool vma_pool(const Vma *vma, const char *flags)
{
    if (flags_have(flags, "ht")) {
        return CENSUS_NEITHER;
    }
    if (vma->rights[3] == 's') {
        return CENSUS_SHARED;
    }
    return vma->inode ? CENSUS_NEITHER : CENSUS_PRIVATE;
}

/* What the engine marks or tracks is in a mapping of its own: join them. */
static CensusMapping *vma_mapping(const Vma *vma, CensusPool pool,
                                  unsigned guest, GPtrArray *mappings)
{
    CensusMapping *last = mappings->len ?
                          g_ptr_array_index(mappings, mappings->len - 1) :
                          NULL;

    if (!last || last->guest != guest || last->pool != pool ||
        last->start + last->pages * ksm_page_size() != vma->start) {
        last = g_new0(CensusMapping, 1);
        last->guest = guest;
        last->pool = pool;
        last->start = vma->start;
        g_ptr_array_add(mappings, last);
    }
    return last;
}

/* Its last line, @flags, has been read. */
static void vma_add(const Vma *vma, const char *flags, CensusGuest *guest,
                    unsigned number, GPtrArray *mappings)
{
    CensusPool pool = vma_pool(vma, flags);

    if (!vma_is_ram(vma, flags)) {
        return;
    }
    vma_mapping(vma, pool, number, mappings)->pages +=
        (vma->end - vma->start) / ksm_page_size();
    guest->swapped_bytes += vma->swapped_kib * 1024;
    guest->huge_bytes += vma->huge_kib * 1024;
    if (pool == CENSUS_NEITHER) {
        guest->neither_bytes += vma->resident_kib * 1024;
    }
}

static void vma_size(Vma *vma, const char *name, uint64_t kib)
{
    if (!strcmp(name, "Rss") || g_str_has_suffix(name, "_Hugetlb")) {
        vma->resident_kib += kib;
    } else if (!strcmp(name, "AnonHugePages") ||
               g_str_has_suffix(name, "PmdMapped")) {
        vma->huge_kib += kib;
    } else if (!strcmp(name, "Swap")) {
        vma->swapped_kib += kib;
    }
}

/* "start-end rights offset device inode path", or "Name: value". */
static bool vma_begins(Vma *vma, const char *line)
{
    Vma begun = { 0 };

    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %lu", &begun.start,
               &begun.end, begun.rights, &begun.inode) != 4) {
        return false;
    }
    *vma = begun;
    return true;
}

static void ram_read(FILE *smaps, CensusGuest *guest, unsigned number,
                     GPtrArray *mappings)
{
    Vma vma = { 0 };
    char *line = NULL;
    size_t size = 0;

    while (getline(&line, &size, smaps) > 0) {
        char *colon;

        g_strchomp(line);
        /* A path may have a colon, too. */
        if (vma_begins(&vma, line)) {
            continue;
        }
        colon = strchr(line, ':');
        if (!colon) {
            continue;
        }
        *colon = '\0';
        if (!strcmp(line, "VmFlags")) {
            vma_add(&vma, colon + 1, guest, number, mappings);
        } else {
            vma_size(&vma, line, g_ascii_strtoull(colon + 1, NULL, 10));
        }
    }
    free(line);
}

static bool ram_add_marks(GPtrArray *mappings, guint first, GError **error)
{
    guint i;

    for (i = first; i < mappings->len; i++) {
        CensusMapping *mapping = g_ptr_array_index(mappings, i);

        if (mapping->pool == CENSUS_NEITHER) {
            continue;
        }
        /* Takes no memory where there are holes, which may be huge. */
        mapping->marks = g_try_malloc0(mapping->pages);
        if (!mapping->marks) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOMEM, "it has "
                        "mapped %" PRIu64 " GiB at 0x%" PRIx64 ", for which "
                        "there is not enough memory: it is left out",
                        mapping->pages * ksm_page_size() >> 30,
                        mapping->start);
            return false;
        }
    }
    return true;
}

bool census_ram_find(CensusGuest *guest, unsigned number, GPtrArray *mappings,
                     GError **error)
{
    int fd = census_guest_open(guest, "smaps", error);
    guint first = mappings->len;
    FILE *smaps;
    int number_of_error;

    if (fd < 0) {
        return false;
    }
    smaps = fdopen(fd, "r");
    errno = 0;
    ram_read(smaps, guest, number, mappings);
    number_of_error = ferror(smaps) ? errno : 0;
    fclose(smaps);
    if (number_of_error) {
        return census_guest_fail(guest, "read", "smaps", number_of_error,
                                 error);
    }
    if (mappings->len == first) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s/smaps shows "
                    "no guest RAM: give the process IDs of QEMUs",
                    guest->path);
        return false;
    }
    return ram_add_marks(mappings, first, error);
}
