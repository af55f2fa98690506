/*
 * Merge backend: none
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Answers what merging would save: the engine finds twins and merges nothing.
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "backend.h"

static bool null_probe(KsmBlock *block)
{
    return ksm_block_is_private(block);
}

static bool null_available(Error **errp)
{
    return true;
}

static const KsmBackend null_backend = {
    .type = KSM_BACKEND_TYPE_NULL,
    .probe = null_probe,
    .available = null_available,
    .submit = ksm_twins_submit,
    .withdraw = ksm_twins_withdraw,
};

static void null_register(void)
{
    ksm_backend_register(&null_backend);
}

type_init(null_register)
