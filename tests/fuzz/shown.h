/*
 * What ksmctl and ksm-exporter show of a host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_FUZZ_SHOWN_H
#define KSM_FUZZ_SHOWN_H

#include "snapshot/snapshot.h"

/*
 * Whatever is in the files of @host, what is shown is for programs one JSON
 * object, for Prometheus metrics, and for people lines of characters that do
 * nothing to a terminal.  @meter has what was measured before.
 */
void fuzz_check_shown(KsmHost *host, KsmMeter *meter);

#endif
