/*
 * What the tests of the ksm object have in common
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qobject/qlist.h"
#include "ksm-helpers.h"

QDict *ksm_query(QTestState *qts)
{
    QDict *response = qtest_qmp(qts, "{'execute': 'query-ksm'}");
    QDict *info = qdict_get_qdict(response, "return");

    g_assert_nonnull(info);
    qobject_ref(info);
    qobject_unref(response);
    return info;
}

QDict *ksm_find_block(const QDict *info, const char *name)
{
    QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "ramblocks"), entry) {
        QDict *block = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_has_suffix(qdict_get_str(block, "name"), name)) {
            return block;
        }
    }
    return NULL;
}

uint64_t ksm_figure(QTestState *qts, const char *name, const char *what)
{
    g_autoptr(QDict) info = ksm_query(qts);
    QDict *block = ksm_find_block(info, name);

    g_assert_nonnull(block);
    return qdict_get_int(qdict_get_qdict(block, "figures"), what);
}

char *ksm_limit_message(QTestState *qts, const char *name)
{
    g_autoptr(QDict) info = ksm_query(qts);
    QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "limits"), entry) {
        QDict *limit = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(limit, "limit"), name)) {
            return g_strdup(qdict_get_str(limit, "message"));
        }
    }
    return NULL;
}

void ksm_wait_passes(QTestState *qts, int n)
{
    int64_t until = -1;

    for (int i = 0; i < 2000; i++) {
        g_autoptr(QDict) info = ksm_query(qts);
        int64_t now = qdict_get_int(info, "full-scans");

        if (until < 0) {
            until = now + n + 1;
        }
        if (now >= until) {
            return;
        }
        qtest_qmp_assert_success(qts, "{'execute': 'ksm-scan'}");
        g_usleep(10000);
    }
    g_assert_not_reached();
}

void ksm_wait_figure(QTestState *qts, const char *what, uint64_t value)
{
    uint64_t got = 0;

    for (int i = 0; i < 500; i++) {
        got = ksm_figure(qts, "pc.ram", what);
        if (got == value) {
            return;
        }
        ksm_wait_passes(qts, 1);
    }
    g_error("%s is %" PRIu64 ", not %" PRIu64, what, got, value);
}

void ksm_write_page(QTestState *qts, uint64_t address, uint32_t seed)
{
    uint32_t page[PAGE / 4];

    for (int i = 0; i < ARRAY_SIZE(page); i++) {
        page[i] = seed * 2654435761u + i + 1;
    }
    qtest_bufwrite(qts, address, page, sizeof(page));
}
