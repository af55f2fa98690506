/*
 * Checks of the frames between a KSM engine and ksmtuned
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Both ends call these before they use anything of a frame, and trust nothing
 * else.  A HELLO or WELCOME of another version may be of another length: only
 * its first field, the version, is looked at, so that its sender is told about
 * the version and not about a length.
 */
#include <glib.h>
#include <string.h>

#include "ksm-wire.h"

/* The layout is the protocol: it may not depend on the compiler. */
G_STATIC_ASSERT(sizeof(KsmFrameHeader) == 8);
G_STATIC_ASSERT(sizeof(KsmFrameHello) == 64);
G_STATIC_ASSERT(sizeof(KsmFrameWelcome) == 48);
G_STATIC_ASSERT(sizeof(KsmFrameEntry) == 16);
G_STATIC_ASSERT(sizeof(KsmFrameDemand) == 16);
G_STATIC_ASSERT(sizeof(KsmFrameReport) == 296);
G_STATIC_ASSERT(sizeof(KsmFrameBudget) == 8);
G_STATIC_ASSERT(KSM_WIRE_MAX_PAYLOAD % sizeof(KsmFrameEntry) == 0);

/* Pages have 32-bit numbers, so no engine has more of them. */
#define KSM_WIRE_MAX_PAGES      (UINT64_C(1) << 32)

static bool ksm_wire_length_ok(uint16_t type, uint32_t length)
{
    switch (type) {
    case KSM_FRAME_HELLO:
    case KSM_FRAME_WELCOME:
        return length >= sizeof(uint32_t);
    case KSM_FRAME_REFUSE:
        return true;
    case KSM_FRAME_PUBLISH:
    case KSM_FRAME_WITHDRAW:
    case KSM_FRAME_TWINS:
        return length > 0 && length % sizeof(KsmFrameEntry) == 0;
    case KSM_FRAME_DEMAND:
        return length == sizeof(KsmFrameDemand);
    case KSM_FRAME_REPORT:
        return length == sizeof(KsmFrameReport);
    case KSM_FRAME_BUDGET:
        return length == sizeof(KsmFrameBudget);
    default:
        return false;
    }
}

KsmWireError ksm_wire_check_header(const KsmFrameHeader *header,
                                   KsmWireSide from)
{
    KsmWireSide sender;

    switch (header->type) {
    case KSM_FRAME_HELLO:
    case KSM_FRAME_PUBLISH:
    case KSM_FRAME_WITHDRAW:
    case KSM_FRAME_DEMAND:
    case KSM_FRAME_REPORT:
        sender = KSM_WIRE_FROM_ENGINE;
        break;
    case KSM_FRAME_WELCOME:
    case KSM_FRAME_REFUSE:
    case KSM_FRAME_TWINS:
    case KSM_FRAME_BUDGET:
        sender = KSM_WIRE_FROM_DAEMON;
        break;
    default:
        return KSM_WIRE_BAD_TYPE;
    }
    if (sender != from) {
        return KSM_WIRE_BAD_TYPE;
    }
    if (header->reserved) {
        return KSM_WIRE_BAD_RESERVED;
    }
    if (header->fds) {
        return KSM_WIRE_BAD_FDS;
    }
    if (header->length > KSM_WIRE_MAX_PAYLOAD ||
        !ksm_wire_length_ok(header->type, header->length)) {
        return KSM_WIRE_BAD_LENGTH;
    }
    return KSM_WIRE_OK;
}

static KsmWireError ksm_wire_check_hello(const void *payload, uint32_t length)
{
    KsmFrameHello hello;

    memcpy(&hello.version, payload, sizeof(hello.version));
    if (hello.version != KSM_WIRE_VERSION) {
        return KSM_WIRE_BAD_VERSION;
    }
    if (length != sizeof(hello)) {
        return KSM_WIRE_BAD_LENGTH;
    }
    memcpy(&hello, payload, sizeof(hello));
    if (hello.page_size < 4096 || (hello.page_size & (hello.page_size - 1))) {
        return KSM_WIRE_BAD_VALUE;
    }
    if (!memchr(hello.name, '\0', sizeof(hello.name))) {
        return KSM_WIRE_BAD_VALUE;
    }
    return KSM_WIRE_OK;
}

static KsmWireError ksm_wire_check_welcome(const void *payload,
                                           uint32_t length)
{
    KsmFrameWelcome welcome;

    memcpy(&welcome.version, payload, sizeof(welcome.version));
    if (welcome.version != KSM_WIRE_VERSION) {
        return KSM_WIRE_BAD_VERSION;
    }
    if (length != sizeof(welcome)) {
        return KSM_WIRE_BAD_LENGTH;
    }
    memcpy(&welcome, payload, sizeof(welcome));
    if (welcome.reserved) {
        return KSM_WIRE_BAD_RESERVED;
    }
    return KSM_WIRE_OK;
}

static KsmWireError ksm_wire_check_entries(const uint8_t *payload,
                                           uint32_t length,
                                           uint32_t known_flags)
{
    KsmFrameEntry entry;
    uint32_t at;

    for (at = 0; at < length; at += sizeof(entry)) {
        memcpy(&entry, payload + at, sizeof(entry));
        if (entry.digest >> KSM_WIRE_DIGEST_BITS) {
            return KSM_WIRE_BAD_VALUE;
        }
        if (entry.flags & ~known_flags) {
            return KSM_WIRE_BAD_RESERVED;
        }
    }
    return KSM_WIRE_OK;
}

static KsmWireError ksm_wire_check_demand(const void *payload)
{
    KsmFrameDemand demand;

    memcpy(&demand, payload, sizeof(demand));
    if (demand.marked > KSM_WIRE_MAX_PAGES ||
        demand.total > KSM_WIRE_MAX_PAGES) {
        return KSM_WIRE_BAD_VALUE;
    }
    return KSM_WIRE_OK;
}

static KsmWireError ksm_wire_check_report(const void *payload)
{
    KsmFrameReport report;

    memcpy(&report, payload, sizeof(report));
    if (report.backends & ~KSM_REPORT_BACKENDS) {
        return KSM_WIRE_BAD_RESERVED;
    }
    if (report.state >= KSM_REPORT_STATE__MAX ||
        !memchr(report.limit, '\0', sizeof(report.limit))) {
        return KSM_WIRE_BAD_VALUE;
    }
    return KSM_WIRE_OK;
}

static KsmWireError ksm_wire_check_budget(const void *payload)
{
    KsmFrameBudget budget;

    memcpy(&budget, payload, sizeof(budget));
    if (budget.flags & ~KSM_BUDGET_RELEASE) {
        return KSM_WIRE_BAD_RESERVED;
    }
    if (!budget.cpu_permille || budget.cpu_permille > KSM_BUDGET_CPU_MAX) {
        return KSM_WIRE_BAD_VALUE;
    }
    return KSM_WIRE_OK;
}

KsmWireError ksm_wire_check_payload(const KsmFrameHeader *header,
                                    const void *payload)
{
    uint32_t length = header->length;

    if (length > KSM_WIRE_MAX_PAYLOAD ||
        !ksm_wire_length_ok(header->type, length)) {
        return KSM_WIRE_BAD_LENGTH;
    }
    switch (header->type) {
    case KSM_FRAME_HELLO:
        return ksm_wire_check_hello(payload, length);
    case KSM_FRAME_WELCOME:
        return ksm_wire_check_welcome(payload, length);
    case KSM_FRAME_REFUSE:
        return g_utf8_validate_len(payload, length, NULL) ?
               KSM_WIRE_OK : KSM_WIRE_BAD_VALUE;
    case KSM_FRAME_PUBLISH:
    case KSM_FRAME_WITHDRAW:
        return ksm_wire_check_entries(payload, length, 0);
    case KSM_FRAME_TWINS:
        return ksm_wire_check_entries(payload, length, KSM_ENTRY_TWIN);
    case KSM_FRAME_DEMAND:
        return ksm_wire_check_demand(payload);
    case KSM_FRAME_REPORT:
        return ksm_wire_check_report(payload);
    case KSM_FRAME_BUDGET:
        return ksm_wire_check_budget(payload);
    default:
        return KSM_WIRE_BAD_TYPE;
    }
}

const char *ksm_wire_strerror(KsmWireError error)
{
    switch (error) {
    case KSM_WIRE_OK:
        return "no error";
    case KSM_WIRE_BAD_TYPE:
        return "unknown frame type, or not one of this side's";
    case KSM_WIRE_BAD_LENGTH:
        return "frame length is wrong for its type";
    case KSM_WIRE_BAD_RESERVED:
        return "a reserved field or an unknown flag is set";
    case KSM_WIRE_BAD_FDS:
        return "file descriptors came with a frame that has none";
    case KSM_WIRE_BAD_VALUE:
        return "a field is out of its range";
    case KSM_WIRE_BAD_VERSION:
        return "the peer speaks another protocol version";
    }
    return "unknown error";
}
