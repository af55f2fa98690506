/*
 * Test what the engine's passes find in guest RAM
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each page is written by the test, so it is known which are alike, which were
 * written since and what the engine may read.
 */
#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "ksm-helpers.h"

#include <sys/prctl.h>

#define HUGE    (2 * MiB)

/* A figure of /proc/PID/smaps for the guest's RAM, and nothing besides. */
static uint64_t ram_kib(QTestState *qts, const char *what)
{
    g_autofree char *blocks = qtest_hmp(qts, "info ramblock");
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps", qtest_pid(qts));
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    uint64_t host, size, from, to, kib = 0;
    const char *ram = strstr(blocks, "pc.ram");
    bool inside = false;

    g_assert_nonnull(ram);
    g_assert_cmpint(sscanf(ram, "pc.ram %*s %*s %*x %" SCNx64 " %*x %" SCNx64,
                           &size, &host), ==, 2);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        if (sscanf(*line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2) {
            inside = from >= host && to <= host + size;
        } else if (inside && g_str_has_prefix(*line, what)) {
            kib += g_ascii_strtoull(*line + strlen(what), NULL, 10);
        }
    }
    return kib;
}

static void test_twins(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE ",backend=null");

    for (int i = 0; i < 100; i++) {
        ksm_write_page(qts, BASE + i * PAGE, i < 60 ? 1 : i);
    }
    ksm_wait_figure(qts, "pages-twins", 60);
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-marked"), ==, 0);

    /* A page that changed is no twin any more, nor is a twin left alone. */
    ksm_write_page(qts, BASE + 200 * PAGE, 5000);
    ksm_write_page(qts, BASE + 201 * PAGE, 5000);
    ksm_wait_figure(qts, "pages-twins", 62);
    ksm_write_page(qts, BASE + 200 * PAGE, 6000);
    ksm_wait_figure(qts, "pages-twins", 60);
    ksm_write_page(qts, BASE + 200 * PAGE, 5000);
    ksm_wait_figure(qts, "pages-twins", 62);
    for (int i = 0; i < 60; i++) {
        ksm_write_page(qts, BASE + i * PAGE, 1000 + i);
    }
    ksm_wait_figure(qts, "pages-twins", 2);
    qtest_quit(qts);
}

/* A zero page that was only ever read is the kernel's, and costs nothing. */
static void test_zero_pages(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE ",backend=null");
    uint64_t shared, zero;

    ksm_wait_passes(qts, 3);
    shared = ksm_figure(qts, "pc.ram", "pages-zero-shared");
    zero = ksm_figure(qts, "pc.ram", "pages-zero");
    qtest_memset(qts, BASE, 0, PAGE);
    g_assert_cmpuint(qtest_readq(qts, BASE + 2 * HUGE), ==, 0);
    for (int i = 0; i < 500; i++) {
        ksm_wait_passes(qts, 1);
        if (ksm_figure(qts, "pc.ram", "pages-zero") - zero >
            ksm_figure(qts, "pc.ram", "pages-zero-shared") - shared &&
            ksm_figure(qts, "pc.ram", "pages-zero-shared") > shared) {
            qtest_quit(qts);
            return;
        }
    }
    g_assert_not_reached();
}

/* Pages that are not resident are not read, and stay so. */
static void test_residency(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE ",backend=null");
    uint64_t before;

    ksm_write_page(qts, BASE, 1);
    ksm_wait_passes(qts, 3);
    before = ram_kib(qts, "Rss:");
    g_assert_cmpuint(before, >=, PAGE / KiB);
    ksm_wait_passes(qts, 70);
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-hashed"), <, 16 * 1024);
    g_assert_cmpuint(ram_kib(qts, "Rss:"), ==, before);
    qtest_quit(qts);
}

static int64_t full_scans(QTestState *qts)
{
    g_autoptr(QDict) info = ksm_query(qts);

    return qdict_get_int(info, "full-scans");
}

/* One pass and no other: sleep-millisecs must be long. */
static void single_pass(QTestState *qts)
{
    int64_t before = full_scans(qts);

    qtest_qmp_assert_success(qts, "{'execute': 'ksm-scan'}");
    for (int i = 0; i < 2000 && full_scans(qts) == before; i++) {
        g_usleep(5000);
    }
    g_assert_cmpint(full_scans(qts), ==, before + 1);
}

/* Pages that change all the time are read less and less often. */
static void test_changing(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE ",backend=null,"
                                 "sleep-millisecs=3600000");
    uint64_t hashed;

    while (!full_scans(qts)) {
        g_usleep(5000);
    }
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < HUGE / PAGE; i++) {
            ksm_write_page(qts, BASE + i * PAGE, round * 1000 + i + 1);
        }
        single_pass(qts);
    }
    hashed = ksm_figure(qts, "pc.ram", "pages-hashed");
    g_test_message("%" PRIu64 " pages hashed", hashed);
    g_assert_cmpuint(hashed, >=, HUGE / PAGE);
    g_assert_cmpuint(hashed, <, 20 * HUGE / PAGE);
    qtest_quit(qts);
}

/* Starts QEMU without huge pages. */
static QTestState *init_small_pages(const char *arguments)
{
    QTestState *qts;

    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    qts = qtest_init(arguments);
    prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
    return qts;
}

/* With a ksm object that does not run yet, and then by single passes. */
#define BY_PASSES   MACHINE KSM ALONE ",run=off,sleep-millisecs=3600000"

static void set_run(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{'execute': 'qom-set', 'arguments': {"
        "'path': '/objects/ksm0', 'property': 'run', 'value': true}}");
    while (!full_scans(qts)) {
        g_usleep(5000);
    }
}

/* As init_small_pages(), with writes tracked; NULL: they can't be. */
static QTestState *init_tracked(const char *arguments)
{
    QTestState *qts = init_small_pages(arguments);
    g_autofree char *no_scan = ksm_limit_message(qts, "no-pagemap-scan");

    if (no_scan) {
        g_test_skip(no_scan);
        qtest_quit(qts);
        return NULL;
    }
    return qts;
}

/* Small pages are armed, hashed once, and let go if none has a twin. */
static void test_small_pages(void)
{
    QTestState *qts = init_tracked(BY_PASSES);
    uint64_t resident;

    if (!qts) {
        return;
    }
    for (int i = 0; i < HUGE / PAGE; i++) {
        ksm_write_page(qts, BASE + i * PAGE, i + 1);
    }
    resident = ram_kib(qts, "Rss:") * KiB / PAGE;
    set_run(qts);
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-tracked"), >=,
                     HUGE / PAGE);
    for (int i = 0; i < 5; i++) {
        single_pass(qts);
    }
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-submitted"), >=,
                     HUGE / PAGE);
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-hashed"), <=, resident);
    for (int i = 0; i < 20; i++) {
        single_pass(qts);
    }
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-tracked"), <,
                     HUGE / PAGE);
    qtest_quit(qts);
}

/* What is written from pass to pass is not at rest, however hot it is. */
static void test_rewritten(void)
{
    QTestState *qts = init_tracked(BY_PASSES ",backend=null");
    uint64_t submitted;

    if (!qts) {
        return;
    }
    /* All alike, so that the region stays armed. */
    qtest_memset(qts, BASE, 1, HUGE);
    set_run(qts);
    for (int i = 0; i < 5; i++) {
        single_pass(qts);
    }
    submitted = ksm_figure(qts, "pc.ram", "pages-submitted");
    g_assert_cmpuint(submitted, >=, HUGE / PAGE);
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 200; i += 2) {
            ksm_write_page(qts, BASE + i * PAGE, 10000 * i + round + 2);
        }
        single_pass(qts);
    }
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-submitted"), ==,
                     submitted);
    qtest_quit(qts);
}

/* What is written in bulk is found soon, though nothing is armed. */
static void test_spot_check(void)
{
    QTestState *qts = init_small_pages(BY_PASSES);
    uint64_t hashed;

    for (int i = 0; i < HUGE / PAGE; i++) {
        ksm_write_page(qts, BASE + i * PAGE, i + 1);
    }
    set_run(qts);
    /* By then reads are 32 passes or more apart. */
    for (int i = 0; i < 34; i++) {
        single_pass(qts);
    }
    hashed = ksm_figure(qts, "pc.ram", "pages-hashed");
    for (int i = 0; i < HUGE / PAGE; i++) {
        ksm_write_page(qts, BASE + i * PAGE, 10000 + i);
    }
    for (int i = 0; i < 25 && ksm_figure(qts, "pc.ram", "pages-hashed") <
                              hashed + HUGE / PAGE; i++) {
        g_usleep(200 * 1000);
        single_pass(qts);
    }
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-hashed"), >=,
                     hashed + HUGE / PAGE);
    qtest_quit(qts);
}

/* The end of a pass; returns the seconds until then. */
static double wait_pass(QTestState *qts)
{
    const int64_t start_us = g_get_monotonic_time();
    const int64_t before = full_scans(qts);

    for (int i = 0; i < 12000 && full_scans(qts) == before; i++) {
        g_usleep(5000);
    }
    g_assert_cmpint(full_scans(qts), >, before);
    return (g_get_monotonic_time() - start_us) / 1e6;
}

/* With nothing to do, passes are 3.2 s apart; but then much is written. */
static void check_hastened(QTestState *qts)
{
    for (int i = 0; i < 100 && wait_pass(qts) < 3; i++) {
        /* Not yet. */
    }
    /* Each round of spot checks looks at some of it. */
    qtest_memset(qts, BASE, 2, 64 * MiB);
    g_assert_cmpfloat(wait_pass(qts), <, 1.6);
    qtest_quit(qts);
}

#define SPOT_CHECKS MACHINE KSM ALONE ",backend=null,sleep-millisecs=200"

static void test_hastened_armed(void)
{
    QTestState *qts = init_small_pages(SPOT_CHECKS);

    /* All alike. */
    qtest_memset(qts, BASE, 1, 64 * MiB);
    check_hastened(qts);
}

static void test_hastened_unarmed(void)
{
    QTestState *qts = init_small_pages(SPOT_CHECKS);

    for (int i = 0; i < 64 * MiB / PAGE; i++) {
        ksm_write_page(qts, BASE + i * PAGE, i + 1);
    }
    for (int i = 0; i < 12000 &&
                    ksm_figure(qts, "pc.ram", "pages-submitted") <
                    64 * MiB / PAGE; i++) {
        g_usleep(5000);
    }
    /* None has a twin. */
    ksm_wait_passes(qts, 20);
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-tracked"), <,
                     64 * MiB / PAGE);
    check_hastened(qts);
}

/* What was written in bulk is looked at again soon: it may be at rest. */
static void test_written(void)
{
    QTestState *qts = init_tracked(MACHINE KSM ALONE ",backend=null,"
                                   "run=off,sleep-millisecs=1000");

    if (!qts) {
        return;
    }
    /* All alike. */
    qtest_memset(qts, BASE, 1, HUGE);
    set_run(qts);
    for (int i = 0; i < 20 && wait_pass(qts) < 1.6; i++) {
        /* Not yet. */
    }
    qtest_memset(qts, BASE, 2, HUGE);
    single_pass(qts);
    g_assert_cmpfloat(wait_pass(qts), <, 1.6);
    qtest_quit(qts);
}

/* Is the page at @address of the guest write-protected by the tracker? */
static bool is_armed(QTestState *qts, uint64_t address)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/pagemap",
                                            qtest_pid(qts));
    g_autofree char *where = qtest_hmp(qts, "gpa2hva 0x%" PRIx64, address);
    int fd = open(path, O_RDONLY);
    uint64_t host, entry;

    g_assert_nonnull(strstr(where, "is 0x"));
    host = g_ascii_strtoull(strstr(where, "is 0x") + 3, NULL, 16);
    g_assert_cmpint(pread(fd, &entry, sizeof(entry),
                          host / PAGE * sizeof(entry)), ==, sizeof(entry));
    close(fd);
    return extract64(entry, 57, 1);
}

/* The next write to a page that is always written costs no fault. */
static void test_hot_pages(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE ",huge-split-threshold=1,"
                                 "sleep-millisecs=3600000");
    const uint64_t hot = BASE + 50 * PAGE, warm = BASE + 60 * PAGE;
    g_autofree char *no_scan = ksm_limit_message(qts, "no-pagemap-scan");
    g_autofree char *no_ksm = ksm_limit_message(qts, "no-ksm");
    unsigned unarmed = 0;
    uint64_t zeros;

    if (no_scan || no_ksm) {
        g_test_skip(no_scan ?: no_ksm);
        qtest_quit(qts);
        return;
    }
    while (!full_scans(qts)) {
        g_usleep(5000);
    }
    /* Zero pages to begin with, also where there are no huge pages. */
    qtest_memset(qts, BASE, 0, HUGE);
    for (int i = 0; i < 100; i++) {
        ksm_write_page(qts, BASE + i * PAGE, 1);
    }
    for (int i = 0; i < 10; i++) {
        single_pass(qts);
    }
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-twins"), ==, 100);
    g_assert_true(is_armed(qts, hot));
    zeros = ksm_figure(qts, "pc.ram", "pages-zero");

    for (int round = 0; round < 12; round++) {
        ksm_write_page(qts, hot, 1000 + round);
        /* More runs of them than are reported at once. */
        for (int i = 101; i < 300; i += 2) {
            ksm_write_page(qts, BASE + i * PAGE, 10000 * i + round);
        }
        if (round == 5) {
            ksm_write_page(qts, warm, 2000 + round);
        }
        g_assert_false(is_armed(qts, hot));
        single_pass(qts);
        unarmed += !is_armed(qts, hot);
        g_assert_true(is_armed(qts, warm));
    }
    /* After three times it is volatile, and armed once in a second or more. */
    g_assert_cmpuint(unarmed, >=, 5);
    g_assert_cmpuint(unarmed, <=, 10);
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-twins"), ==, 98);
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-zero"), ==, zeros - 100);

    /* At rest it is found, if late. */
    ksm_write_page(qts, hot, 1);
    ksm_write_page(qts, warm, 1);
    single_pass(qts);
    single_pass(qts);
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-twins"), <, 100);
    for (int i = 0; i < 400 &&
                    ksm_figure(qts, "pc.ram", "pages-twins") < 100; i++) {
        g_usleep(100 * 1000);
        single_pass(qts);
    }
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-twins"), ==, 100);
    g_assert_true(is_armed(qts, hot));
    qtest_quit(qts);
}

/* A guest without twins keeps its huge pages, and is not tracked. */
static void test_huge_pages_stay_whole(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE ",run=off");
    uint64_t before;

    for (int i = 0; i < 4 * HUGE / PAGE; i++) {
        ksm_write_page(qts, BASE + i * PAGE, i + 1);
    }
    before = ram_kib(qts, "AnonHugePages:");
    if (before < 4 * HUGE / KiB) {
        g_autofree char *why = g_strdup_printf("only %" PRIu64 " KiB of huge"
            " pages were had: transparent_hugepage/enabled must not be never",
            before);

        g_test_skip(why);
        qtest_quit(qts);
        return;
    }
    set_run(qts);
    ksm_wait_passes(qts, 20);
    g_assert_cmpuint(ram_kib(qts, "AnonHugePages:"), ==, before);
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-submitted"), >=,
                     4 * HUGE / PAGE);
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-tracked"), ==, 0);

    /* Fewer twins than the threshold leave a huge page whole, too. */
    for (int i = 0; i < 31; i++) {
        ksm_write_page(qts, BASE + i * 8 * PAGE, 1);
    }
    ksm_wait_figure(qts, "pages-twins", 31);
    ksm_wait_passes(qts, 5);
    g_assert_cmpuint(ram_kib(qts, "AnonHugePages:"), ==, before);
    ksm_write_page(qts, BASE + 31 * 8 * PAGE, 1);
    ksm_wait_figure(qts, "pages-twins", 32);
    ksm_wait_figure(qts, "pages-tracked", 512);
    qtest_quit(qts);
}

/* Where nothing is merged nothing is split. */
static void test_null_splits_nothing(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE ",backend=null");
    uint64_t huge;

    for (int i = 0; i < 4 * HUGE / PAGE; i++) {
        ksm_write_page(qts, BASE + i * PAGE, i % 8 ? i + 1 : 1);
    }
    huge = ram_kib(qts, "AnonHugePages:");
    ksm_wait_figure(qts, "pages-twins", 4 * HUGE / PAGE / 8);
    ksm_wait_passes(qts, 5);
    for (int i = 0; i < 4; i++) {
        ksm_write_page(qts, BASE + i * HUGE, 1000000 + i);
    }
    g_assert_cmpuint(ram_kib(qts, "AnonHugePages:"), ==, huge);
    if (huge) {
        g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-tracked"), ==, 0);
    }
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name) qtest_add_func("/ksm/pass/" #name, test_ ## name)
    ADD(twins);
    ADD(zero_pages);
    ADD(residency);
    ADD(changing);
    ADD(small_pages);
    ADD(rewritten);
    ADD(spot_check);
    ADD(hastened_armed);
    ADD(hastened_unarmed);
    ADD(written);
    ADD(hot_pages);
    ADD(huge_pages_stay_whole);
    ADD(null_splits_nothing);
    return g_test_run();
}
