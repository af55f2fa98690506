/*
 * What the tests of the ksm object have in common
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_KSM_HELPERS_H
#define TESTS_KSM_HELPERS_H

#include "qemu/units.h"
#include "libqtest.h"
#include "qobject/qdict.h"

#define PAGE    4096u
/* Free of what firmware tables use, and aligned to huge pages. */
#define BASE    (16 * MiB)

/* No ksmtuned is asked, wherever one may run. */
#define ALONE   "rendezvous.type=unix,rendezvous.path=/nonexistent/helper.sock"
#define KSM     "-object ksm,id=ksm0,sleep-millisecs=10,max-cpu-percent=100,"
#define MACHINE "-machine q35 -m 128 -nodefaults "

QDict *ksm_query(QTestState *qts);
QDict *ksm_find_block(const QDict *info, const char *name);
/* A figure of RAMBlock @name. */
uint64_t ksm_figure(QTestState *qts, const char *name, const char *what);
/* The message of limit @name, or NULL; free it. */
char *ksm_limit_message(QTestState *qts, const char *name);
/* Let @n passes begin and end. */
void ksm_wait_passes(QTestState *qts, int n);
void ksm_wait_figure(QTestState *qts, const char *what, uint64_t value);
/* A page that no other @seed makes. */
void ksm_write_page(QTestState *qts, uint64_t address, uint32_t seed);

#endif
