/*
 * When guest memory is somebody else's
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "exec/memory.h"
#include "migration/misc.h"
#include "system/runstate.h"
#include "pause.h"

bool ksm_pause_is_receiving(void)
{
    return runstate_check(RUN_STATE_INMIGRATE) ||
           migration_in_incoming_postcopy();
}

bool ksm_pause_is_due(const KsmEngine *e)
{
    return e->yields || e->snapshot || ksm_pause_is_receiving() ||
           /* What is shared is another QEMU's by now. */
           runstate_check(RUN_STATE_POSTMIGRATE) ||
           ram_block_discard_is_disabled();
}
