/*
 * Numbers that people write
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_NUMBER_H
#define KSM_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

/*
 * All of @text is a number from @least to @most: decimal, or hexadecimal after
 * "0x".  False: it isn't, and @number stays as it is.
 */
bool ksm_number_parse(const char *text, int64_t least, int64_t most,
                      int64_t *number);

#endif
