/*
 * Test of the checks of frames between KSM engines and ksmtuned
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "ksm-wire.h"

#define TWO_TO_48       (UINT64_C(1) << 48)

/* The length of an acceptable payload of each type. */
static uint32_t good_length(KsmFrameType type)
{
    switch (type) {
    case KSM_FRAME_HELLO:
        return sizeof(KsmFrameHello);
    case KSM_FRAME_WELCOME:
        return sizeof(KsmFrameWelcome);
    case KSM_FRAME_REFUSE:
        return 3;
    case KSM_FRAME_DEMAND:
        return sizeof(KsmFrameDemand);
    case KSM_FRAME_REPORT:
        return sizeof(KsmFrameReport);
    case KSM_FRAME_BUDGET:
        return sizeof(KsmFrameBudget);
    default:
        return 2 * sizeof(KsmFrameEntry);
    }
}

static KsmWireSide sender_of(KsmFrameType type)
{
    return type == KSM_FRAME_WELCOME || type == KSM_FRAME_REFUSE ||
           type == KSM_FRAME_TWINS || type == KSM_FRAME_BUDGET ?
           KSM_WIRE_FROM_DAEMON : KSM_WIRE_FROM_ENGINE;
}

static KsmFrameHeader good_header(KsmFrameType type)
{
    KsmFrameHeader header = { .type = type, .length = good_length(type) };

    return header;
}

static void test_header_types(void)
{
    unsigned type;

    for (type = 0; type <= UINT16_MAX; type++) {
        bool known = type >= KSM_FRAME_HELLO && type < KSM_FRAME__MAX;
        KsmFrameHeader header = good_header(type);
        KsmWireSide from = sender_of(type);

        g_assert_cmpint(ksm_wire_check_header(&header, from), ==,
                        known ? KSM_WIRE_OK : KSM_WIRE_BAD_TYPE);
        g_assert_cmpint(ksm_wire_check_header(&header, !from), ==,
                        KSM_WIRE_BAD_TYPE);
    }
}

static void test_header_fields(void)
{
    unsigned type;

    for (type = KSM_FRAME_HELLO; type < KSM_FRAME__MAX; type++) {
        KsmFrameHeader header = good_header(type);

        header.reserved = 1;
        g_assert_cmpint(ksm_wire_check_header(&header, sender_of(type)), ==,
                        KSM_WIRE_BAD_RESERVED);
        header = good_header(type);
        header.fds = 1;
        g_assert_cmpint(ksm_wire_check_header(&header, sender_of(type)), ==,
                        KSM_WIRE_BAD_FDS);
    }
}

static void test_header_length(void)
{
    static const struct {
        KsmFrameType type;
        uint32_t length;
        KsmWireError error;
    } cases[] = {
        { KSM_FRAME_HELLO, 0, KSM_WIRE_BAD_LENGTH },
        { KSM_FRAME_HELLO, 3, KSM_WIRE_BAD_LENGTH },
        { KSM_FRAME_REFUSE, 0, KSM_WIRE_OK },
        { KSM_FRAME_REFUSE, KSM_WIRE_MAX_PAYLOAD, KSM_WIRE_OK },
        { KSM_FRAME_REFUSE, KSM_WIRE_MAX_PAYLOAD + 1, KSM_WIRE_BAD_LENGTH },
        { KSM_FRAME_PUBLISH, 0, KSM_WIRE_BAD_LENGTH },
        { KSM_FRAME_PUBLISH, 15, KSM_WIRE_BAD_LENGTH },
        { KSM_FRAME_PUBLISH, 16, KSM_WIRE_OK },
        { KSM_FRAME_PUBLISH, 17, KSM_WIRE_BAD_LENGTH },
        { KSM_FRAME_PUBLISH, KSM_WIRE_MAX_PAYLOAD, KSM_WIRE_OK },
        { KSM_FRAME_PUBLISH, KSM_WIRE_MAX_PAYLOAD + 16, KSM_WIRE_BAD_LENGTH },
        { KSM_FRAME_WITHDRAW, 8, KSM_WIRE_BAD_LENGTH },
        { KSM_FRAME_TWINS, 24, KSM_WIRE_BAD_LENGTH },
        { KSM_FRAME_DEMAND, 15, KSM_WIRE_BAD_LENGTH },
        { KSM_FRAME_DEMAND, 32, KSM_WIRE_BAD_LENGTH },
        { KSM_FRAME_DEMAND, UINT32_MAX, KSM_WIRE_BAD_LENGTH },
    };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        KsmFrameHeader header = good_header(cases[i].type);

        header.length = cases[i].length;
        g_assert_cmpint(ksm_wire_check_header(&header,
                                              sender_of(cases[i].type)), ==,
                        cases[i].error);
    }
}

static KsmWireError check_hello(const KsmFrameHello *hello, uint32_t length)
{
    KsmFrameHeader header = { .type = KSM_FRAME_HELLO, .length = length };

    return ksm_wire_check_payload(&header, hello);
}

static void test_hello(void)
{
    const KsmFrameHello good = {
        .version = KSM_WIRE_VERSION, .page_size = 4096, .name = "guest",
    };
    KsmFrameHello hello = good;

    g_assert_cmpint(check_hello(&hello, sizeof(hello)), ==, KSM_WIRE_OK);
    g_assert_cmpint(check_hello(&hello, sizeof(hello) - 1), ==,
                    KSM_WIRE_BAD_LENGTH);
    hello.page_size = 65536;
    g_assert_cmpint(check_hello(&hello, sizeof(hello)), ==, KSM_WIRE_OK);

    /* Another version may be of another length; it is what is reported. */
    hello = good;
    hello.version = KSM_WIRE_VERSION + 1;
    g_assert_cmpint(check_hello(&hello, sizeof(hello)), ==,
                    KSM_WIRE_BAD_VERSION);
    g_assert_cmpint(check_hello(&hello, 8), ==, KSM_WIRE_BAD_VERSION);

    /* What only newer ones know is no fault. */
    hello = good;
    hello.features = TWO_TO_48;
    g_assert_cmpint(check_hello(&hello, sizeof(hello)), ==, KSM_WIRE_OK);
    hello = good;
    hello.page_size = 0;
    g_assert_cmpint(check_hello(&hello, sizeof(hello)), ==,
                    KSM_WIRE_BAD_VALUE);
    hello.page_size = 4096 + 1024;
    g_assert_cmpint(check_hello(&hello, sizeof(hello)), ==,
                    KSM_WIRE_BAD_VALUE);
    hello = good;
    memset(hello.name, 'x', sizeof(hello.name));
    g_assert_cmpint(check_hello(&hello, sizeof(hello)), ==,
                    KSM_WIRE_BAD_VALUE);
}

static void test_welcome(void)
{
    KsmFrameHeader header = good_header(KSM_FRAME_WELCOME);
    KsmFrameWelcome welcome = { .version = KSM_WIRE_VERSION };

    g_assert_cmpint(ksm_wire_check_payload(&header, &welcome), ==,
                    KSM_WIRE_OK);
    welcome.reserved = 1;
    g_assert_cmpint(ksm_wire_check_payload(&header, &welcome), ==,
                    KSM_WIRE_BAD_RESERVED);
    welcome.reserved = 0;
    welcome.features = TWO_TO_48 | KSM_FEATURE_REPORT;
    g_assert_cmpint(ksm_wire_check_payload(&header, &welcome), ==,
                    KSM_WIRE_OK);
    welcome.version = 0;
    g_assert_cmpint(ksm_wire_check_payload(&header, &welcome), ==,
                    KSM_WIRE_BAD_VERSION);
}

static void test_refuse(void)
{
    static const struct {
        const char *text;
        uint32_t length;
        KsmWireError error;
    } cases[] = {
        { "too many", 8, KSM_WIRE_OK },
        { "", 0, KSM_WIRE_OK },
        { "a\0b", 3, KSM_WIRE_BAD_VALUE },
        { "\xc3\xa4", 2, KSM_WIRE_OK },
        { "\xc3\xa4", 1, KSM_WIRE_BAD_VALUE },
        { "\xff", 1, KSM_WIRE_BAD_VALUE },
    };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        KsmFrameHeader header = {
            .type = KSM_FRAME_REFUSE, .length = cases[i].length,
        };

        g_assert_cmpint(ksm_wire_check_payload(&header, cases[i].text), ==,
                        cases[i].error);
    }
}

static void test_entries(void)
{
    static const KsmFrameType types[] = {
        KSM_FRAME_PUBLISH, KSM_FRAME_WITHDRAW, KSM_FRAME_TWINS,
    };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(types); i++) {
        bool twins = types[i] == KSM_FRAME_TWINS;
        KsmFrameHeader header = good_header(types[i]);
        KsmFrameEntry entries[2] = {
            { .digest = 0, .page = 0 },
            { .digest = TWO_TO_48 - 1, .page = UINT32_MAX },
        };

        g_assert_cmpint(ksm_wire_check_payload(&header, entries), ==,
                        KSM_WIRE_OK);
        entries[1].flags = KSM_ENTRY_TWIN;
        g_assert_cmpint(ksm_wire_check_payload(&header, entries), ==,
                        twins ? KSM_WIRE_OK : KSM_WIRE_BAD_RESERVED);
        entries[1].flags = 2;
        g_assert_cmpint(ksm_wire_check_payload(&header, entries), ==,
                        KSM_WIRE_BAD_RESERVED);
        entries[1].flags = 0;
        entries[1].digest = TWO_TO_48;
        g_assert_cmpint(ksm_wire_check_payload(&header, entries), ==,
                        KSM_WIRE_BAD_VALUE);
        header.length = sizeof(entries) + 1;
        g_assert_cmpint(ksm_wire_check_payload(&header, entries), ==,
                        KSM_WIRE_BAD_LENGTH);
    }
}

static void test_demand(void)
{
    KsmFrameHeader header = good_header(KSM_FRAME_DEMAND);
    KsmFrameDemand demand = { .marked = 1, .total = UINT64_C(1) << 32 };

    g_assert_cmpint(ksm_wire_check_payload(&header, &demand), ==, KSM_WIRE_OK);
    demand.total++;
    g_assert_cmpint(ksm_wire_check_payload(&header, &demand), ==,
                    KSM_WIRE_BAD_VALUE);
    demand.total = 0;
    demand.marked = UINT64_MAX;
    g_assert_cmpint(ksm_wire_check_payload(&header, &demand), ==,
                    KSM_WIRE_BAD_VALUE);
}

static void test_report(void)
{
    KsmFrameHeader header = good_header(KSM_FRAME_REPORT);
    KsmFrameReport report = {
        .state = KSM_REPORT_YIELDED, .backends = KSM_REPORT_BACKENDS,
        .ksmfs_sharing_pages = KSM_REPORT_UNKNOWN,
    };

    memset(report.limit, 'x', sizeof(report.limit) - 1);
    g_assert_cmpint(ksm_wire_check_payload(&header, &report), ==, KSM_WIRE_OK);
    report.limit[sizeof(report.limit) - 1] = 'x';
    g_assert_cmpint(ksm_wire_check_payload(&header, &report), ==,
                    KSM_WIRE_BAD_VALUE);
    report.limit[0] = '\0';
    report.state = KSM_REPORT_STATE__MAX;
    g_assert_cmpint(ksm_wire_check_payload(&header, &report), ==,
                    KSM_WIRE_BAD_VALUE);
    report.state = 0;
    report.backends = 8;
    g_assert_cmpint(ksm_wire_check_payload(&header, &report), ==,
                    KSM_WIRE_BAD_RESERVED);
    header.length--;
    g_assert_cmpint(ksm_wire_check_payload(&header, &report), ==,
                    KSM_WIRE_BAD_LENGTH);
}

static KsmWireError check_budget(uint32_t cpu_permille, uint32_t flags)
{
    KsmFrameHeader header = good_header(KSM_FRAME_BUDGET);
    KsmFrameBudget budget = { .cpu_permille = cpu_permille, .flags = flags };

    return ksm_wire_check_payload(&header, &budget);
}

static void test_budget(void)
{
    g_assert_cmpint(check_budget(1, 0), ==, KSM_WIRE_OK);
    g_assert_cmpint(check_budget(KSM_BUDGET_CPU_MAX, KSM_BUDGET_RELEASE), ==,
                    KSM_WIRE_OK);
    g_assert_cmpint(check_budget(0, 0), ==, KSM_WIRE_BAD_VALUE);
    g_assert_cmpint(check_budget(KSM_BUDGET_CPU_MAX + 1, 0), ==,
                    KSM_WIRE_BAD_VALUE);
    g_assert_cmpint(check_budget(1, 2), ==, KSM_WIRE_BAD_RESERVED);
}

/* A payload needs no alignment: sanitizers would see a wrong access. */
static void test_unaligned(void)
{
    const KsmFrameHello hello = {
        .version = KSM_WIRE_VERSION, .page_size = 4096,
    };
    unsigned type;

    for (type = KSM_FRAME_HELLO; type < KSM_FRAME__MAX; type++) {
        KsmFrameHeader header = good_header(type);
        g_autofree uint8_t *payload = g_malloc0(header.length + 1);
        bool versioned = type == KSM_FRAME_HELLO || type == KSM_FRAME_WELCOME;

        if (versioned) {
            memcpy(payload + 1, &hello,
                   type == KSM_FRAME_HELLO ? sizeof(hello) :
                                             sizeof(hello.version));
        }
        if (type == KSM_FRAME_BUDGET) {
            payload[1] = 1;
        }
        if (type == KSM_FRAME_REFUSE) {
            memset(payload + 1, 'x', header.length);
        }
        g_assert_cmpint(ksm_wire_check_payload(&header, payload + 1), ==,
                        KSM_WIRE_OK);
    }
}

static void test_strerror(void)
{
    int error;

    for (error = KSM_WIRE_OK; error <= KSM_WIRE_BAD_VERSION; error++) {
        g_assert_cmpstr(ksm_wire_strerror(error), !=, "unknown error");
    }
    g_assert_cmpstr(ksm_wire_strerror(99), ==, "unknown error");
}

/*
 * Random frames never read beyond what the header says: each payload is an
 * allocation of its own of just that size, for valgrind and sanitizers.
 */
static void test_random(void)
{
    unsigned accepted = 0;
    unsigned round;

    for (round = 0; round < 200000; round++) {
        KsmWireSide from = g_test_rand_int() & 1;
        KsmFrameHeader header = {
            .type = g_test_rand_int_range(0, KSM_FRAME__MAX + 1),
            .fds = g_test_rand_int_range(0, 16) ? 0 : 1,
            .reserved = g_test_rand_int_range(0, 16) ? 0 : 1,
            .length = g_test_rand_int_range(0, 8) ?
                      (uint32_t)g_test_rand_int_range(0, 129) :
                      (uint32_t)g_test_rand_int(),
        };
        uint8_t *payload;
        uint32_t i;

        if (ksm_wire_check_header(&header, from) != KSM_WIRE_OK) {
            continue;
        }
        g_assert_cmpuint(header.length, <=, KSM_WIRE_MAX_PAYLOAD);
        payload = g_malloc(MAX(header.length, 1));
        for (i = 0; i < header.length; i++) {
            payload[i] = g_test_rand_int_range(0, 4) ? 0 :
                         g_test_rand_int() & 0xff;
        }
        accepted += ksm_wire_check_payload(&header, payload) == KSM_WIRE_OK;
        g_free(payload);
    }
    g_assert_cmpuint(accepted, >, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ksm-wire/header/types", test_header_types);
    g_test_add_func("/ksm-wire/header/fields", test_header_fields);
    g_test_add_func("/ksm-wire/header/length", test_header_length);
    g_test_add_func("/ksm-wire/hello", test_hello);
    g_test_add_func("/ksm-wire/welcome", test_welcome);
    g_test_add_func("/ksm-wire/refuse", test_refuse);
    g_test_add_func("/ksm-wire/entries", test_entries);
    g_test_add_func("/ksm-wire/demand", test_demand);
    g_test_add_func("/ksm-wire/report", test_report);
    g_test_add_func("/ksm-wire/budget", test_budget);
    g_test_add_func("/ksm-wire/unaligned", test_unaligned);
    g_test_add_func("/ksm-wire/strerror", test_strerror);
    g_test_add_func("/ksm-wire/random", test_random);
    return g_test_run();
}
