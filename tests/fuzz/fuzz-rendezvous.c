/*
 * Any bytes from ksmtuned to an engine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Input is what ksmtuned and the engine do, one after the other: the enum
 * below, with its arguments.  Whatever ksmtuned sends, the engine hears of the
 * connection and of twins in their order, and sends nothing but good frames.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "system/system.h"
#include "../../accel/ksm/rendezvous.h"

#include "fuzz.h"
#include "wire-peer.h"

typedef enum Action {
    ACTION_SEND,                /* see fuzz_peer_send_input() */
    ACTION_FRAME,               /* and so on */
    ACTION_WELCOME,
    ACTION_TWINS,
    ACTION_READ,
    ACTION_CLOSE,
    ACTION_DESCRIPTOR,
    /* The engine's. */
    ACTION_PUBLISH,             /* bytes: first digest, first page, how many */
    ACTION_WITHDRAW,
    ACTION_DEMAND,              /* two bytes: marked, in total */
    ACTION_REPORT,
    ACTION__MAX
} Action;

typedef struct Bed {
    AioContext *ctx;
    KsmRendezvous rendezvous;
    bool connected;
    bool lost;
    bool woken;
    FuzzPeer daemon;
    bool hello;                 /* it has got one */
    FuzzInput input;
} Bed;

/* Else the engine's name is that of QEMU's command line. */
const char *qemu_get_vm_name(void)
{
    return "fuzz";
}

static void bed_wake(void *opaque)
{
    Bed *bed = opaque;

    bed->woken = true;
}

static void bed_connected(void *opaque, const uint8_t seed[KSM_WIRE_SEED_SIZE])
{
    Bed *bed = opaque;

    g_assert_false(bed->connected);
    bed->connected = true;
}

static void bed_lost(void *opaque, const char *message)
{
    Bed *bed = opaque;

    g_assert_true(bed->connected && !bed->lost && message);
    bed->lost = true;
}

static void bed_answer(void *opaque, uint32_t page, uint64_t digest, bool twin)
{
    Bed *bed = opaque;

    g_assert_true(bed->connected && !bed->lost);
    g_assert_cmpuint(digest >> KSM_WIRE_DIGEST_BITS, ==, 0);
}

static void bed_budget(void *opaque, const KsmFrameBudget *budget)
{
    Bed *bed = opaque;

    g_assert_true(bed->connected && !bed->lost);
    g_assert_cmpuint(budget->cpu_permille - 1, <, KSM_BUDGET_CPU_MAX);
}

static const KsmRendezvousEvents bed_events = {
    .wake = bed_wake,
    .connected = bed_connected,
    .lost = bed_lost,
    .answer = bed_answer,
    .budget = bed_budget,
};

/* Let the engine do all that it can do now. */
static void bed_run(Bed *bed)
{
    do {
        bed->woken = false;
        while (ksm_rendezvous_run(&bed->rendezvous)) {
            continue;
        }
        while (aio_poll(bed->ctx, false)) {
            continue;
        }
    } while (bed->woken);
    /* Once it was connected, it says why it isn't any more. */
    g_assert_true(!bed->connected ||
                  !bed->rendezvous.channel == !!bed->rendezvous.message);
}

static void daemon_check_frame(const KsmFrameHeader *header, void *opaque)
{
    Bed *bed = opaque;

    g_assert_true((header->type == KSM_FRAME_HELLO) == !bed->hello);
    bed->hello = true;
}

static void daemon_read(Bed *bed)
{
    fuzz_peer_read(&bed->daemon, KSM_WIRE_FROM_ENGINE, daemon_check_frame, bed);
}

static void daemon_welcome(Bed *bed)
{
    const KsmFrameWelcome welcome = {
        .version = KSM_WIRE_VERSION, .features = KSM_FEATURE_REPORT,
    };

    fuzz_peer_frame(&bed->daemon, KSM_FRAME_WELCOME, &welcome,
                    sizeof(welcome));
}

static void engine_entries(Bed *bed, bool publish)
{
    uint8_t digest = fuzz_input_byte(&bed->input);
    uint8_t page = fuzz_input_byte(&bed->input);
    /* To fill some frames, and the socket. */
    unsigned count = 1 + fuzz_input_byte(&bed->input) * 64, i;

    for (i = 0; i < count; i++) {
        if (publish) {
            ksm_rendezvous_publish(&bed->rendezvous, page + i, digest + i);
        } else {
            ksm_rendezvous_withdraw(&bed->rendezvous, page + i, digest + i);
        }
    }
}

static void engine_demand(Bed *bed)
{
    uint8_t marked = fuzz_input_byte(&bed->input);

    ksm_rendezvous_demand(&bed->rendezvous, marked,
                          fuzz_input_byte(&bed->input));
}

static void engine_report(Bed *bed)
{
    const KsmFrameReport report = { .state = KSM_REPORT_IDLE };

    if (ksm_rendezvous_wants_reports(&bed->rendezvous)) {
        ksm_rendezvous_report(&bed->rendezvous, &report);
    }
}

static void bed_act(Bed *bed, Action action)
{
    switch (action) {
    case ACTION_SEND:
        fuzz_peer_send_input(&bed->daemon, &bed->input);
        break;
    case ACTION_FRAME:
        fuzz_peer_frame_input(&bed->daemon, &bed->input);
        break;
    case ACTION_WELCOME:
        daemon_welcome(bed);
        break;
    case ACTION_TWINS:
        fuzz_peer_entries_input(&bed->daemon, KSM_FRAME_TWINS, 2, &bed->input);
        break;
    case ACTION_READ:
        daemon_read(bed);
        break;
    case ACTION_CLOSE:
        fuzz_peer_close(&bed->daemon);
        break;
    case ACTION_DESCRIPTOR:
        fuzz_peer_descriptor(&bed->daemon);
        break;
    case ACTION_PUBLISH:
    case ACTION_WITHDRAW:
        engine_entries(bed, action == ACTION_PUBLISH);
        break;
    case ACTION_DEMAND:
        engine_demand(bed);
        break;
    case ACTION_REPORT:
        engine_report(bed);
        break;
    default:
        g_assert_not_reached();
    }
}

static void bed_begin(Bed *bed)
{
    int fd = fuzz_peer_connect(&bed->daemon);
    g_autofree char *number = g_strdup_printf("%d", fd);
    SocketAddress address = { .type = SOCKET_ADDRESS_TYPE_FD };

    address.u.fd.str = number;
    ksm_rendezvous_init(&bed->rendezvous, bed->ctx, &address, &bed_events, bed,
                        &error_abort);
    bed_run(bed);
}

static void bed_end(Bed *bed)
{
    bed_run(bed);
    daemon_read(bed);
    fuzz_peer_clear(&bed->daemon);
    bed_run(bed);
    g_assert_null(bed->rendezvous.channel);
    g_assert_true(bed->connected == bed->lost);
    ksm_rendezvous_cleanup(&bed->rendezvous);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static AioContext *ctx;
    Bed bed = { .input = { data, size } };

    if (!ctx) {
        /* As QEMU does it first. */
        signal(SIGPIPE, SIG_IGN);
        module_call_init(MODULE_INIT_QOM);
        ctx = aio_context_new(&error_abort);
        qemu_set_current_aio_context(ctx);
    }
    bed.ctx = ctx;
    bed_begin(&bed);
    while (bed.input.size) {
        /* What, and whether the engine has its turn then. */
        uint8_t what = fuzz_input_byte(&bed.input);

        bed_act(&bed, what % 128 % ACTION__MAX);
        if (what < 128) {
            bed_run(&bed);
        }
    }
    bed_end(&bed);
    return 0;
}
