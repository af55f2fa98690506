/*
 * Any frame, as engines and ksmtuned get it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The first byte of input says from which side it comes.  What both of them
 * rely on in a frame that was found good has to be so.
 */
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "ksm-wire.h"

static void check_terminated(const char *text, size_t size)
{
    g_assert_nonnull(memchr(text, '\0', size));
}

static void check_entries(const uint8_t *payload, uint32_t length,
                          uint32_t flags)
{
    KsmFrameEntry entry;
    uint32_t at;

    g_assert_cmpuint(length % sizeof(entry), ==, 0);
    for (at = 0; at < length; at += sizeof(entry)) {
        memcpy(&entry, payload + at, sizeof(entry));
        g_assert_cmpuint(entry.digest >> KSM_WIRE_DIGEST_BITS, ==, 0);
        g_assert_cmpuint(entry.flags & ~flags, ==, 0);
    }
}

static void check_hello(const uint8_t *payload, uint32_t length)
{
    KsmFrameHello hello;

    g_assert_cmpuint(length, ==, sizeof(hello));
    memcpy(&hello, payload, length);
    g_assert_cmpuint(hello.version, ==, KSM_WIRE_VERSION);
    check_terminated(hello.name, sizeof(hello.name));
}

static void check_report(const uint8_t *payload, uint32_t length)
{
    KsmFrameReport report;

    g_assert_cmpuint(length, ==, sizeof(report));
    memcpy(&report, payload, length);
    g_assert_cmpuint(report.state, <, KSM_REPORT_STATE__MAX);
    check_terminated(report.limit, sizeof(report.limit));
}

static void check_budget(const uint8_t *payload, uint32_t length)
{
    KsmFrameBudget budget;

    g_assert_cmpuint(length, ==, sizeof(budget));
    memcpy(&budget, payload, length);
    g_assert_cmpuint(budget.cpu_permille - 1, <, KSM_BUDGET_CPU_MAX);
}

static void check_frame(const KsmFrameHeader *header, const uint8_t *payload,
                        KsmWireSide from)
{
    switch (header->type) {
    case KSM_FRAME_HELLO:
        g_assert_true(from == KSM_WIRE_FROM_ENGINE);
        check_hello(payload, header->length);
        break;
    case KSM_FRAME_REPORT:
        g_assert_true(from == KSM_WIRE_FROM_ENGINE);
        check_report(payload, header->length);
        break;
    case KSM_FRAME_PUBLISH:
    case KSM_FRAME_WITHDRAW:
        g_assert_true(from == KSM_WIRE_FROM_ENGINE);
        check_entries(payload, header->length, 0);
        break;
    case KSM_FRAME_DEMAND:
        g_assert_true(from == KSM_WIRE_FROM_ENGINE);
        g_assert_cmpuint(header->length, ==, sizeof(KsmFrameDemand));
        break;
    case KSM_FRAME_BUDGET:
        g_assert_true(from == KSM_WIRE_FROM_DAEMON);
        check_budget(payload, header->length);
        break;
    case KSM_FRAME_WELCOME:
        g_assert_true(from == KSM_WIRE_FROM_DAEMON);
        g_assert_cmpuint(header->length, ==, sizeof(KsmFrameWelcome));
        break;
    case KSM_FRAME_REFUSE:
        g_assert_true(from == KSM_WIRE_FROM_DAEMON);
        g_assert_true(g_utf8_validate_len((const char *)payload,
                                          header->length, NULL));
        break;
    case KSM_FRAME_TWINS:
        g_assert_true(from == KSM_WIRE_FROM_DAEMON);
        check_entries(payload, header->length, KSM_ENTRY_TWIN);
        break;
    default:
        g_assert_not_reached();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    KsmFrameHeader header;
    uint8_t *payload;
    KsmWireSide from;

    if (size < 1 + sizeof(header)) {
        return 0;
    }
    from = data[0] & 1 ? KSM_WIRE_FROM_DAEMON : KSM_WIRE_FROM_ENGINE;
    memcpy(&header, data + 1, sizeof(header));
    data += 1 + sizeof(header);
    size -= 1 + sizeof(header);
    if (ksm_wire_check_header(&header, from) != KSM_WIRE_OK ||
        size < header.length) {
        return 0;
    }
    g_assert_cmpuint(header.length, <=, KSM_WIRE_MAX_PAYLOAD);
    /* Of its size, so that the first byte behind it is found. */
    payload = malloc(header.length);
    memcpy(payload, data, header.length);
    if (ksm_wire_check_payload(&header, payload) == KSM_WIRE_OK) {
        check_frame(&header, payload, from);
    }
    free(payload);
    return 0;
}
