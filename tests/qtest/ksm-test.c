/*
 * Test the ksm object
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Nothing is merged here: ksmd is left alone.  What the engine finds, marks
 * and answers is checked against what the test wrote into guest RAM.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bitops.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "ksm-helpers.h"

#include <sys/prctl.h>

#define HUGE    (2 * MiB)

static const char *ineligible(const QDict *info, const char *name)
{
    QDict *block = ksm_find_block(info, name);

    g_assert_nonnull(block);
    return qdict_get_try_str(block, "ineligible") ?: "";
}

static unsigned count_lines(QTestState *qts, const char *file,
                            const char *prefix, uint64_t *sum)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", qtest_pid(qts),
                                            file);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    unsigned n = 0;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line && **line; line++) {
        if (g_str_has_prefix(*line, prefix)) {
            n++;
            if (sum) {
                *sum += g_ascii_strtoull(*line + strlen(prefix), NULL, 10);
            }
        }
    }
    return n;
}

static unsigned count_threads(QTestState *qts)
{
    uint64_t threads = 0;

    count_lines(qts, "status", "Threads:", &threads);
    return threads;
}

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

/* Small pages are armed, hashed once, and let go if none has a twin. */
static void test_small_pages(void)
{
    QTestState *qts = init_small_pages(BY_PASSES);
    g_autofree char *no_scan = ksm_limit_message(qts, "no-pagemap-scan");
    uint64_t resident;

    if (no_scan) {
        g_test_skip(no_scan);
        qtest_quit(qts);
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
    QTestState *qts = init_small_pages(BY_PASSES ",backend=null");
    g_autofree char *no_scan = ksm_limit_message(qts, "no-pagemap-scan");
    uint64_t submitted;

    if (no_scan) {
        g_test_skip(no_scan);
        qtest_quit(qts);
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

static void test_marks(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE ",huge-split-threshold=512");
    uint64_t marked;

    /* Half of a huge page, with zeros for the rest: all of it is worth it. */
    for (int i = 0; i < 256; i++) {
        ksm_write_page(qts, BASE + i * PAGE, 7);
    }
    ksm_wait_figure(qts, "pages-twins", 256);
    ksm_wait_passes(qts, 3);
    marked = ksm_figure(qts, "pc.ram", "pages-marked");
    g_assert_cmpuint(marked, >=, 256);
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-tracked"), >=, 512);

    qtest_qmp_assert_success(qts, "{'execute': 'ksm-unmerge'}");
    for (int i = 0; i < 500 && marked; i++) {
        g_usleep(10000);
        marked = ksm_figure(qts, "pc.ram", "pages-marked");
    }
    g_assert_cmpuint(marked, ==, 0);

    /* And back, though nothing was written meanwhile. */
    qtest_qmp_assert_success(qts, "{'execute': 'qom-set', 'arguments': {"
        "'path': '/objects/ksm0', 'property': 'run', 'value': true}}");
    ksm_wait_passes(qts, 3);
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-marked"), >=, 256);
    qtest_quit(qts);
}

static uint64_t total(QTestState *qts, const char *what)
{
    g_autoptr(QDict) info = ksm_query(qts);

    return qdict_get_int(qdict_get_qdict(info, "figures"), what);
}

/* ROMs are not tracked, but marked whole, until ksm-unmerge. */
static void check_roms(QTestState *qts)
{
    g_autoptr(QDict) info = NULL;
    uint64_t marked, rom_pages;

    ksm_wait_passes(qts, 2);
    info = ksm_query(qts);
    g_assert_cmpstr(ineligible(info, "pc.bios"), ==, "read-only");
    rom_pages = qdict_get_int(ksm_find_block(info, "pc.bios"), "size") / PAGE;
    g_assert_cmpuint(rom_pages, >, 0);
    marked = total(qts, "pages-marked");
    g_assert_cmpuint(marked, >=,
                     rom_pages + ksm_figure(qts, "pc.ram", "pages-marked"));

    qtest_qmp_assert_success(qts, "{'execute': 'ksm-unmerge'}");
    for (int i = 0; i < 500 && total(qts, "pages-marked"); i++) {
        g_usleep(10000);
    }
    g_assert_cmpuint(total(qts, "pages-marked"), ==, 0);
}

/* How many of its mappings the kernel may merge. */
static unsigned mergeable_mappings(QTestState *qts)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps", qtest_pid(qts));
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    unsigned n = 0;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        n += g_str_has_prefix(*line, "VmFlags:") && strstr(*line, " mg");
    }
    return n;
}

/* ROMs are marked whole, and unmerged; also those that QEMU had marked. */
static void test_roms(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE);

    check_roms(qts);
    g_assert_cmpuint(mergeable_mappings(qts), ==, 0);
    qtest_quit(qts);

    qts = qtest_init(MACHINE);
    g_assert_cmpuint(mergeable_mappings(qts), >, 0);
    qtest_qmp_assert_success(qts, "{'execute': 'object-add', 'arguments': {"
        "'qom-type': 'ksm', 'id': 'ksm0', 'sleep-millisecs': 10,"
        "'rendezvous': {'type': 'unix', 'path': '/nonexistent/x.sock'}}}");
    check_roms(qts);
    g_assert_cmpuint(mergeable_mappings(qts), ==, 0);
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

/* What was counted goes on being counted when its RAMBlock is gone. */
static void test_removed(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE);
    uint64_t hashed;

    qtest_qmp_assert_success(qts, "{'execute': 'object-add', 'arguments': {"
        "'qom-type': 'memory-backend-ram', 'id': 'gone', 'size': 4194304,"
        "'prealloc': true}}");
    ksm_wait_passes(qts, 4);
    hashed = ksm_figure(qts, "gone", "pages-hashed");
    g_assert_cmpuint(hashed, >=, 4 * MiB / PAGE);
    hashed = total(qts, "pages-hashed");
    qtest_qmp_assert_success(qts, "{'execute': 'object-del', 'arguments': {"
        "'id': 'gone'}}");
    g_assert_cmpuint(total(qts, "pages-hashed"), >=, hashed);
    ksm_wait_passes(qts, 2);
    qtest_quit(qts);
}

/* Scattered twins cost mappings: at most a quarter of the kernel's limit. */
static void test_vma_budget(void)
{
    QTestState *qts = qtest_init("-machine q35 -m 256 -nodefaults "
                                 KSM ALONE ",huge-split-threshold=1");
    g_autofree char *text = NULL, *message = NULL;
    uint64_t limit;

    g_file_get_contents("/proc/sys/vm/max_map_count", &text, NULL, NULL);
    limit = g_ascii_strtoull(text, NULL, 10);
    if (limit > 100000) {
        g_test_skip("vm.max_map_count is too high to be reached here");
        qtest_quit(qts);
        return;
    }
    for (int i = 0; i < 40960; i++) {
        ksm_write_page(qts, BASE + i * PAGE, i % 2 ? i : 0xffffffff);
    }
    ksm_wait_figure(qts, "pages-twins", 20480);
    ksm_wait_passes(qts, 3);
    message = ksm_limit_message(qts, "vmas");
    g_assert_nonnull(message);
    g_assert_nonnull(strstr(message, "vm.max_map_count"));
    /* What marks cost, and some hundred mappings that QEMU has anyhow. */
    g_assert_cmpuint(count_lines(qts, "maps", "", NULL), <, limit / 4 + 1000);
    g_assert_cmpuint(ksm_figure(qts, "pc.ram", "pages-marked"), >, 8192);
    qtest_quit(qts);
}

static void test_merge_off(void)
{
    QTestState *qts = qtest_init("-machine q35,mem-merge=off -m 128 "
                                 "-nodefaults " KSM ALONE);
    g_autoptr(QDict) info = NULL;

    for (int i = 0; i < 512; i++) {
        ksm_write_page(qts, BASE + i * PAGE, 1);
    }
    ksm_wait_passes(qts, 5);
    info = ksm_query(qts);
    g_assert_cmpstr(ineligible(info, "pc.ram"), ==, "merge-off");
    g_assert_cmpuint(qdict_get_int(qdict_get_qdict(info, "figures"),
                                   "pages-submitted"), ==, 0);
    g_assert_cmpuint(qdict_get_int(qdict_get_qdict(info, "figures"),
                                   "pages-marked"), ==, 0);
    qtest_quit(qts);
}

static void test_eligibility(void)
{
    g_autofree char *name = NULL;
    int fd = g_file_open_tmp("ksm-test-XXXXXX", &name, NULL);
    g_autoptr(QDict) info = NULL, roms = NULL, after = NULL;
    QTestState *qts;

    g_assert_cmpint(ftruncate(fd, 2 * MiB), ==, 0);
    qts = qtest_initf(MACHINE KSM ALONE
        " -object memory-backend-ram,id=off,size=2M,merge=off"
        " -object memory-backend-ram,id=on,size=2M,merge=on"
        " -object memory-backend-ram,id=shared,size=2M,share=on"
        " -object memory-backend-memfd,id=memfd,size=2M"
        " -object memory-backend-file,id=file,size=2M,share=off,mem-path=%s",
        name);
    info = ksm_query(qts);
    g_assert_cmpstr(ineligible(info, "off"), ==, "merge-off");
    g_assert_cmpstr(ineligible(info, "on"), ==, "");
    g_assert_cmpstr(ineligible(info, "shared"), ==, "shared");
    g_assert_cmpstr(ineligible(info, "memfd"), ==, "shared");
    g_assert_cmpstr(ineligible(info, "file"), ==, "file");
    ksm_wait_passes(qts, 2);
    roms = ksm_query(qts);
    g_assert_cmpstr(ineligible(roms, "pc.bios"), ==, "read-only");
    g_assert_nonnull(strstr(qdict_get_str(ksm_find_block(info, "shared"),
                                          "message"), "share=off"));

    /* merge= can change at run time, and the engine follows. */
    qtest_qmp_assert_success(qts, "{'execute': 'qom-set', 'arguments': {"
        "'path': '/objects/off', 'property': 'merge', 'value': true}}");
    qtest_qmp_assert_success(qts, "{'execute': 'qom-set', 'arguments': {"
        "'path': '/objects/on', 'property': 'merge', 'value': false}}");
    after = ksm_query(qts);
    g_assert_cmpstr(ineligible(after, "off"), ==, "");
    g_assert_cmpstr(ineligible(after, "on"), ==, "merge-off");
    qtest_quit(qts);
    close(fd);
    unlink(name);
}

/* Without ksmfs: a reason with the way out.  With it, see tests/kvm. */
static void test_backend_ksmfs(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE ",backend=ksmfs"
        " -object memory-backend-ram,id=private,size=2M"
        " -object memory-backend-ram,id=shared,size=2M,share=on");
    g_autoptr(QDict) info = ksm_query(qts);

    g_assert_cmpstr(ineligible(info, "private"), ==, "not-ksmfs");
    g_assert_cmpstr(ineligible(info, "shared"), ==, "shared");
    g_assert_nonnull(strstr(qdict_get_str(ksm_find_block(info, "shared"),
                                          "message"), "ksmfs"));
    ksm_wait_passes(qts, 2);
    g_assert_cmpuint(qdict_get_int(qdict_get_qdict(info, "figures"),
                                   "pages-submitted"), ==, 0);
    qtest_quit(qts);
}

static void refused(QTestState *qts, const char *props, const char *why)
{
    g_autofree char *arguments = g_strdup_printf(
        "{'qom-type': 'ksm', 'id': 'bad'%s%s}", *props ? ", " : "", props);
    g_autoptr(QDict) response = qtest_qmp(qts,
        "{'execute': 'object-add', 'arguments': %p}",
        qobject_from_json(arguments, &error_abort));
    const char *desc;

    g_assert_true(qdict_haskey(response, "error"));
    desc = qdict_get_str(qdict_get_qdict(response, "error"), "desc");
    g_test_message("%s: %s", props, desc);
    g_assert_nonnull(strstr(desc, why));
}

static void test_bad_input(void)
{
    QTestState *qts = qtest_init(MACHINE);
    g_autoptr(QDict) none = qtest_qmp(qts, "{'execute': 'query-ksm'}");
    g_autofree char *long_path = NULL;
    char path[109] = "";

    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(none, "error"), "class"),
                    ==, "DeviceNotFound");
    refused(qts, "'colour': 'red'", "colour");
    refused(qts, "'max-cpu-percent': 0", "must be 1 to 100");
    refused(qts, "'max-cpu-percent': 101", "must be 1 to 100");
    refused(qts, "'sleep-millisecs': 9", "must be 10 to 3600000");
    refused(qts, "'stable-passes': 8", "must be 1 to 7");
    refused(qts, "'huge-split-threshold': 513", "must be 1 to 512");
    refused(qts, "'backend': 'magic'", "magic");
    refused(qts, "'iothread': 'missing'", "iothread 'missing' does not exist");
    refused(qts, "'rendezvous': {'type': 'inet', 'host': '127.0.0.1',"
                 " 'port': '1'}", "use unix or fd");
    refused(qts, "'rendezvous': {'type': 'fd', 'str': 'none'}", "none");
    memset(path, 'x', sizeof(path) - 1);
    long_path = g_strdup_printf("'rendezvous': {'type': 'unix', 'path': '%s'}",
                                path);
    refused(qts, long_path, "use a shorter one");

    qtest_qmp_assert_success(qts, "{'execute': 'object-add', 'arguments': {"
        "'qom-type': 'ksm', 'id': 'ksm0'}}");
    refused(qts, "", "there is a ksm object, 'ksm0'");
    qtest_qmp_assert_success(qts, "{'execute': 'object-del', 'arguments': {"
        "'id': 'ksm0'}}");
    qtest_quit(qts);
}

static void set_fails(QTestState *qts, const char *property, const char *value)
{
    g_autoptr(QDict) response = qtest_qmp(qts, "{'execute': 'qom-set',"
        "'arguments': {'path': '/objects/ksm0', 'property': %s, 'value': %p}}",
        property, qobject_from_json(value, &error_abort));

    g_assert_true(qdict_haskey(response, "error"));
}

static void test_qom_set(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE ",run=off");
    g_autoptr(QDict) info = NULL, scan = NULL;
    QDict *parameters;

    scan = qtest_qmp(qts, "{'execute': 'ksm-scan'}");
    g_assert_nonnull(strstr(qdict_get_str(qdict_get_qdict(scan, "error"),
                                          "desc"), "set its run to true"));
    qtest_qmp_assert_success(qts, "{'execute': 'qom-set', 'arguments': {"
        "'path': '/objects/ksm0', 'property': 'stable-passes', 'value': 3}}");
    qtest_qmp_assert_success(qts, "{'execute': 'qom-set', 'arguments': {"
        "'path': '/objects/ksm0', 'property': 'run', 'value': true}}");
    set_fails(qts, "stable-passes", "0");
    set_fails(qts, "backend", "'null'");
    set_fails(qts, "iothread", "'x'");
    ksm_wait_passes(qts, 2);
    info = ksm_query(qts);
    parameters = qdict_get_qdict(info, "parameters");
    g_assert_cmpint(qdict_get_int(parameters, "stable-passes"), ==, 3);
    g_assert_true(qdict_get_bool(parameters, "run"));
    qtest_quit(qts);
}

/* In and out in mid-pass, with memory that comes and goes: no thread stays. */
static void test_object_del(void)
{
    QTestState *qts = qtest_init(MACHINE "-object iothread,id=io0");
    unsigned threads;

    for (int i = 0; i < 16 * HUGE / PAGE; i++) {
        ksm_write_page(qts, BASE + i * PAGE, i % 3 ? i : 1);
    }
    threads = count_threads(qts);
    for (int i = 0; i < 40; i++) {
        qtest_qmp_assert_success(qts, "{'execute': 'object-add', 'arguments':"
            "{'qom-type': 'ksm', 'id': 'ksm0', 'sleep-millisecs': 10,"
            " 'max-cpu-percent': 100, 'rendezvous': {'type': 'unix',"
            " 'path': '/nonexistent/s'}}}");
        qtest_qmp_assert_success(qts, "{'execute': 'object-add', 'arguments':"
            "{'qom-type': 'memory-backend-ram', 'id': 'mem0',"
            " 'size': 8388608, 'prealloc': true}}");
        g_usleep(g_test_rand_int_range(0, 30000));
        qtest_qmp_assert_success(qts, "{'execute': 'object-del',"
            "'arguments': {'id': 'mem0'}}");
        g_usleep(g_test_rand_int_range(0, 30000));
        qtest_qmp_assert_success(qts, "{'execute': 'object-del',"
            "'arguments': {'id': 'ksm0'}}");
    }
    g_usleep(100000);
    g_assert_cmpuint(count_threads(qts), ==, threads);

    qtest_qmp_assert_success(qts, "{'execute': 'object-add', 'arguments':"
        "{'qom-type': 'ksm', 'id': 'ksm0', 'iothread': 'io0'}}");
    g_assert_cmpuint(count_threads(qts), ==, threads);
    qtest_qmp_assert_success(qts, "{'execute': 'system_reset'}");
    qtest_quit(qts);
}

static void test_rendezvous_missing(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE);
    g_autofree char *message = NULL;

    ksm_wait_passes(qts, 1);
    message = ksm_limit_message(qts, "no-rendezvous");
    g_assert_nonnull(message);
    g_assert_nonnull(strstr(message, "/nonexistent/helper.sock"));
    g_assert_nonnull(strstr(message, "start ksmtuned"));
    qtest_quit(qts);
}

static void test_monitor(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE ",backend=null");
    g_autofree char *text = NULL;
    g_autoptr(QDict) event = NULL, stats = NULL;

    event = qtest_qmp_eventwait_ref(qts, "KSM_PASS_COMPLETED");
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(event, "data"), "id"), ==,
                    "ksm0");
    text = qtest_hmp(qts, "info ksm");
    g_assert_nonnull(strstr(text, "full scans"));
    g_assert_nonnull(strstr(text, "limited by no-rendezvous"));
    stats = qtest_qmp(qts, "{'execute': 'query-stats', 'arguments':"
                      "{'target': 'vm', 'providers': [{'provider': 'ksm',"
                      " 'names': ['pages-hashed']}]}}");
    g_assert_cmpuint(qlist_size(qdict_get_qlist(stats, "return")), ==, 1);
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name) qtest_add_func("/ksm/" #name, test_ ## name)
    ADD(twins);
    ADD(zero_pages);
    ADD(residency);
    ADD(changing);
    ADD(small_pages);
    ADD(rewritten);
    ADD(spot_check);
    ADD(hastened_armed);
    ADD(hastened_unarmed);
    ADD(hot_pages);
    ADD(marks);
    ADD(roms);
    ADD(huge_pages_stay_whole);
    ADD(null_splits_nothing);
    ADD(removed);
    ADD(vma_budget);
    ADD(merge_off);
    ADD(eligibility);
    ADD(backend_ksmfs);
    ADD(bad_input);
    ADD(qom_set);
    ADD(object_del);
    ADD(rendezvous_missing);
    ADD(monitor);
    return g_test_run();
}
