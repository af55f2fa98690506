/*
 * What metrics have to look like
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_FUZZ_METRICS_FORM_H
#define KSM_FUZZ_METRICS_FORM_H

#include "exposition.h"

/*
 * Whatever names are in @text, it has good lines in @format only, and each
 * series once.  Returns how many lines it has.
 */
unsigned fuzz_check_metrics(GBytes *text, ExporterFormat format);

#endif
