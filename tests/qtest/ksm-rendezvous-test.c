/*
 * Test the ksm object against a ksmtuned that the test plays
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each is on the other end of a socket pair.
 */
#include "qemu/osdep.h"
#include "ksm-helpers.h"
#include "../../subprojects/libksm/ksm-wire.h"

typedef struct Daemon {
    QTestState *qts;
    int fd;
    KsmFrameDemand demand;  /* the last that was received */
} Daemon;

static Daemon daemon_start(const char *options)
{
    Daemon d = { 0 };
    int fds[2];
    struct timeval timeout = { .tv_sec = 10 };
    int buffer = 4096;
    struct { KsmFrameHeader header; KsmFrameHello hello; } first;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    fcntl(fds[0], F_SETFD, FD_CLOEXEC);
    setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    /* Frames don't fit in as a whole. */
    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
    d.fd = fds[0];
    d.qts = qtest_initf(MACHINE KSM
                        "rendezvous.type=fd,rendezvous.str=%d%s", fds[1],
                        options);
    close(fds[1]);
    g_assert_cmpint(recv(d.fd, &first, sizeof(first), MSG_WAITALL), ==,
                    sizeof(first));
    g_assert_cmpint(first.header.type, ==, KSM_FRAME_HELLO);
    g_assert_cmpint(first.header.length, ==, sizeof(first.hello));
    g_assert_cmpint(first.hello.version, ==, KSM_WIRE_VERSION);
    g_assert_cmpint(first.hello.page_size, ==, PAGE);
    return d;
}

static void daemon_send(Daemon *d, uint16_t type, const void *payload,
                        uint32_t length)
{
    KsmFrameHeader header = { .type = type, .length = length };

    g_assert_cmpint(send(d->fd, &header, sizeof(header), MSG_NOSIGNAL), ==,
                    sizeof(header));
    if (length) {
        g_assert_cmpint(send(d->fd, payload, length, MSG_NOSIGNAL), ==,
                        length);
    }
}

static void daemon_welcome_with(Daemon *d, uint32_t version,
                                uint64_t features)
{
    KsmFrameWelcome welcome = {
        .version = version, .features = features, .seed = { 42 },
    };

    daemon_send(d, KSM_FRAME_WELCOME, &welcome, sizeof(welcome));
}

static void daemon_welcome(Daemon *d, uint32_t version)
{
    daemon_welcome_with(d, version, 0);
}

/* The next frame, whose payload goes to @payload; a good one. */
static KsmFrameHeader daemon_receive(Daemon *d,
                                     uint8_t payload[KSM_WIRE_MAX_PAYLOAD])
{
    KsmFrameHeader header;

    g_assert_cmpint(recv(d->fd, &header, sizeof(header), MSG_WAITALL), ==,
                    sizeof(header));
    g_assert_cmpint(ksm_wire_check_header(&header, KSM_WIRE_FROM_ENGINE), ==,
                    KSM_WIRE_OK);
    if (header.length) {
        g_assert_cmpint(recv(d->fd, payload, header.length, MSG_WAITALL), ==,
                        header.length);
    }
    g_assert_cmpint(ksm_wire_check_payload(&header, payload), ==, KSM_WIRE_OK);
    if (header.type == KSM_FRAME_DEMAND) {
        memcpy(&d->demand, payload, sizeof(d->demand));
    }
    return header;
}

/* The connection is given up for a reason that says @why; the guest lives. */
static void daemon_given_up(Daemon *d, const char *why)
{
    g_autofree char *message = NULL;

    for (int i = 0; i < 2000; i++) {
        g_free(message);
        message = ksm_limit_message(d->qts, "no-rendezvous");
        if (message && strstr(message, why)) {
            break;
        }
        g_usleep(10000);
    }
    g_test_message("%s", message);
    g_assert_nonnull(message);
    g_assert_nonnull(strstr(message, why));
    ksm_wait_passes(d->qts, 2);
    qtest_quit(d->qts);
    close(d->fd);
}

/* Has pages written, and receives what is published of two of them. */
static void daemon_published(Daemon *d, KsmFrameEntry published[2])
{
    int found = 0;

    for (int i = 0; i < 300; i++) {
        ksm_write_page(d->qts, BASE + i * PAGE, i);
    }
    daemon_welcome(d, KSM_WIRE_VERSION);
    while (found < 2) {
        g_autofree KsmFrameEntry *entries = g_malloc(KSM_WIRE_MAX_PAYLOAD);
        KsmFrameHeader header = daemon_receive(d, (uint8_t *)entries);

        for (int i = 0; header.type == KSM_FRAME_PUBLISH && found < 2 &&
                        i < header.length / sizeof(*entries); i++) {
            if (entries[i].page == (BASE + found * 7 * PAGE) / PAGE) {
                published[found++] = entries[i];
            }
        }
    }
}

static void test_twins(void)
{
    Daemon d = daemon_start("");
    KsmFrameEntry twins[3];

    daemon_published(&d, twins);
    /* Two of its pages have twins elsewhere; a third answer is outdated. */
    twins[0].flags = KSM_ENTRY_TWIN;
    twins[1].flags = KSM_ENTRY_TWIN;
    twins[2] = twins[0];
    twins[2].digest ^= 1;
    twins[2].flags = 0;
    daemon_send(&d, KSM_FRAME_TWINS, twins, sizeof(twins));
    ksm_wait_figure(d.qts, "pages-twins", 2);
    /* Gone again; and pages that don't exist are nothing to it. */
    twins[0].flags = 0;
    twins[1].page = UINT32_MAX;
    daemon_send(&d, KSM_FRAME_TWINS, twins, sizeof(twins[0]) * 2);
    ksm_wait_figure(d.qts, "pages-twins", 1);
    close(d.fd);
    d.fd = -1;
    /* Alone again: no page of its own has a twin. */
    ksm_wait_figure(d.qts, "pages-twins", 0);
    g_assert_cmpuint(ksm_figure(d.qts, "pc.ram", "pages-submitted"), >, 300);
    qtest_quit(d.qts);
}

static void set_run(Daemon *d, bool run)
{
    qtest_qmp_assert_success(d->qts, "{'execute': 'qom-set', 'arguments': {"
        "'path': '/objects/ksm0', 'property': 'run', 'value': %i}}", run);
}

static int64_t full_scans(Daemon *d)
{
    g_autoptr(QDict) info = ksm_query(d->qts);

    return qdict_get_int(info, "full-scans");
}

/* What is answered after a pass is marked before the next one. */
static void test_late_twins(void)
{
    Daemon d = daemon_start(",huge-split-threshold=1");
    g_autofree char *no_ksm = ksm_limit_message(d.qts, "no-ksm");
    KsmFrameEntry twins[2];
    uint64_t marked;
    int64_t scans;

    if (no_ksm) {
        g_test_skip(no_ksm);
        qtest_quit(d.qts);
        close(d.fd);
        return;
    }
    daemon_published(&d, twins);
    /* One pass, and then none. */
    set_run(&d, false);
    qtest_qmp_assert_success(d.qts, "{'execute': 'qom-set', 'arguments': {"
        "'path': '/objects/ksm0', 'property': 'sleep-millisecs',"
        " 'value': 3600000}}");
    scans = full_scans(&d) + 1;
    set_run(&d, true);
    for (int i = 0; i < 2000 && full_scans(&d) < scans; i++) {
        g_usleep(5000);
    }
    marked = ksm_figure(d.qts, "pc.ram", "pages-marked");
    twins[0].flags = KSM_ENTRY_TWIN;
    twins[1].flags = KSM_ENTRY_TWIN;
    daemon_send(&d, KSM_FRAME_TWINS, twins, sizeof(twins));
    for (int i = 0; i < 2000 && ksm_figure(d.qts, "pc.ram", "pages-marked") <
                                marked + 2; i++) {
        g_usleep(5000);
    }
    g_assert_cmpuint(ksm_figure(d.qts, "pc.ram", "pages-marked"), >=,
                     marked + 2);
    g_assert_cmpint(full_scans(&d), ==, scans);
    qtest_quit(d.qts);
    close(d.fd);
}

/*
 * Receives until @page is published, and not with digest @but, and says that it
 * has a twin.  Returns its digest.
 */
static uint64_t daemon_twin(Daemon *d, uint32_t page, uint64_t but)
{
    g_autofree KsmFrameEntry *entries = g_malloc(KSM_WIRE_MAX_PAYLOAD);

    while (true) {
        KsmFrameHeader header = daemon_receive(d, (uint8_t *)entries);

        for (int i = 0; header.type == KSM_FRAME_PUBLISH &&
                        i < header.length / sizeof(*entries); i++) {
            if (entries[i].page == page && entries[i].digest != but) {
                entries[i].flags = KSM_ENTRY_TWIN;
                daemon_send(d, KSM_FRAME_TWINS, &entries[i],
                            sizeof(entries[i]));
                return entries[i].digest;
            }
        }
    }
}

/* The next demand; what else comes is left out. */
static void daemon_demand(Daemon *d)
{
    g_autofree uint8_t *payload = g_malloc(KSM_WIRE_MAX_PAYLOAD);

    while (daemon_receive(d, payload).type != KSM_FRAME_DEMAND) {
        /* go on */
    }
}

/* A marked page that holds something else, with a twin, needs ksmd again. */
static void test_reused(void)
{
    Daemon d = daemon_start(",huge-split-threshold=1");
    g_autofree char *no_ksm = ksm_limit_message(d.qts, "no-ksm");
    const uint32_t page = BASE / PAGE;
    uint64_t digest, before;

    if (no_ksm) {
        g_test_skip(no_ksm);
        qtest_quit(d.qts);
        close(d.fd);
        return;
    }
    ksm_write_page(d.qts, BASE, 1);
    daemon_welcome(&d, KSM_WIRE_VERSION);
    digest = daemon_twin(&d, page, 0);
    ksm_wait_figure(d.qts, "pages-twins", 1);
    /* Marked, and armed. */
    ksm_wait_passes(d.qts, 2);
    ksm_write_page(d.qts, BASE, 2);
    daemon_twin(&d, page, digest);
    do {
        /* What was newly marked, as zero pages are, is so many more in all. */
        before = d.demand.total;
        daemon_demand(&d);
    } while (d.demand.marked <= d.demand.total - before);
    qtest_quit(d.qts);
    close(d.fd);
}

/* The next report; what else comes is left out. */
static KsmFrameReport daemon_report(Daemon *d)
{
    g_autofree uint8_t *payload = g_malloc(KSM_WIRE_MAX_PAYLOAD);
    KsmFrameReport report;

    while (daemon_receive(d, payload).type != KSM_FRAME_REPORT) {
        /* go on */
    }
    memcpy(&report, payload, sizeof(report));
    return report;
}

static void test_report(void)
{
    Daemon d = daemon_start("");
    KsmFrameReport report;

    ksm_write_page(d.qts, BASE, 1);
    daemon_welcome_with(&d, KSM_WIRE_VERSION, KSM_FEATURE_REPORT | 1u << 31);
    do {
        report = daemon_report(&d);
    } while (!report.pages_hashed);
    g_assert_cmpuint(report.backends, ==, KSM_REPORT_KSMD);
    g_assert_cmpuint(report.ksmfs_sharing_pages, ==, KSM_REPORT_UNKNOWN);
    g_assert_cmpuint(report.ram_bytes, >=, 1 << 20);
    g_assert_cmpuint(report.full_scans, >, 0);
    g_assert_cmpuint(report.cpu_ns, >, 0);
    g_assert_cmpuint(report.metadata_bytes, >, 0);
    /* It says so, too, when it stops. */
    set_run(&d, false);
    do {
        report = daemon_report(&d);
    } while (report.state != KSM_REPORT_STOPPED);
    qtest_quit(d.qts);
    close(d.fd);
}

static uint64_t cpu_permille(Daemon *d)
{
    QDict *info = ksm_query(d->qts);
    uint64_t permille = qdict_get_int(info, "cpu-permille");

    qobject_unref(info);
    return permille;
}

static void wait_cpu_permille(Daemon *d, uint64_t wanted)
{
    for (int i = 0; cpu_permille(d) != wanted && i < 1000; i++) {
        g_usleep(10000);
    }
    g_assert_cmpuint(cpu_permille(d), ==, wanted);
}

static void daemon_grant(Daemon *d, uint32_t permille, uint32_t flags)
{
    KsmFrameBudget budget = { .cpu_permille = permille, .flags = flags };

    daemon_send(d, KSM_FRAME_BUDGET, &budget, sizeof(budget));
}

/* Nothing can happen between them. */
static void daemon_grant_two(Daemon *d, uint32_t first, uint32_t second)
{
    const struct { KsmFrameHeader header; KsmFrameBudget budget; } frames[] = {
        { { .type = KSM_FRAME_BUDGET, .length = sizeof(KsmFrameBudget) },
          { .cpu_permille = 1, .flags = first } },
        { { .type = KSM_FRAME_BUDGET, .length = sizeof(KsmFrameBudget) },
          { .cpu_permille = 1, .flags = second } },
    };

    g_assert_cmpint(send(d->fd, frames, sizeof(frames), MSG_NOSIGNAL), ==,
                    sizeof(frames));
}

/* It takes what ksmtuned grants and what its own property allows. */
static void test_budget(void)
{
    Daemon d = daemon_start("");

    wait_cpu_permille(&d, 1000);
    daemon_welcome(&d, KSM_WIRE_VERSION);
    daemon_grant(&d, 35, 0);
    wait_cpu_permille(&d, 35);
    qtest_qmp_assert_success(d.qts, "{'execute': 'qom-set', 'arguments': {"
        "'path': '/objects/ksm0', 'property': 'max-cpu-percent', 'value': 3}}");
    wait_cpu_permille(&d, 30);
    qtest_qmp_assert_success(d.qts, "{'execute': 'qom-set', 'arguments': {"
        "'path': '/objects/ksm0', 'property': 'max-cpu-percent', 'value': 50}}"
        );
    wait_cpu_permille(&d, 35);
    /* Without ksmtuned it is its own master. */
    shutdown(d.fd, SHUT_RDWR);
    wait_cpu_permille(&d, 500);
    qtest_quit(d.qts);
    close(d.fd);
}

static void test_budget_range(void)
{
    Daemon d = daemon_start("");

    daemon_welcome(&d, KSM_WIRE_VERSION);
    daemon_grant(&d, 0, 0);
    daemon_given_up(&d, "a field is out of its range");
}

static void wait_released(Daemon *d, bool wanted)
{
    g_autofree char *message = NULL;

    for (int i = 0; i < 1000; i++) {
        g_free(message);
        message = ksm_limit_message(d->qts, "released");
        if (!message == !wanted) {
            break;
        }
        g_usleep(10000);
    }
    g_assert_true(!message == !wanted);
}

/* No pass can be waited for meanwhile. */
static void wait_unmarked(Daemon *d)
{
    for (int i = 0; i < 1000 &&
                    ksm_figure(d->qts, "pc.ram", "pages-marked"); i++) {
        g_usleep(10000);
    }
    g_assert_cmpuint(ksm_figure(d->qts, "pc.ram", "pages-marked"), ==, 0);
}

static void check_stopped(Daemon *d)
{
    QDict *info = ksm_query(d->qts);

    g_assert_cmpstr(qdict_get_str(info, "state"), ==, "stopped");
    qobject_unref(info);
}

/* Marks go when ksmtuned wants no merging, and come back when it does. */
static void test_release(void)
{
    Daemon d = daemon_start("");
    QDict *error;

    daemon_welcome(&d, KSM_WIRE_VERSION);
    /* No ksmtuned is asked for zero pages. */
    qtest_memset(d.qts, BASE, 1, 64 * PAGE);
    qtest_memset(d.qts, BASE, 0, 64 * PAGE);
    while (!ksm_figure(d.qts, "pc.ram", "pages-marked")) {
        ksm_wait_passes(d.qts, 1);
    }
    daemon_grant(&d, 1000, KSM_BUDGET_RELEASE);
    wait_released(&d, true);
    check_stopped(&d);
    wait_unmarked(&d);
    error = qtest_qmp_assert_failure_ref(d.qts, "{'execute': 'ksm-scan'}");
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), "ksmtuned"));
    qobject_unref(error);
    /* The user's own switch changes nothing meanwhile. */
    set_run(&d, false);
    set_run(&d, true);
    check_stopped(&d);
    daemon_grant(&d, 1000, 0);
    wait_released(&d, false);
    while (!ksm_figure(d.qts, "pc.ram", "pages-marked")) {
        ksm_wait_passes(d.qts, 1);
    }
    /* Who stopped it meanwhile wants no page back. */
    set_run(&d, false);
    daemon_grant_two(&d, KSM_BUDGET_RELEASE, 0);
    wait_cpu_permille(&d, 1);
    g_usleep(G_USEC_PER_SEC / 2);
    g_assert_cmpuint(ksm_figure(d.qts, "pc.ram", "pages-marked"), >, 0);
    set_run(&d, true);
    /* So does a ksmtuned that ends. */
    daemon_grant(&d, 1000, KSM_BUDGET_RELEASE);
    wait_released(&d, true);
    shutdown(d.fd, SHUT_RDWR);
    wait_released(&d, false);
    ksm_wait_passes(d.qts, 2);
    qtest_quit(d.qts);
    close(d.fd);
}

/* A ksmtuned that takes no reports gets none. */
static void test_no_report(void)
{
    Daemon d = daemon_start("");
    g_autofree uint8_t *payload = g_malloc(KSM_WIRE_MAX_PAYLOAD);
    struct timeval patience = { .tv_sec = 2 };
    KsmFrameHeader header;

    daemon_welcome(&d, KSM_WIRE_VERSION);
    ksm_wait_passes(d.qts, 3);
    setsockopt(d.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    while (recv(d.fd, &header, sizeof(header), MSG_WAITALL) ==
           sizeof(header)) {
        g_assert_cmpint(header.type, !=, KSM_FRAME_REPORT);
        if (header.length) {
            g_assert_cmpint(recv(d.fd, payload, header.length, MSG_WAITALL),
                            ==, header.length);
        }
    }
    qtest_quit(d.qts);
    close(d.fd);
}

static void test_version(void)
{
    Daemon d = daemon_start("");

    daemon_welcome(&d, KSM_WIRE_VERSION + 1);
    daemon_given_up(&d, "version");
}

static void test_garbage(void)
{
    Daemon d = daemon_start("");
    uint8_t garbage[256];

    memset(garbage, 0xa5, sizeof(garbage));
    g_assert_cmpint(send(d.fd, garbage, sizeof(garbage), MSG_NOSIGNAL), ==,
                    sizeof(garbage));
    daemon_given_up(&d, "broke the protocol");
}

static void test_mid_frame(void)
{
    Daemon d = daemon_start("");
    KsmFrameHeader header = { .type = KSM_FRAME_TWINS, .length = 1600 };

    daemon_welcome(&d, KSM_WIRE_VERSION);
    g_assert_cmpint(send(d.fd, &header, sizeof(header), MSG_NOSIGNAL), ==,
                    sizeof(header));
    shutdown(d.fd, SHUT_RDWR);
    daemon_given_up(&d, "closed the connection");
}

static void test_refused(void)
{
    Daemon d = daemon_start("");
    const char why[] = "no room";

    daemon_send(&d, KSM_FRAME_REFUSE, why, strlen(why));
    daemon_given_up(&d, "no room");
}

/* It doesn't read any more, nor does it close: engines go on alone. */
static void test_stuck(void)
{
    Daemon d = daemon_start(",backend=null");

    daemon_welcome(&d, KSM_WIRE_VERSION);
    for (int i = 0; i < 2048; i++) {
        ksm_write_page(d.qts, BASE + i * PAGE, i % 2 ? i : 1);
    }
    daemon_given_up(&d, "has not read");
}

static void test_early_twins(void)
{
    Daemon d = daemon_start("");
    KsmFrameEntry entry = { .flags = KSM_ENTRY_TWIN };

    daemon_send(&d, KSM_FRAME_TWINS, &entry, sizeof(entry));
    daemon_given_up(&d, "before WELCOME");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name) qtest_add_func("/ksm/rendezvous/" #name, test_ ## name)
    ADD(twins);
    ADD(late_twins);
    ADD(reused);
    ADD(report);
    ADD(no_report);
    ADD(budget);
    ADD(budget_range);
    ADD(release);
    ADD(version);
    ADD(garbage);
    ADD(mid_frame);
    ADD(refused);
    ADD(early_twins);
    ADD(stuck);
    return g_test_run();
}
