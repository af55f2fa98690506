/*
 * What fuzzed programs have in common
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each has the function that libFuzzer calls.  Without libFuzzer replay.c calls
 * it, with inputs that were kept.  A fault of what is tested, and whatever of
 * its results is not as it should be, aborts.
 */
#ifndef KSM_FUZZ_H
#define KSM_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * A directory of this process, as long as it lives.  Its parent is that of
 * g_get_tmp_dir(): best one in memory.
 */
const char *fuzz_directory(void);
/* Make the file @name in there hold @data, and its directories if need be. */
void fuzz_write(const char *name, const void *data, size_t size);
void fuzz_remove(const char *name);
/* The path of @name there, which the caller frees. */
char *fuzz_path(const char *name);

/* How many descriptors this process has open. */
unsigned fuzz_open_fds(void);

/* Is @text, printed for programs, one JSON object? */
void fuzz_check_json(const char *text);

#endif
