/*
 * Test the ksm-guest device: what a guest advises, and what becomes of it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * No pass is due in these tests but those that a test asks for.
 */
#include "qemu/osdep.h"
#include <sched.h>
#include <sys/mount.h>
#include "hw/ksm-guest.h"
#include "hw/pci/pci_regs.h"
#include "ksm-helpers.h"
#include "libqos/libqos-pc.h"
#include "libqos/pci-pc.h"
#include "qapi/error.h"
#include "qobject/qbool.h"
#include "qobject/qjson.h"

#define SLOT        4
#define DEVICE      "-device ksm-guest,id=ksm-guest0,addr=4"
#define OBJECT      "-object ksm,id=ksm0,sleep-millisecs=3600000," \
                    "max-cpu-percent=100,huge-split-threshold=1," ALONE
#define RAM_MIB     128
/* Twins are so many pages, and so many others: two sides of pairs. */
#define PAIRS       16
#define OTHER       (BASE + 100 * PAGE)
#define ENTRIES_MAX (KSM_GUEST_BUFFER_SIZE / KSM_GUEST_ENTRY_SIZE)
/* Nothing is there. */
#define HOLE        (4ull * GiB - 512 * MiB)

typedef struct Bed {
    QOSState *qs;
    QPCIDevice *device;
    QPCIBar bar;
    uint64_t twins;         /* but for the pairs */
} Bed;

static void find_device(Bed *bed)
{
    bed->device = qpci_device_find(bed->qs->pcibus, QPCI_DEVFN(SLOT, 0));
    g_assert_nonnull(bed->device);
    qpci_device_enable(bed->device);
    bed->bar = qpci_iomap(bed->device, KSM_GUEST_BAR, NULL);
}

/* A ksm object that nobody tells anything; "'id': 'ksm0'" and the like. */
static void add_object(QTestState *qts, const char *properties)
{
    g_autofree char *arguments = g_strdup_printf(
        "{'qom-type': 'ksm', %s, 'rendezvous': {'type': 'unix', "
        "'path': '/nonexistent/helper.sock'}}", properties);

    qtest_qmp_assert_success(qts, "{'execute': 'object-add', "
                                  "'arguments': %p}",
                             qobject_from_json(arguments, &error_abort));
}

static void delete_object(QTestState *qts, const char *id)
{
    qtest_qmp_assert_success(qts, "{'execute': 'object-del', 'arguments': "
                                  "{'id': %s}}", id);
}

static Bed start(const char *options)
{
    Bed bed = {
        .qs = qtest_pc_boot("-machine pc -m %d -nodefaults %s", RAM_MIB,
                            options),
    };

    find_device(&bed);
    return bed;
}

static void stop(Bed *bed)
{
    g_free(bed->device);
    qtest_shutdown(bed->qs);
}

static uint32_t get(const Bed *bed, unsigned at)
{
    return qpci_io_readl(bed->device, bed->bar, at);
}

static void put(const Bed *bed, unsigned at, uint32_t value)
{
    qpci_io_writel(bed->device, bed->bar, at, value);
}

static void put_entry(const Bed *bed, unsigned i, uint64_t address,
                      uint32_t pages, uint32_t advice)
{
    const unsigned at = KSM_GUEST_BUFFER + i * KSM_GUEST_ENTRY_SIZE;

    put(bed, at + KSM_GUEST_ENTRY_ADDRESS, address);
    put(bed, at + KSM_GUEST_ENTRY_ADDRESS + 4, address >> 32);
    put(bed, at + KSM_GUEST_ENTRY_PAGES, pages);
    put(bed, at + KSM_GUEST_ENTRY_ADVICE, advice);
}

/* Its result. */
static uint32_t request(const Bed *bed, uint32_t count, uint32_t command)
{
    put(bed, KSM_GUEST_COUNT, count);
    put(bed, KSM_GUEST_COMMAND, command);
    return get(bed, KSM_GUEST_RESULT);
}

static void wait_done(const Bed *bed)
{
    for (int i = 0; get(bed, KSM_GUEST_DONE) != get(bed, KSM_GUEST_ACCEPTED);
         i++) {
        g_assert_cmpint(i, <, 6000);
        g_usleep(10000);
    }
}

static void advise(const Bed *bed, uint64_t address, uint32_t pages,
                   uint32_t advice)
{
    put_entry(bed, 0, address, pages, advice);
    g_assert_cmpuint(request(bed, 1, KSM_GUEST_SET), ==, KSM_GUEST_OK);
    wait_done(bed);
}

static uint64_t queried(QTestState *qts, const char *what)
{
    g_autoptr(QDict) info = ksm_query(qts);

    return qdict_get_int(info, what);
}

static uint64_t advised(QTestState *qts, const char *what)
{
    g_autoptr(QDict) info = ksm_query(qts);

    return qdict_get_int(qdict_get_qdict(info, "advice"), what);
}

static uint64_t twins(const Bed *bed)
{
    return ksm_figure(bed->qs->qts, "pc.ram", "pages-twins");
}

static void write_pairs(const Bed *bed)
{
    for (int i = 0; i < PAIRS; i++) {
        ksm_write_page(bed->qs->qts, BASE + i * PAGE, i);
        ksm_write_page(bed->qs->qts, OTHER + i * PAGE, i);
    }
}

/* So many twins are found by passes, of those that were written. */
static void wait_twins(const Bed *bed, uint64_t n)
{
    for (int i = 0; twins(bed) != bed->twins + n; i++) {
        g_assert_cmpint(i, <, 100);
        ksm_wait_passes(bed->qs->qts, 1);
    }
}

static void find_twins(Bed *bed)
{
    ksm_wait_passes(bed->qs->qts, 3);
    bed->twins = twins(bed);
    write_pairs(bed);
    wait_twins(bed, 2 * PAIRS);
}

/* Has the kernel leave to merge the guest's page at @address? */
static bool is_mergeable(const Bed *bed, uint64_t address)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps",
                                            qtest_pid(bed->qs->qts));
    g_autofree char *said = qtest_hmp(bed->qs->qts, "gpa2hva 0x%" PRIx64,
                                      address);
    g_autofree char *smaps = NULL;
    g_auto(GStrv) lines = NULL;
    const char *at = strstr(said, "is 0x");
    uint64_t host, first = 0, end = 0;
    bool inside = false;

    g_assert_nonnull(at);
    host = g_ascii_strtoull(at + strlen("is "), NULL, 16);
    g_assert_true(g_file_get_contents(path, &smaps, NULL, NULL));
    lines = g_strsplit(smaps, "\n", -1);
    for (char **line = lines; *line; line++) {
        if (sscanf(*line, "%" PRIx64 "-%" PRIx64 " ", &first, &end) == 2) {
            inside = first <= host && host < end;
        } else if (inside && g_str_has_prefix(*line, "VmFlags:")) {
            return strstr(*line, " mg");
        }
    }
    g_error("no mapping at 0x%" PRIx64, host);
}

static void test_registers(void)
{
    Bed bed = start(OBJECT " " DEVICE ",max-ranges=77");

    g_assert_cmphex(get(&bed, KSM_GUEST_MAGIC), ==, KSM_GUEST_MAGIC_VALUE);
    g_assert_cmpuint(get(&bed, KSM_GUEST_VERSION), ==, 1);
    g_assert_cmphex(get(&bed, KSM_GUEST_FEATURES), ==,
                    KSM_GUEST_FEATURE_SAVED | 0xf);
    g_assert_cmpuint(get(&bed, KSM_GUEST_PAGE_SIZE), ==, PAGE);
    g_assert_cmpuint(get(&bed, KSM_GUEST_ENTRIES_MAX), ==, ENTRIES_MAX);
    g_assert_cmpuint(get(&bed, KSM_GUEST_RANGES_MAX), ==, 77);
    g_assert_cmpuint(get(&bed, KSM_GUEST_RANGES), ==, 0);
    g_assert_cmpuint(get(&bed, KSM_GUEST_SAVED) % (16 * MiB), ==, 0);
    g_assert_cmpuint(get(&bed, KSM_GUEST_SAVED + 4), ==, 0);
    put(&bed, KSM_GUEST_COUNT, 0x12345678);
    g_assert_cmphex(get(&bed, KSM_GUEST_COUNT), ==, 0x12345678);
    /* Of other sizes, and where there is none. */
    g_assert_cmphex(qpci_io_readb(bed.device, bed.bar,
                                  KSM_GUEST_COUNT), ==, 0);
    qpci_io_writeb(bed.device, bed.bar, KSM_GUEST_COUNT, 1);
    g_assert_cmphex(get(&bed, KSM_GUEST_COUNT), ==, 0x12345678);
    put(&bed, KSM_GUEST_MAGIC, 1);
    put(&bed, KSM_GUEST_BUFFER - 4, 1);
    g_assert_cmphex(get(&bed, KSM_GUEST_MAGIC), ==, KSM_GUEST_MAGIC_VALUE);
    g_assert_cmphex(get(&bed, KSM_GUEST_BUFFER - 4), ==, 0);
    put(&bed, KSM_GUEST_BAR_SIZE - 4, 1);
    g_assert_cmphex(get(&bed, KSM_GUEST_BAR_SIZE - 4), ==, 1);
    stop(&bed);
}

static void test_declined(void)
{
    Bed bed = start(DEVICE ",saved=off");
    QTestState *qts = bed.qs->qts;

    put_entry(&bed, 0, BASE, 1, KSM_GUEST_NEVER);
    g_assert_cmphex(get(&bed, KSM_GUEST_FEATURES), ==, 0);
    g_assert_cmpuint(request(&bed, 1, KSM_GUEST_SET), ==, KSM_GUEST_DECLINED);
    add_object(qts, "'id': 'ksm0'");
    g_assert_cmphex(get(&bed, KSM_GUEST_FEATURES), ==, 0xf);
    g_assert_cmpuint(request(&bed, 1, KSM_GUEST_SET), ==, KSM_GUEST_OK);
    wait_done(&bed);
    qtest_qmp_assert_success(qts, "{'execute': 'qom-set', 'arguments': "
        "{'path': '/objects/ksm0', 'property': 'guest-hints', "
        "'value': false}}");
    g_assert_cmphex(get(&bed, KSM_GUEST_FEATURES), ==, 0);
    g_assert_cmpuint(request(&bed, 1, KSM_GUEST_SET), ==, KSM_GUEST_DECLINED);
    /* What was promised is kept, until the guest needs it no more. */
    g_assert_cmpuint(advised(qts, "pages-never"), ==, 1);
    g_assert_cmpuint(request(&bed, 0, KSM_GUEST_RELEASE), ==, KSM_GUEST_OK);
    wait_done(&bed);
    g_assert_cmpuint(advised(qts, "pages-never"), ==, 0);
    stop(&bed);
}

static void test_never(void)
{
    Bed bed = start(OBJECT " " DEVICE);
    QTestState *qts = bed.qs->qts;

    find_twins(&bed);
    g_assert_true(is_mergeable(&bed, BASE));
    advise(&bed, BASE, PAIRS - 1, KSM_GUEST_NEVER);
    /* At once. */
    g_assert_false(is_mergeable(&bed, BASE));
    g_assert_false(is_mergeable(&bed, BASE + (PAIRS - 2) * PAGE));
    g_assert_true(is_mergeable(&bed, BASE + (PAIRS - 1) * PAGE));
    g_assert_cmpuint(advised(qts, "pages-never"), ==, PAIRS - 1);
    wait_twins(&bed, 2);
    /* Whatever is written there. */
    write_pairs(&bed);
    ksm_wait_passes(qts, 5);
    g_assert_cmpuint(twins(&bed), ==, bed.twins + 2);
    g_assert_false(is_mergeable(&bed, BASE));

    g_assert_cmpuint(request(&bed, 0, KSM_GUEST_RELEASE), ==, KSM_GUEST_OK);
    wait_done(&bed);
    g_assert_cmpuint(advised(qts, "pages-never"), ==, 0);
    wait_twins(&bed, 2 * PAIRS);
    g_assert_true(is_mergeable(&bed, BASE));
    stop(&bed);
}

/* QEMU has marked all of it before the object came. */
static void test_never_marked(void)
{
    Bed bed = start(DEVICE);
    QTestState *qts = bed.qs->qts;

    g_assert_true(is_mergeable(&bed, BASE));
    add_object(qts, "'id': 'ksm0', 'run': false");
    g_assert_true(is_mergeable(&bed, BASE));
    /* Also if nothing else is done. */
    advise(&bed, BASE, 1, KSM_GUEST_NEVER);
    g_assert_false(is_mergeable(&bed, BASE));
    stop(&bed);
}

static uint64_t hashed(const Bed *bed)
{
    return ksm_figure(bed->qs->qts, "pc.ram", "pages-hashed");
}

static void test_volatile(void)
{
    Bed bed = start(OBJECT " " DEVICE);
    QTestState *qts = bed.qs->qts;
    uint64_t before;

    find_twins(&bed);
    advise(&bed, BASE, PAIRS, KSM_GUEST_VOLATILE);
    g_assert_cmpuint(advised(qts, "pages-volatile"), ==, PAIRS);
    wait_twins(&bed, 0);
    /* What is merged may stay so, when marks without a reason have gone. */
    ksm_wait_passes(qts, 20);
    g_assert_true(is_mergeable(&bed, BASE));
    g_assert_false(is_mergeable(&bed, OTHER));
    before = hashed(&bed);
    for (int i = 0; i < PAIRS; i++) {
        ksm_write_page(qts, BASE + i * PAGE, 1000 + i);
    }
    ksm_wait_passes(qts, 5);
    g_assert_cmpuint(hashed(&bed), ==, before);

    write_pairs(&bed);
    advise(&bed, BASE, PAIRS, KSM_GUEST_NONE);
    g_assert_cmpuint(advised(qts, "ranges"), ==, 0);
    wait_twins(&bed, 2 * PAIRS);
    stop(&bed);
}

static void test_eagerly(void)
{
    Bed bed = start(OBJECT " " DEVICE);
    QTestState *qts = bed.qs->qts;
    uint64_t scans, breaks;

    ksm_wait_passes(qts, 3);
    bed.twins = twins(&bed);
    write_pairs(&bed);
    scans = queried(qts, "full-scans");
    put_entry(&bed, 0, BASE, PAIRS, KSM_GUEST_EAGERLY);
    put_entry(&bed, 1, OTHER, PAIRS, KSM_GUEST_EAGERLY);
    g_assert_cmpuint(request(&bed, 2, KSM_GUEST_SET), ==, KSM_GUEST_OK);
    for (int i = 0; twins(&bed) < bed.twins + 2 * PAIRS; i++) {
        g_assert_cmpint(i, <, 6000);
        g_usleep(10000);
    }
    g_assert_cmpuint(queried(qts, "full-scans"), ==, scans);
    g_assert_cmpuint(advised(qts, "ranges"), ==, 0);

    /* What it has not written since is as it was, however often it asks. */
    ksm_wait_passes(qts, 1);
    g_assert_true(is_mergeable(&bed, BASE));
    breaks = queried(qts, "cow-breaks");
    for (int i = 0; i < 10; i++) {
        put_entry(&bed, 0, BASE, PAIRS, KSM_GUEST_EAGERLY);
        put_entry(&bed, 1, OTHER, PAIRS, KSM_GUEST_EAGERLY);
        g_assert_cmpuint(request(&bed, 2, KSM_GUEST_SET), ==, KSM_GUEST_OK);
        wait_done(&bed);
        g_usleep(50000);
    }
    g_assert_cmpuint(twins(&bed), ==, bed.twins + 2 * PAIRS);
    /* What ksmd merges seems to be written, once. */
    g_assert_cmpuint(queried(qts, "cow-breaks"), <=,
                     breaks + 2 * PAIRS);
    stop(&bed);
}

/* What is refused changes nothing. */
static void check_refused(const Bed *bed, uint32_t count, uint32_t command,
                          uint32_t result, uint32_t entry)
{
    const uint32_t before = get(bed, KSM_GUEST_ACCEPTED);
    const uint32_t ranges = get(bed, KSM_GUEST_RANGES);

    g_assert_cmpuint(request(bed, count, command), ==, result);
    g_assert_cmpuint(get(bed, KSM_GUEST_ENTRY), ==, entry);
    g_assert_cmpuint(get(bed, KSM_GUEST_ACCEPTED), ==, before);
    g_assert_cmpuint(get(bed, KSM_GUEST_RANGES), ==, ranges);
}

static void test_refused(void)
{
    static const struct {
        uint64_t address;
        uint32_t pages;
        uint32_t advice;
        uint32_t result;
    } entries[] = {
        { BASE + 1, 1, KSM_GUEST_NEVER, KSM_GUEST_BAD_ENTRY },
        { BASE, 0, KSM_GUEST_NEVER, KSM_GUEST_BAD_ENTRY },
        { -(uint64_t)PAGE, 1, KSM_GUEST_NONE, KSM_GUEST_BAD_ENTRY },
        { -(uint64_t)PAGE, UINT32_MAX, KSM_GUEST_NEVER, KSM_GUEST_BAD_ENTRY },
        { BASE, 1, 4, KSM_GUEST_DECLINED },
        { BASE, 1, UINT32_MAX, KSM_GUEST_DECLINED },
        { HOLE, 1, KSM_GUEST_NEVER, KSM_GUEST_NOT_RAM },
        { RAM_MIB * MiB - PAGE, 2, KSM_GUEST_EAGERLY, KSM_GUEST_NOT_RAM },
        { 0, UINT32_MAX, KSM_GUEST_VOLATILE, KSM_GUEST_NOT_RAM },
        /* Firmware. */
        { 4ull * GiB - PAGE, 1, KSM_GUEST_NEVER, KSM_GUEST_NOT_RAM },
    };
    Bed bed = start(OBJECT " " DEVICE ",max-ranges=2");

    check_refused(&bed, 0, 0, KSM_GUEST_BAD_COMMAND, 0);
    check_refused(&bed, 3, UINT32_MAX, KSM_GUEST_BAD_COMMAND, 3);
    check_refused(&bed, 0, KSM_GUEST_SET, KSM_GUEST_BAD_COUNT, 0);
    check_refused(&bed, ENTRIES_MAX + 1, KSM_GUEST_SET, KSM_GUEST_BAD_COUNT,
                  ENTRIES_MAX + 1);
    check_refused(&bed, UINT32_MAX, KSM_GUEST_SET, KSM_GUEST_BAD_COUNT,
                  UINT32_MAX);
    check_refused(&bed, 1, KSM_GUEST_RELEASE, KSM_GUEST_BAD_COUNT, 1);
    put_entry(&bed, 0, BASE, 1, KSM_GUEST_NEVER);
    for (int i = 0; i < ARRAY_SIZE(entries); i++) {
        put_entry(&bed, 1, entries[i].address, entries[i].pages,
                  entries[i].advice);
        check_refused(&bed, 2, KSM_GUEST_SET, entries[i].result, 1);
    }
    for (int i = 0; i < ENTRIES_MAX; i++) {
        put_entry(&bed, i, BASE + 2 * i * PAGE, 1, KSM_GUEST_NEVER);
    }
    check_refused(&bed, 3, KSM_GUEST_SET, KSM_GUEST_TOO_MANY, 3);
    check_refused(&bed, ENTRIES_MAX, KSM_GUEST_SET, KSM_GUEST_TOO_MANY,
                  ENTRIES_MAX);
    g_assert_cmpuint(request(&bed, 2, KSM_GUEST_SET), ==, KSM_GUEST_OK);
    stop(&bed);
}

/* Much to do, and little that may be used for it. */
#define LARGE_MIB   2048
#define LARGE_PAGES ((LARGE_MIB - 16) * (MiB / PAGE))

static Bed start_large(void)
{
    return start("-m 2G -object ksm,id=ksm0,max-cpu-percent=1," ALONE " "
                 DEVICE);
}

static void begin_large(const Bed *bed)
{
    put_entry(bed, 0, BASE, LARGE_PAGES, KSM_GUEST_NEVER);
    g_assert_cmpuint(request(bed, 1, KSM_GUEST_SET), ==, KSM_GUEST_OK);
    g_assert_cmpuint(get(bed, KSM_GUEST_ACCEPTED), ==, 1);
    g_assert_cmpuint(get(bed, KSM_GUEST_DONE), ==, 0);
}

static void test_busy(void)
{
    Bed bed = start_large();

    begin_large(&bed);
    check_refused(&bed, 1, KSM_GUEST_SET, KSM_GUEST_BUSY, 1);
    wait_done(&bed);
    g_assert_cmpuint(get(&bed, KSM_GUEST_DONE), ==, 1);
    g_assert_cmpuint(advised(bed.qs->qts, "pages-never"), ==, LARGE_PAGES);
    stop(&bed);
}

/* What an object has accepted is done when it goes: QEMU had marked it. */
static void test_object_del(void)
{
    Bed bed = start("-m 2G " DEVICE);
    QTestState *qts = bed.qs->qts;

    add_object(qts, "'id': 'ksm0', 'run': false, 'max-cpu-percent': 1");
    begin_large(&bed);
    g_assert_true(is_mergeable(&bed, BASE));
    delete_object(qts, "ksm0");
    wait_done(&bed);
    g_assert_false(is_mergeable(&bed, BASE));
    g_assert_false(is_mergeable(&bed, BASE + (LARGE_PAGES - 1ull) * PAGE));
    g_assert_cmpuint(request(&bed, 0, KSM_GUEST_RELEASE), ==, KSM_GUEST_OK);
    g_assert_cmpuint(get(&bed, KSM_GUEST_DONE), ==, 2);
    stop(&bed);
}

/* Advice takes the place of what was in force, page by page. */
static void test_ranges(void)
{
    Bed bed = start(OBJECT " " DEVICE);
    g_autofree uint8_t *model = g_new0(uint8_t, 64);
    g_autoptr(GRand) random = g_rand_new_with_seed(20261127);

    for (int i = 0; i < 300; i++) {
        const uint32_t first = g_rand_int_range(random, 0, 64);
        const uint32_t n = g_rand_int_range(random, 1, 65 - first);
        const uint32_t advice = g_rand_int_range(random, 0, 4);
        const uint8_t held = advice == KSM_GUEST_EAGERLY ? KSM_GUEST_NONE
                                                         : advice;
        unsigned ranges = 0, nevers = 0, volatiles = 0;

        advise(&bed, BASE + first * PAGE, n, advice);
        memset(model + first, held, n);
        for (int p = 0; p < 64; p++) {
            ranges += model[p] && (!p || model[p] != model[p - 1]);
            nevers += model[p] == KSM_GUEST_NEVER;
            volatiles += model[p] == KSM_GUEST_VOLATILE;
        }
        g_assert_cmpuint(get(&bed, KSM_GUEST_RANGES), ==, ranges);
        g_assert_cmpuint(advised(bed.qs->qts, "pages-never"), ==, nevers);
        g_assert_cmpuint(advised(bed.qs->qts, "pages-volatile"), ==,
                         volatiles);
    }
    stop(&bed);
}

static void test_reset(void)
{
    Bed bed = start(OBJECT " " DEVICE);
    QTestState *qts = bed.qs->qts;

    find_twins(&bed);
    advise(&bed, BASE, 2, KSM_GUEST_NEVER);
    advise(&bed, BASE + 2 * PAGE, 2, KSM_GUEST_VOLATILE);
    g_assert_cmpuint(get(&bed, KSM_GUEST_ACCEPTED), ==, 2);
    qtest_qmp_assert_success(qts, "{'execute': 'system_reset'}");
    qtest_qmp_eventwait(qts, "RESET");
    g_free(bed.device);
    find_device(&bed);
    g_assert_cmpuint(get(&bed, KSM_GUEST_ACCEPTED), ==, 0);
    g_assert_cmpuint(get(&bed, KSM_GUEST_DONE), ==, 0);
    g_assert_cmpuint(get(&bed, KSM_GUEST_RANGES), ==, 1);
    wait_twins(&bed, 2 * PAIRS - 4);
    g_assert_cmpuint(advised(qts, "pages-never"), ==, 2);
    g_assert_cmpuint(advised(qts, "pages-volatile"), ==, 0);
    g_assert_false(is_mergeable(&bed, BASE));
    stop(&bed);
}

/* What QEMU would mark where nobody is there to care. */
static void test_remarked(void)
{
    Bed bed = start("-object memory-backend-ram,id=ram,size=128M "
                    "-machine memory-backend=ram " DEVICE);
    QTestState *qts = bed.qs->qts;

    add_object(qts, "'id': 'ksm0', 'run': false");
    advise(&bed, BASE, 2, KSM_GUEST_NEVER);
    delete_object(qts, "ksm0");
    for (int merge = 0; merge < 2; merge++) {
        qtest_qmp_assert_success(qts, "{'execute': 'qom-set', 'arguments': "
            "{'path': '/objects/ram', 'property': 'merge', 'value': %p}}",
            qbool_from_bool(merge));
        g_assert_false(is_mergeable(&bed, BASE));
    }
    stop(&bed);
}

/* What is in force is told to each ksm object. */
static void test_object(void)
{
    Bed bed = start(OBJECT " " DEVICE);
    QTestState *qts = bed.qs->qts;

    find_twins(&bed);
    advise(&bed, BASE, 2, KSM_GUEST_NEVER);
    delete_object(qts, "ksm0");
    g_assert_cmphex(get(&bed, KSM_GUEST_FEATURES), ==, 0);
    g_assert_cmpuint(get(&bed, KSM_GUEST_RANGES), ==, 1);
    add_object(qts, "'id': 'ksm1', 'huge-split-threshold': 1");
    wait_twins(&bed, 2 * PAIRS - 4);
    ksm_wait_passes(qts, 3);
    g_assert_cmpuint(advised(qts, "pages-never"), ==, 2);
    g_assert_true(is_mergeable(&bed, BASE + 2 * PAGE));
    g_assert_false(is_mergeable(&bed, BASE));
    stop(&bed);
}

static void test_hotplug(void)
{
    Bed bed = {
        .qs = qtest_pc_boot("-machine pc -m %d -nodefaults " OBJECT, RAM_MIB)
    };
    QTestState *qts = bed.qs->qts;
    QDict *response;

    for (int i = 0; i < 2; i++) {
        qtest_qmp_device_add(qts, "ksm-guest", "hot", "{'addr': %s}", "4");
        find_device(&bed);
        advise(&bed, BASE, 2, KSM_GUEST_NEVER);
        g_assert_cmpuint(advised(qts, "pages-never"), ==, 2);
        response = qtest_qmp(qts, "{'execute': 'device_add', 'arguments': "
                                  "{'driver': 'ksm-guest', 'id': 'second'}}");
        g_assert_true(qdict_haskey(response, "error"));
        qobject_unref(response);
        g_free(bed.device);
        qpci_unplug_acpi_device_test(qts, "hot", SLOT);
        for (int j = 0; advised(qts, "pages-never"); j++) {
            g_assert_cmpint(j, <, 6000);
            g_usleep(10000);
        }
    }
    qtest_shutdown(bed.qs);
}

/* Memory that is plugged here; and the ports that the guest ejects it by. */
#define DIMM            UINT64_C(0x100000000)
#define DIMM_SELECT     0xa00
#define DIMM_CONTROL    0xa14
#define DIMM_EJECT      8

static void plug_memory(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{'execute': 'object-add', 'arguments': "
        "{'qom-type': 'memory-backend-ram', 'id': 'mem', 'size': 134217728}}");
    qtest_qmp_device_add(qts, "pc-dimm", "dimm",
                         "{'memdev': 'mem', 'addr': %" PRIu64 "}", DIMM);
}

static void unplug_memory(QTestState *qts)
{
    qtest_outl(qts, DIMM_SELECT, 0);
    qtest_outb(qts, DIMM_CONTROL, DIMM_EJECT);
    qtest_qmp_eventwait(qts, "DEVICE_DELETED");
    delete_object(qts, "mem");
}

/* Advice remains while memory is unplugged, and holds for what comes there. */
static void test_memory(void)
{
    Bed bed = start("-m 128,slots=1,maxmem=2G " OBJECT " " DEVICE);
    QTestState *qts = bed.qs->qts;

    put_entry(&bed, 0, DIMM, 1, KSM_GUEST_NEVER);
    check_refused(&bed, 1, KSM_GUEST_SET, KSM_GUEST_NOT_RAM, 0);
    for (int i = 0; i < 3; i++) {
        plug_memory(qts);
        if (i == 0) {
            advise(&bed, DIMM, 2, KSM_GUEST_NEVER);
        }
        for (int p = 0; p < PAIRS; p++) {
            ksm_write_page(qts, DIMM + p * PAGE, p);
            ksm_write_page(qts, DIMM + (100 + p) * PAGE, p);
        }
        for (int j = 0; ksm_figure(qts, "mem", "pages-twins") !=
                        2 * PAIRS - 4; j++) {
            g_assert_cmpint(j, <, 100);
            ksm_wait_passes(qts, 1);
        }
        ksm_wait_passes(qts, 1);
        g_assert_false(is_mergeable(&bed, DIMM));
        g_assert_true(is_mergeable(&bed, DIMM + 2 * PAGE));
        g_assert_cmpuint(advised(qts, "pages-never"), ==, 2);
        unplug_memory(qts);
        g_assert_cmpuint(get(&bed, KSM_GUEST_RANGES), ==, 1);
        g_assert_cmpuint(advised(qts, "pages-never"), ==, 0);
        wait_done(&bed);
    }
    stop(&bed);
}

static void set_available(const char *path, const char *kib)
{
    g_autofree char *text = g_strdup_printf("MemAvailable: %s kB\n", kib);
    int fd = open(path, O_WRONLY);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, 0), ==, 0);
    g_assert_cmpint(write(fd, text, strlen(text)), ==, strlen(text));
    close(fd);
}

/* A request is not done while there is no memory to part pages, nor lost. */
static void test_low_memory(void)
{
    g_autofree char *meminfo = NULL;
    QTestState *qts;
    Bed bed;

    if (unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        g_test_skip("only root can pretend that there is little memory");
        return;
    }
    close(g_file_open_tmp("ksm-guest-XXXXXX", &meminfo, NULL));
    g_assert_cmpint(mount(meminfo, "/proc/meminfo", NULL, MS_BIND, NULL), ==,
                    0);
    set_available(meminfo, "4000000");
    bed = start(OBJECT " " DEVICE);
    qts = bed.qs->qts;
    find_twins(&bed);
    set_available(meminfo, "100000");
    g_usleep(50000);
    put_entry(&bed, 0, BASE, PAIRS, KSM_GUEST_NEVER);
    g_assert_cmpuint(request(&bed, 1, KSM_GUEST_SET), ==, KSM_GUEST_OK);
    g_usleep(100000);
    g_assert_cmpuint(get(&bed, KSM_GUEST_DONE), ==, 0);
    check_refused(&bed, 1, KSM_GUEST_SET, KSM_GUEST_BUSY, 1);
    delete_object(qts, "ksm0");
    g_assert_cmpuint(get(&bed, KSM_GUEST_DONE), ==, 0);
    g_assert_true(is_mergeable(&bed, BASE));
    set_available(meminfo, "4000000");
    wait_done(&bed);
    g_assert_false(is_mergeable(&bed, BASE));
    stop(&bed);
    umount("/proc/meminfo");
    unlink(meminfo);
}

static void wait_migration(QTestState *qts, const char *status)
{
    for (int i = 0; ; i++) {
        QDict *info = qtest_qmp_assert_success_ref(qts,
            "{'execute': 'query-migrate'}");
        const char *now = qdict_get_try_str(info, "status");
        bool done = now && g_str_equal(now, status);

        qobject_unref(info);
        if (done) {
            return;
        }
        g_assert_cmpint(i, <, 6000);
        g_usleep(10000);
    }
}

/* The state in a file; it goes on also if it can't be loaded. */
static void receive(const Bed *bed, const char *uri)
{
    qtest_qmp_assert_success(bed->qs->qts,
        "{'execute': 'migrate-incoming', 'arguments': "
        "{'uri': %s, 'exit-on-error': false}}", uri);
}

static void test_migration(void)
{
    g_autofree char *directory = g_dir_make_tmp("ksm-guest-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(directory, "state", NULL);
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    Bed bed = start(OBJECT " " DEVICE);
    QTestState *qts;

    find_twins(&bed);
    advise(&bed, BASE, 2, KSM_GUEST_NEVER);
    advise(&bed, OTHER + 8 * PAGE, 3, KSM_GUEST_VOLATILE);
    qtest_qmp_assert_success(bed.qs->qts, "{'execute': 'migrate', 'arguments': "
                                          "{'uri': %s}}", uri);
    wait_migration(bed.qs->qts, "completed");
    stop(&bed);

    bed = start(OBJECT " " DEVICE " -incoming defer");
    qts = bed.qs->qts;
    receive(&bed, uri);
    qtest_qmp_eventwait(qts, "RESUME");
    /* Its BAR is where it was. */
    g_assert_cmpuint(get(&bed, KSM_GUEST_RANGES), ==, 2);
    g_assert_cmpuint(get(&bed, KSM_GUEST_ACCEPTED), ==, 2);
    wait_done(&bed);
    g_assert_cmpuint(advised(qts, "pages-never"), ==, 2);
    g_assert_cmpuint(advised(qts, "pages-volatile"), ==, 3);
    wait_twins(&bed, 2 * PAIRS - 10);
    g_assert_false(is_mergeable(&bed, BASE));
    stop(&bed);

    /* Where nobody else would know: what QEMU has marked. */
    bed = start(DEVICE " -incoming defer");
    qts = bed.qs->qts;
    g_assert_true(is_mergeable(&bed, BASE));
    receive(&bed, uri);
    qtest_qmp_eventwait(qts, "RESUME");
    g_assert_false(is_mergeable(&bed, BASE));
    g_assert_true(is_mergeable(&bed, BASE + 2 * PAGE));
    wait_done(&bed);
    stop(&bed);

    /* More than there is room for, of which nothing remains. */
    bed = start(OBJECT " " DEVICE ",max-ranges=1 -incoming defer");
    qts = bed.qs->qts;
    receive(&bed, uri);
    wait_migration(qts, "failed");
    for (int i = 0; i < 2; i++) {
        qtest_qmp_assert_success(qts, "{'execute': 'system_reset'}");
        qtest_qmp_eventwait(qts, "RESET");
    }
    g_assert_cmpuint(advised(qts, "ranges"), ==, 0);
    stop(&bed);

    unlink(path);
    rmdir(directory);
}

/* A snapshot holds what was advised when it was made. */
static void test_snapshot(void)
{
    g_autofree char *path = NULL, *options = NULL, *said = NULL;
    QTestState *qts;
    Bed bed;

    if (!have_qemu_img()) {
        g_test_skip("there is no qemu-img");
        return;
    }
    close(g_file_open_tmp("ksm-guest-XXXXXX", &path, NULL));
    mkqcow2(path, 16);
    options = g_strdup_printf(OBJECT " " DEVICE " -drive if=none,id=disk,"
                              "format=qcow2,file=%s", path);
    /* QEMU 10.0 loses what savevm allocates: for make check-sanitize. */
    g_setenv("LSAN_OPTIONS", "detect_leaks=0", true);
    bed = start(options);
    g_unsetenv("LSAN_OPTIONS");
    qts = bed.qs->qts;
    find_twins(&bed);
    advise(&bed, BASE, 2, KSM_GUEST_NEVER);
    said = qtest_hmp(qts, "savevm one");
    g_assert_cmpstr(said, ==, "");
    advise(&bed, BASE, 1, KSM_GUEST_NONE);
    advise(&bed, OTHER + 8 * PAGE, 3, KSM_GUEST_NEVER);
    wait_twins(&bed, 2 * PAIRS - 8);
    g_assert_true(is_mergeable(&bed, BASE));

    g_free(said);
    said = qtest_hmp(qts, "loadvm one");
    g_assert_cmpstr(said, ==, "");
    g_assert_cmpuint(get(&bed, KSM_GUEST_RANGES), ==, 1);
    g_assert_cmpuint(get(&bed, KSM_GUEST_ACCEPTED), ==, 1);
    wait_done(&bed);
    g_assert_cmpuint(advised(qts, "pages-never"), ==, 2);
    g_assert_false(is_mergeable(&bed, BASE));
    wait_twins(&bed, 2 * PAIRS - 4);
    g_assert_true(is_mergeable(&bed, OTHER + 8 * PAGE));
    g_assert_false(is_mergeable(&bed, BASE));
    stop(&bed);
    unlink(path);
}

/* What a driver can do at all, at random, and mostly nearly right. */
static void do_something(const Bed *bed, GRand *random)
{
    static const uint64_t addresses[] = {
        0, BASE, OTHER, RAM_MIB * MiB - 4 * PAGE, HOLE, 4ull * GiB - PAGE,
        -(uint64_t)PAGE,
    };
    static const uint32_t counts[] = {
        0, 1, 2, ENTRIES_MAX, ENTRIES_MAX + 1, UINT32_MAX
    };
    uint64_t address = addresses[g_rand_int_range(random, 0,
                                                  ARRAY_SIZE(addresses))];
    uint32_t pages = 1u << g_rand_int_range(random, 0, 32);

    switch (g_rand_int_range(random, 0, 8)) {
    case 0:
        put(bed, g_rand_int_range(random, 0, KSM_GUEST_BAR_SIZE / 4) * 4,
            g_rand_int(random));
        break;
    case 1:
        get(bed, g_rand_int_range(random, 0, KSM_GUEST_BAR_SIZE / 4) * 4);
        break;
    case 2:
        qpci_config_writew(bed->device, PCI_COMMAND,
                           g_rand_boolean(random) ? PCI_COMMAND_MEMORY : 0);
        qpci_config_writew(bed->device, PCI_COMMAND, PCI_COMMAND_MEMORY);
        break;
    case 3:
        request(bed, 0, KSM_GUEST_RELEASE);
        break;
    case 4:
        request(bed, counts[g_rand_int_range(random, 0, ARRAY_SIZE(counts))],
                g_rand_int_range(random, 0, 4));
        break;
    default:
        address += g_rand_int_range(random, 0, 256) * PAGE;
        put_entry(bed, g_rand_int_range(random, 0, 2), address,
                  g_rand_boolean(random) ? pages % 512 : pages,
                  g_rand_int_range(random, 0, 5));
        request(bed, g_rand_int_range(random, 1, 3), KSM_GUEST_SET);
        break;
    }
}

/* What the engine's thread has used of a CPU, as the kernel counts it. */
static uint64_t engine_ns(QTestState *qts)
{
    g_autofree char *tasks = g_strdup_printf("/proc/%d/task", qtest_pid(qts));
    g_autoptr(GDir) dir = g_dir_open(tasks, 0, NULL);
    const char *task;

    g_assert_nonnull(dir);
    while ((task = g_dir_read_name(dir))) {
        g_autofree char *comm = g_strdup_printf("%s/%s/comm", tasks, task);
        g_autofree char *stat = g_strdup_printf("%s/%s/schedstat", tasks,
                                                task);
        g_autofree char *name = NULL, *used = NULL;

        if (g_file_get_contents(comm, &name, NULL, NULL) &&
            g_str_has_prefix(name, "IO ksm0") &&
            g_file_get_contents(stat, &used, NULL, NULL)) {
            return g_ascii_strtoull(used, NULL, 10);
        }
    }
    g_assert_not_reached();
}

/* It gets as much of the host as the engine's budget allows, no more. */
static void test_hostile(void)
{
    Bed bed = start("-name debug-threads=on "
                    "-object ksm,id=ksm0,max-cpu-percent=1,"
                    "huge-split-threshold=1," ALONE " " DEVICE);
    QTestState *qts = bed.qs->qts;
    g_autoptr(GRand) random = g_rand_new_with_seed(20261127);
    const int64_t begin_us = g_get_monotonic_time();
    const uint64_t before_ns = engine_ns(qts);
    uint64_t used_ns, elapsed_ns;
    unsigned n = 0;

    /* That costs to be looked at. */
    qtest_memset(qts, BASE, 0x5a, (RAM_MIB / 2) * MiB);
    while (g_get_monotonic_time() - begin_us < 5 * G_USEC_PER_SEC) {
        do_something(&bed, random);
        n++;
    }
    used_ns = engine_ns(qts) - before_ns;
    elapsed_ns = (g_get_monotonic_time() - begin_us) * 1000;
    g_test_message("%u things done, %u requests accepted, %" PRIu64 " of %"
                   PRIu64 " ms of CPU used", n, get(&bed, KSM_GUEST_ACCEPTED),
                   used_ns / 1000000, elapsed_ns / 1000000);
    g_assert_cmpuint(get(&bed, KSM_GUEST_ACCEPTED), >, 0);
    g_assert_cmpuint(used_ns, <, elapsed_ns / 100 + 20000000);
    wait_done(&bed);
    g_assert_cmpuint(request(&bed, 0, KSM_GUEST_RELEASE), ==, KSM_GUEST_OK);
    wait_done(&bed);
    g_assert_cmpuint(advised(qts, "pages-never"), ==, 0);
    g_assert_cmpuint(advised(qts, "pages-volatile"), ==, 0);
    stop(&bed);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/ksm/guest/registers", test_registers);
    qtest_add_func("/ksm/guest/declined", test_declined);
    qtest_add_func("/ksm/guest/never", test_never);
    qtest_add_func("/ksm/guest/never-marked", test_never_marked);
    qtest_add_func("/ksm/guest/volatile", test_volatile);
    qtest_add_func("/ksm/guest/eagerly", test_eagerly);
    qtest_add_func("/ksm/guest/refused", test_refused);
    qtest_add_func("/ksm/guest/busy", test_busy);
    qtest_add_func("/ksm/guest/object-del", test_object_del);
    qtest_add_func("/ksm/guest/ranges", test_ranges);
    qtest_add_func("/ksm/guest/hostile", test_hostile);
    qtest_add_func("/ksm/guest/reset", test_reset);
    qtest_add_func("/ksm/guest/object", test_object);
    qtest_add_func("/ksm/guest/remarked", test_remarked);
    qtest_add_func("/ksm/guest/hotplug", test_hotplug);
    qtest_add_func("/ksm/guest/memory", test_memory);
    qtest_add_func("/ksm/guest/low-memory", test_low_memory);
    qtest_add_func("/ksm/guest/migration", test_migration);
    qtest_add_func("/ksm/guest/snapshot", test_snapshot);
    return g_test_run();
}
