/*
 * Test the ksm object: its marks, properties and commands
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Nothing is merged here: ksmd is left alone.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "ksm-helpers.h"

#define REGION  (2 * MiB)

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

    for (int i = 0; i < 16 * REGION / PAGE; i++) {
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
    ADD(marks);
    ADD(roms);
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
