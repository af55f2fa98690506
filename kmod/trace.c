// SPDX-License-Identifier: GPL-2.0-only
/*
 * Trace events of ksmfs: their definitions
 */
#include "slot.h"

#define CREATE_TRACE_POINTS
#include "trace.h"
