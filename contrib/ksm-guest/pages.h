/*
 * Which page frames a process, or a file, is in
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * By /proc/PID/pagemap, which tells frames to root only.
 */
#ifndef KSM_GUEST_PAGES_H
#define KSM_GUEST_PAGES_H

#include <sys/types.h>

#include "ranges.h"

typedef struct PageCount {
    uint64_t found;     /* frames added */
    uint64_t absent;    /* pages that have none now: never used, or swapped */
} PageCount;

/*
 * Add the frames of [@start, @end) of process @pid; with @start == @end those
 * of all its private memory that may be written.  Errors end the program.
 */
PageCount pages_of_process(pid_t pid, uint64_t start, uint64_t end,
                           uint32_t advice, Ranges *ranges);
/* Add the frames of the file's contents, which are read in if need be. */
PageCount pages_of_file(const char *path, uint32_t advice, Ranges *ranges);
/*
 * As of a process, for all that are called @name; none is no error.  Returns
 * their number.
 */
unsigned pages_of_name(const char *name, uint32_t advice, Ranges *ranges,
                       PageCount *count);

#endif
