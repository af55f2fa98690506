/*
 * Test the ksm object
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Nothing is merged here: ksmd is left alone.  What the engine finds, marks
 * and answers is checked against what the test wrote into guest RAM.
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "../../subprojects/libksm/ksm-wire.h"

#define PAGE    4096u
#define HUGE    (2 * MiB)
/* Free of what firmware tables use, and aligned to huge pages. */
#define BASE    (16 * MiB)

/* No ksmtuned is asked, wherever one may run. */
#define ALONE   "rendezvous.type=unix,rendezvous.path=/nonexistent/helper.sock"
#define KSM     "-object ksm,id=ksm0,sleep-millisecs=10,max-cpu-percent=100,"
#define MACHINE "-machine q35 -m 128 -nodefaults "

static QDict *query(QTestState *qts)
{
    QDict *response = qtest_qmp(qts, "{'execute': 'query-ksm'}");
    QDict *info = qdict_get_qdict(response, "return");

    g_assert_nonnull(info);
    qobject_ref(info);
    qobject_unref(response);
    return info;
}

static QDict *find_block(const QDict *info, const char *name)
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

/* A figure of RAMBlock @name. */
static uint64_t figure(QTestState *qts, const char *name, const char *what)
{
    g_autoptr(QDict) info = query(qts);
    QDict *block = find_block(info, name);

    g_assert_nonnull(block);
    return qdict_get_int(qdict_get_qdict(block, "figures"), what);
}

static const char *ineligible(const QDict *info, const char *name)
{
    QDict *block = find_block(info, name);

    g_assert_nonnull(block);
    return qdict_get_try_str(block, "ineligible") ?: "";
}

/* The message of limit @name, or NULL; free it. */
static char *limit_message(QTestState *qts, const char *name)
{
    g_autoptr(QDict) info = query(qts);
    QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "limits"), entry) {
        QDict *limit = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(limit, "limit"), name)) {
            return g_strdup(qdict_get_str(limit, "message"));
        }
    }
    return NULL;
}

/* Let @n passes begin and end. */
static void wait_passes(QTestState *qts, int n)
{
    int64_t until = -1;

    for (int i = 0; i < 2000; i++) {
        g_autoptr(QDict) info = query(qts);
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

static void wait_figure(QTestState *qts, const char *what, uint64_t value)
{
    uint64_t got = 0;

    for (int i = 0; i < 500; i++) {
        got = figure(qts, "pc.ram", what);
        if (got == value) {
            return;
        }
        wait_passes(qts, 1);
    }
    g_error("%s is %" PRIu64 ", not %" PRIu64, what, got, value);
}

/* A page that no other @seed makes. */
static void write_page(QTestState *qts, uint64_t address, uint32_t seed)
{
    uint32_t page[PAGE / 4];

    for (int i = 0; i < ARRAY_SIZE(page); i++) {
        page[i] = seed * 2654435761u + i + 1;
    }
    qtest_bufwrite(qts, address, page, sizeof(page));
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
        write_page(qts, BASE + i * PAGE, i < 60 ? 1 : i);
    }
    wait_figure(qts, "pages-twins", 60);
    g_assert_cmpuint(figure(qts, "pc.ram", "pages-marked"), ==, 0);

    /* A page that changed is no twin any more, nor is a twin left alone. */
    write_page(qts, BASE + 200 * PAGE, 5000);
    write_page(qts, BASE + 201 * PAGE, 5000);
    wait_figure(qts, "pages-twins", 62);
    write_page(qts, BASE + 200 * PAGE, 6000);
    wait_figure(qts, "pages-twins", 60);
    write_page(qts, BASE + 200 * PAGE, 5000);
    wait_figure(qts, "pages-twins", 62);
    for (int i = 0; i < 60; i++) {
        write_page(qts, BASE + i * PAGE, 1000 + i);
    }
    wait_figure(qts, "pages-twins", 2);
    qtest_quit(qts);
}

/* Pages that are not resident are not read, and stay so. */
static void test_residency(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE ",backend=null");
    uint64_t before;

    write_page(qts, BASE, 1);
    wait_passes(qts, 3);
    before = ram_kib(qts, "Rss:");
    g_assert_cmpuint(before, >=, PAGE / KiB);
    wait_passes(qts, 70);
    g_assert_cmpuint(figure(qts, "pc.ram", "pages-hashed"), <, 16 * 1024);
    g_assert_cmpuint(ram_kib(qts, "Rss:"), ==, before);
    qtest_quit(qts);
}

static int64_t full_scans(QTestState *qts)
{
    g_autoptr(QDict) info = query(qts);

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
            write_page(qts, BASE + i * PAGE, round * 1000 + i + 1);
        }
        single_pass(qts);
    }
    hashed = figure(qts, "pc.ram", "pages-hashed");
    g_test_message("%" PRIu64 " pages hashed", hashed);
    g_assert_cmpuint(hashed, >=, HUGE / PAGE);
    g_assert_cmpuint(hashed, <, 20 * HUGE / PAGE);
    qtest_quit(qts);
}

static void test_marks(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE ",huge-split-threshold=512");
    uint64_t marked;

    /* Half of a huge page, with zeros for the rest: all of it is worth it. */
    for (int i = 0; i < 256; i++) {
        write_page(qts, BASE + i * PAGE, 7);
    }
    wait_figure(qts, "pages-twins", 256);
    wait_passes(qts, 3);
    marked = figure(qts, "pc.ram", "pages-marked");
    g_assert_cmpuint(marked, >=, 256);
    g_assert_cmpuint(figure(qts, "pc.ram", "pages-tracked"), >=, 512);

    qtest_qmp_assert_success(qts, "{'execute': 'ksm-unmerge'}");
    for (int i = 0; i < 500 && marked; i++) {
        g_usleep(10000);
        marked = figure(qts, "pc.ram", "pages-marked");
    }
    g_assert_cmpuint(marked, ==, 0);

    /* And back, though nothing was written meanwhile. */
    qtest_qmp_assert_success(qts, "{'execute': 'qom-set', 'arguments': {"
        "'path': '/objects/ksm0', 'property': 'run', 'value': true}}");
    wait_passes(qts, 3);
    g_assert_cmpuint(figure(qts, "pc.ram", "pages-marked"), >=, 256);
    qtest_quit(qts);
}

static uint64_t total(QTestState *qts, const char *what)
{
    g_autoptr(QDict) info = query(qts);

    return qdict_get_int(qdict_get_qdict(info, "figures"), what);
}

/* ROMs are not tracked, but marked whole, until ksm-unmerge. */
static void test_roms(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE);
    g_autoptr(QDict) info = NULL;
    uint64_t marked, rom_pages;

    wait_passes(qts, 2);
    info = query(qts);
    g_assert_cmpstr(ineligible(info, "pc.bios"), ==, "read-only");
    rom_pages = qdict_get_int(find_block(info, "pc.bios"), "size") / PAGE;
    g_assert_cmpuint(rom_pages, >, 0);
    marked = total(qts, "pages-marked");
    g_assert_cmpuint(marked, >=,
                     rom_pages + figure(qts, "pc.ram", "pages-marked"));

    qtest_qmp_assert_success(qts, "{'execute': 'ksm-unmerge'}");
    for (int i = 0; i < 500 && total(qts, "pages-marked"); i++) {
        g_usleep(10000);
    }
    g_assert_cmpuint(total(qts, "pages-marked"), ==, 0);
    qtest_quit(qts);
}

/* A guest without twins keeps its huge pages, and is not tracked. */
static void test_huge_pages_stay_whole(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE ",run=off");
    uint64_t before;

    for (int i = 0; i < 4 * HUGE / PAGE; i++) {
        write_page(qts, BASE + i * PAGE, i + 1);
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
    qtest_qmp_assert_success(qts, "{'execute': 'qom-set', 'arguments': {"
        "'path': '/objects/ksm0', 'property': 'run', 'value': true}}");
    wait_passes(qts, 20);
    g_assert_cmpuint(ram_kib(qts, "AnonHugePages:"), ==, before);
    g_assert_cmpuint(figure(qts, "pc.ram", "pages-submitted"), >=,
                     4 * HUGE / PAGE);
    g_assert_cmpuint(figure(qts, "pc.ram", "pages-tracked"), ==, 0);

    /* Fewer twins than the threshold leave a huge page whole, too. */
    for (int i = 0; i < 31; i++) {
        write_page(qts, BASE + i * 8 * PAGE, 1);
    }
    wait_figure(qts, "pages-twins", 31);
    wait_passes(qts, 5);
    g_assert_cmpuint(ram_kib(qts, "AnonHugePages:"), ==, before);
    write_page(qts, BASE + 31 * 8 * PAGE, 1);
    wait_figure(qts, "pages-twins", 32);
    wait_figure(qts, "pages-tracked", 512);
    qtest_quit(qts);
}

/* Scattered twins cost mappings: at most a quarter of the kernel's limit. */
/* Where nothing is merged nothing is split. */
static void test_null_splits_nothing(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE ",backend=null");
    uint64_t huge;

    for (int i = 0; i < 4 * HUGE / PAGE; i++) {
        write_page(qts, BASE + i * PAGE, i % 8 ? i + 1 : 1);
    }
    huge = ram_kib(qts, "AnonHugePages:");
    wait_figure(qts, "pages-twins", 4 * HUGE / PAGE / 8);
    wait_passes(qts, 5);
    for (int i = 0; i < 4; i++) {
        write_page(qts, BASE + i * HUGE, 1000000 + i);
    }
    g_assert_cmpuint(ram_kib(qts, "AnonHugePages:"), ==, huge);
    if (huge) {
        g_assert_cmpuint(figure(qts, "pc.ram", "pages-tracked"), ==, 0);
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
    wait_passes(qts, 4);
    hashed = figure(qts, "gone", "pages-hashed");
    g_assert_cmpuint(hashed, >=, 4 * MiB / PAGE);
    hashed = total(qts, "pages-hashed");
    qtest_qmp_assert_success(qts, "{'execute': 'object-del', 'arguments': {"
        "'id': 'gone'}}");
    g_assert_cmpuint(total(qts, "pages-hashed"), >=, hashed);
    wait_passes(qts, 2);
    qtest_quit(qts);
}

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
        write_page(qts, BASE + i * PAGE, i % 2 ? i : 0xffffffff);
    }
    wait_figure(qts, "pages-twins", 20480);
    wait_passes(qts, 3);
    message = limit_message(qts, "vmas");
    g_assert_nonnull(message);
    g_assert_nonnull(strstr(message, "vm.max_map_count"));
    /* What marks cost, and some hundred mappings that QEMU has anyhow. */
    g_assert_cmpuint(count_lines(qts, "maps", "", NULL), <, limit / 4 + 1000);
    g_assert_cmpuint(figure(qts, "pc.ram", "pages-marked"), >, 8192);
    qtest_quit(qts);
}

static void test_merge_off(void)
{
    QTestState *qts = qtest_init("-machine q35,mem-merge=off -m 128 "
                                 "-nodefaults " KSM ALONE);
    g_autoptr(QDict) info = NULL;

    for (int i = 0; i < 512; i++) {
        write_page(qts, BASE + i * PAGE, 1);
    }
    wait_passes(qts, 5);
    info = query(qts);
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
    info = query(qts);
    g_assert_cmpstr(ineligible(info, "off"), ==, "merge-off");
    g_assert_cmpstr(ineligible(info, "on"), ==, "");
    g_assert_cmpstr(ineligible(info, "shared"), ==, "shared");
    g_assert_cmpstr(ineligible(info, "memfd"), ==, "shared");
    g_assert_cmpstr(ineligible(info, "file"), ==, "file");
    wait_passes(qts, 2);
    roms = query(qts);
    g_assert_cmpstr(ineligible(roms, "pc.bios"), ==, "read-only");
    g_assert_nonnull(strstr(qdict_get_str(find_block(info, "shared"),
                                          "message"), "share=off"));

    /* merge= can change at run time, and the engine follows. */
    qtest_qmp_assert_success(qts, "{'execute': 'qom-set', 'arguments': {"
        "'path': '/objects/off', 'property': 'merge', 'value': true}}");
    qtest_qmp_assert_success(qts, "{'execute': 'qom-set', 'arguments': {"
        "'path': '/objects/on', 'property': 'merge', 'value': false}}");
    after = query(qts);
    g_assert_cmpstr(ineligible(after, "off"), ==, "");
    g_assert_cmpstr(ineligible(after, "on"), ==, "merge-off");
    qtest_quit(qts);
    close(fd);
    unlink(name);
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
    wait_passes(qts, 2);
    info = query(qts);
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
        write_page(qts, BASE + i * PAGE, i % 3 ? i : 1);
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

/*
 * The test plays ksmtuned, on the other end of a socket pair.
 */
typedef struct Daemon {
    QTestState *qts;
    int fd;
} Daemon;

static Daemon daemon_start(const char *options)
{
    Daemon d;
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

static void daemon_welcome(Daemon *d, uint32_t version)
{
    KsmFrameWelcome welcome = { .version = version, .seed = { 42 } };

    daemon_send(d, KSM_FRAME_WELCOME, &welcome, sizeof(welcome));
}

/* The connection is given up for a reason that says @why; the guest lives. */
static void daemon_given_up(Daemon *d, const char *why)
{
    g_autofree char *message = NULL;

    for (int i = 0; i < 2000; i++) {
        g_free(message);
        message = limit_message(d->qts, "no-rendezvous");
        if (message && strstr(message, why)) {
            break;
        }
        g_usleep(10000);
    }
    g_test_message("%s", message);
    g_assert_nonnull(message);
    g_assert_nonnull(strstr(message, why));
    wait_passes(d->qts, 2);
    qtest_quit(d->qts);
    close(d->fd);
}

static void test_rendezvous_twins(void)
{
    Daemon d = daemon_start("");
    uint32_t pages[2];
    uint64_t digests[2];
    int found = 0;
    KsmFrameEntry twins[3] = { };

    for (int i = 0; i < 300; i++) {
        write_page(d.qts, BASE + i * PAGE, i);
    }
    daemon_welcome(&d, KSM_WIRE_VERSION);
    while (found < 2) {
        g_autofree KsmFrameEntry *entries = g_malloc(KSM_WIRE_MAX_PAYLOAD);
        KsmFrameHeader header;

        g_assert_cmpint(recv(d.fd, &header, sizeof(header), MSG_WAITALL), ==,
                        sizeof(header));
        g_assert_cmpint(ksm_wire_check_header(&header, KSM_WIRE_FROM_ENGINE),
                        ==, KSM_WIRE_OK);
        if (header.length) {
            g_assert_cmpint(recv(d.fd, entries, header.length, MSG_WAITALL),
                            ==, header.length);
        }
        g_assert_cmpint(ksm_wire_check_payload(&header, entries), ==,
                        KSM_WIRE_OK);
        for (int i = 0; header.type == KSM_FRAME_PUBLISH && found < 2 &&
                        i < header.length / sizeof(*entries); i++) {
            if (entries[i].page == (BASE + found * 7 * PAGE) / PAGE) {
                pages[found] = entries[i].page;
                digests[found++] = entries[i].digest;
            }
        }
    }
    /* Two of its pages have twins elsewhere; a third answer is outdated. */
    for (int i = 0; i < 3; i++) {
        twins[i].page = pages[i % 2];
        twins[i].digest = digests[i % 2] ^ (i == 2);
        twins[i].flags = i == 2 ? 0 : KSM_ENTRY_TWIN;
    }
    daemon_send(&d, KSM_FRAME_TWINS, twins, sizeof(twins));
    wait_figure(d.qts, "pages-twins", 2);
    /* Gone again; and pages that don't exist are nothing to it. */
    twins[0].flags = 0;
    twins[1].page = UINT32_MAX;
    daemon_send(&d, KSM_FRAME_TWINS, twins, sizeof(twins[0]) * 2);
    wait_figure(d.qts, "pages-twins", 1);
    close(d.fd);
    d.fd = -1;
    /* Alone again: no page of its own has a twin. */
    wait_figure(d.qts, "pages-twins", 0);
    g_assert_cmpuint(figure(d.qts, "pc.ram", "pages-submitted"), >, 300);
    qtest_quit(d.qts);
}

static void test_rendezvous_version(void)
{
    Daemon d = daemon_start("");

    daemon_welcome(&d, KSM_WIRE_VERSION + 1);
    daemon_given_up(&d, "version");
}

static void test_rendezvous_garbage(void)
{
    Daemon d = daemon_start("");
    uint8_t garbage[256];

    memset(garbage, 0xa5, sizeof(garbage));
    g_assert_cmpint(send(d.fd, garbage, sizeof(garbage), MSG_NOSIGNAL), ==,
                    sizeof(garbage));
    daemon_given_up(&d, "broke the protocol");
}

static void test_rendezvous_mid_frame(void)
{
    Daemon d = daemon_start("");
    KsmFrameHeader header = { .type = KSM_FRAME_TWINS, .length = 1600 };

    daemon_welcome(&d, KSM_WIRE_VERSION);
    g_assert_cmpint(send(d.fd, &header, sizeof(header), MSG_NOSIGNAL), ==,
                    sizeof(header));
    shutdown(d.fd, SHUT_RDWR);
    daemon_given_up(&d, "closed the connection");
}

static void test_rendezvous_refused(void)
{
    Daemon d = daemon_start("");
    const char why[] = "no room";

    daemon_send(&d, KSM_FRAME_REFUSE, why, strlen(why));
    daemon_given_up(&d, "no room");
}

/* It doesn't read any more, nor does it close: engines go on alone. */
static void test_rendezvous_stuck(void)
{
    Daemon d = daemon_start(",backend=null");

    daemon_welcome(&d, KSM_WIRE_VERSION);
    for (int i = 0; i < 2048; i++) {
        write_page(d.qts, BASE + i * PAGE, i % 2 ? i : 1);
    }
    daemon_given_up(&d, "has not read");
}

static void test_rendezvous_early_twins(void)
{
    Daemon d = daemon_start("");
    KsmFrameEntry entry = { .flags = KSM_ENTRY_TWIN };

    daemon_send(&d, KSM_FRAME_TWINS, &entry, sizeof(entry));
    daemon_given_up(&d, "before WELCOME");
}

static void test_rendezvous_missing(void)
{
    QTestState *qts = qtest_init(MACHINE KSM ALONE);
    g_autofree char *message = NULL;

    wait_passes(qts, 1);
    message = limit_message(qts, "no-rendezvous");
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
    ADD(residency);
    ADD(changing);
    ADD(marks);
    ADD(roms);
    ADD(huge_pages_stay_whole);
    ADD(null_splits_nothing);
    ADD(removed);
    ADD(vma_budget);
    ADD(merge_off);
    ADD(eligibility);
    ADD(bad_input);
    ADD(qom_set);
    ADD(object_del);
    ADD(rendezvous_twins);
    ADD(rendezvous_version);
    ADD(rendezvous_garbage);
    ADD(rendezvous_mid_frame);
    ADD(rendezvous_refused);
    ADD(rendezvous_early_twins);
    ADD(rendezvous_stuck);
    ADD(rendezvous_missing);
    ADD(monitor);
    return g_test_run();
}
