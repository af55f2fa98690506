/*
 * Any bytes from engines that are connected to ksmtuned at the same time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Input is what engines do, one after the other: the enum below, with its
 * arguments.  In between, ksmtuned does what there is to do.  Each engine
 * checks what it is told: good frames, in their order.  At the end all leave,
 * and nothing of theirs may stay: no page, no descriptor, and ksmd is as it
 * was.
 */
#include <glib.h>
#include <string.h>
#include <sys/socket.h>

#include "client.h"
#include "fuzz.h"
#include "host/sysfs.h"
#include "wire-peer.h"

#define ENGINES         4
#define PAGE_SIZE       4096
/* For all engines. */
#define BUDGET_PERMILLE 500
/* Few, so that engines meet at them. */
#define PAGES_MAX       2000

typedef enum Action {
    ACTION_SEND,                /* see fuzz_peer_send_input() */
    ACTION_FRAME,               /* and so on */
    ACTION_HELLO,
    ACTION_ENTRIES,             /* a byte, whether to publish; entries */
    ACTION_READ,
    ACTION_CLOSE,               /* and connect again */
    ACTION_END,                 /* send no more, but read */
    ACTION_DESCRIPTOR,
    ACTION__MAX
} Action;

typedef struct Engine {
    FuzzPeer peer;
    KsmtunedClient *client;     /* at ksmtuned; NULL: it has closed it */
    bool welcome;
    bool refused;
} Engine;

typedef struct Bed {
    KsmtunedSettings settings;
    KsmHost roots;
    KsmtunedRules *rules;
    KsmtunedKsmd *ksmd;
    unsigned fds;               /* open at first */
    KsmtunedClientShared shared;
    Engine engines[ENGINES];
    FuzzInput input;
} Bed;

static void bed_closed(KsmtunedClient *client, void *opaque)
{
    Bed *bed = opaque;
    int i;

    for (i = 0; i < ENGINES; i++) {
        if (bed->engines[i].client == client) {
            bed->engines[i].client = NULL;
            return;
        }
    }
    g_assert_not_reached();
}

static void bed_collect(KsmtunedFigures *figures, void *opaque)
{
}

/* Let ksmtuned do all that it can do now. */
static void bed_run(void)
{
    while (g_main_context_iteration(NULL, FALSE)) {
        continue;
    }
}

static void engine_connect(Bed *bed, Engine *engine)
{
    int fd;

    *engine = (Engine) { .client = NULL };
    fd = fuzz_peer_connect(&engine->peer);
    engine->client = ksmtuned_client_new(&bed->shared, fd);
}

static void engine_close(Engine *engine)
{
    fuzz_peer_clear(&engine->peer);
    bed_run();
    g_assert_null(engine->client);
}

static void engine_hello(const Engine *engine)
{
    const KsmFrameHello hello = {
        .version = KSM_WIRE_VERSION, .page_size = PAGE_SIZE,
        .features = KSM_FEATURE_BUDGET, .name = "fuzz",
    };

    fuzz_peer_frame(&engine->peer, KSM_FRAME_HELLO, &hello, sizeof(hello));
}

static void engine_check_frame(const KsmFrameHeader *header, void *opaque)
{
    Engine *engine = opaque;

    g_assert_false(engine->refused);
    if (header->type == KSM_FRAME_WELCOME) {
        g_assert_false(engine->welcome);
        engine->welcome = true;
    } else if (header->type == KSM_FRAME_REFUSE) {
        engine->refused = true;
    } else {
        g_assert_true(engine->welcome);
    }
}

static void engine_read(Engine *engine)
{
    fuzz_peer_read(&engine->peer, KSM_WIRE_FROM_DAEMON, engine_check_frame,
                   engine);
}

static void engine_act(Bed *bed, Engine *engine, Action action)
{
    const FuzzPeer *peer = &engine->peer;
    bool publish;

    switch (action) {
    case ACTION_SEND:
        fuzz_peer_send_input(peer, &bed->input);
        break;
    case ACTION_FRAME:
        fuzz_peer_frame_input(peer, &bed->input);
        break;
    case ACTION_HELLO:
        engine_hello(engine);
        break;
    case ACTION_ENTRIES:
        publish = fuzz_input_byte(&bed->input) & 1;
        fuzz_peer_entries_input(peer, publish ? KSM_FRAME_PUBLISH :
                                                KSM_FRAME_WITHDRAW,
                                0, &bed->input);
        break;
    case ACTION_READ:
        engine_read(engine);
        break;
    case ACTION_CLOSE:
        engine_close(engine);
        engine_connect(bed, engine);
        break;
    case ACTION_END:
        shutdown(peer->fd, SHUT_WR);
        break;
    case ACTION_DESCRIPTOR:
        fuzz_peer_descriptor(peer);
        break;
    default:
        g_assert_not_reached();
    }
}

/* What an engine reports is for programs to read. */
static void engine_check_report(const Engine *engine)
{
    g_autoptr(GString) json = g_string_new(NULL);

    if (engine->client && ksmtuned_client_report_json(engine->client, json)) {
        fuzz_check_json(json->str);
    }
}

static const struct {
    const char *name;
    const char *text;
} ksmd_files[] = {
    { "advisor_mode", "[none] scan-time\n" },
    { "smart_scan", "1\n" },
    { "use_zero_pages", "0\n" },
    { "pages_to_scan", "100\n" },
    { "sleep_millisecs", "20\n" },
    { "run", "0\n" },
    { "full_scans", "7\n" },
    { "pages_scanned", "1000\n" },
};

static void bed_make_ksmd(Bed *bed)
{
    static bool is_made;        /* each input puts it back */
    g_autofree char *state = fuzz_path("ksmd-settings");
    size_t i;

    for (i = 0; !is_made && i < G_N_ELEMENTS(ksmd_files); i++) {
        fuzz_write(ksmd_files[i].name, ksmd_files[i].text,
                   strlen(ksmd_files[i].text));
    }
    is_made = true;
    bed->ksmd = ksmtuned_ksmd_new(fuzz_directory(), fuzz_directory(), state);
}

static void bed_check_ksmd(Bed *bed)
{
    size_t i;

    g_assert_false(ksmtuned_ksmd_is_changed(bed->ksmd));
    for (i = 0; i < KSMTUNED_KSMD_SETTINGS; i++) {
        g_autofree char *wanted = g_strstrip(g_strdup(ksmd_files[i].text));
        g_autofree char *value = ksm_sysfs_get(fuzz_directory(),
                                               ksmd_files[i].name);

        g_assert_true(g_str_has_prefix(wanted, "[") ||
                      g_str_equal(value, wanted));
    }
}

static void bed_begin(Bed *bed)
{
    KsmtunedTunerHost host = { .usable = true };
    int i;

    bed_make_ksmd(bed);
    bed_run();
    bed->fds = fuzz_open_fds();
    host.ksmd = bed->ksmd;
    bed->roots = (KsmHost) {
        .sysfs_root = (char *)fuzz_directory(),
        .ksmfs_root = (char *)fuzz_directory(),
        .proc_root = (char *)fuzz_directory(),
        .runtime_dir = (char *)fuzz_directory(),
    };
    host.roots = &bed->roots;
    bed->settings.policy = KSMTUNED_POLICY_DEMAND;
    bed->rules = ksmtuned_rules_of_all();
    host.budgets = ksmtuned_budgets_new(BUDGET_PERMILLE,
                                        ksmtuned_client_grant);
    bed->shared = (KsmtunedClientShared) {
        .rules = bed->rules,
        .domains = ksmtuned_domains_new(ksmtuned_client_tell),
        .budgets = host.budgets,
        .tuner = ksmtuned_tuner_new(&host, &bed->settings),
        .stats = ksmtuned_stats_new(NULL, bed_collect, NULL),
        .poll = ksmtuned_poll_new(),
        .proc_root = fuzz_directory(),
        .cgroup_root = fuzz_directory(),
        .page_size = PAGE_SIZE,
        .pages_max = PAGES_MAX,
        .closed = bed_closed,
        .opaque = bed,
    };
    for (i = 0; i < ENGINES; i++) {
        engine_connect(bed, &bed->engines[i]);
    }
}

static void bed_end(Bed *bed)
{
    KsmtunedClientShared *shared = &bed->shared;
    KsmtunedDomainFigures figures;
    int i;

    bed_run();
    for (i = 0; i < ENGINES; i++) {
        engine_read(&bed->engines[i]);
        engine_check_report(&bed->engines[i]);
    }
    g_assert_cmpuint(ksmtuned_tuner_waiting_pages(shared->tuner), <=,
                     ENGINES * PAGES_MAX);
    for (i = 0; i < ENGINES; i++) {
        engine_close(&bed->engines[i]);
    }
    figures = ksmtuned_domains_figures(shared->domains);
    g_assert_cmpuint(figures.entries, ==, 0);
    g_assert_cmpuint(figures.shared, ==, 0);
    g_assert_cmpuint(ksmtuned_tuner_waiting_pages(shared->tuner), ==, 0);
    g_assert_true(ksmtuned_tuner_stop(shared->tuner));
    bed_check_ksmd(bed);
    ksmtuned_poll_free(shared->poll);
    ksmtuned_stats_free(shared->stats);
    ksmtuned_tuner_free(shared->tuner);
    ksmtuned_budgets_free(shared->budgets);
    ksmtuned_domains_free(shared->domains);
    ksmtuned_rules_free(bed->rules);
    ksmtuned_ksmd_free(bed->ksmd);
    g_assert_cmpuint(fuzz_open_fds(), ==, bed->fds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Bed bed = { .input = { data, size } };

    bed_begin(&bed);
    while (bed.input.size) {
        /* Who, what, and whether ksmtuned has its turn then. */
        uint8_t what = fuzz_input_byte(&bed.input);

        engine_act(&bed, &bed.engines[what % ENGINES],
                   what / ENGINES % ACTION__MAX);
        if (what < 128) {
            bed_run();
        }
    }
    bed_end(&bed);
    return 0;
}
