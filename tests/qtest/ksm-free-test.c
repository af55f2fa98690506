/*
 * Test that the ksm object forgets at once what the guest has given back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * No pass is due in these tests but those that a test asks for.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "ksm-helpers.h"
#include "ksm-virtio.h"
#include "standard-headers/linux/virtio_mem.h"

#define SLOT        4
#define QUEUES_MAX  4
/* Twins are so many pages, and so many others: two sides of pairs. */
#define PAIRS       16

typedef struct Bed {
    QOSState *qs;
    QVirtioPCIDevice *device;
    QVirtQueue *queues[QUEUES_MAX];
    int n_queues;
    uint64_t twins;         /* but for the pairs */
    uint64_t freed;         /* before any of them is */
} Bed;

static Bed start(const char *options, int n_queues)
{
    Bed bed = {
        .qs = qtest_pc_boot("-machine pc -m 128,maxmem=1G -nodefaults "
                            "-object ksm,id=ksm0,sleep-millisecs=3600000,"
                            "max-cpu-percent=100,huge-split-threshold=1," ALONE
                            " %s,addr=%d,disable-legacy=on", options, SLOT),
        .n_queues = n_queues,
    };

    bed.device = ksm_virtio_start(bed.qs, SLOT);
    for (int i = 0; i < n_queues; i++) {
        bed.queues[i] = qvirtqueue_setup(&bed.device->vdev, &bed.qs->alloc, i);
    }
    qvirtio_set_driver_ok(&bed.device->vdev);
    return bed;
}

static void stop(Bed *bed)
{
    ksm_virtio_stop(bed->qs, bed->device, bed->queues, bed->n_queues);
    qtest_shutdown(bed->qs);
}

static uint64_t pages_freed(Bed *bed)
{
    g_autoptr(QDict) info = ksm_query(bed->qs->qts);

    return qdict_get_int(qdict_get_qdict(info, "hints"), "pages-freed");
}

/* Pairs of pages from @one and from @other on, as passes find them. */
static void find_twins(Bed *bed, const char *block, uint64_t one,
                       uint64_t other)
{
    QTestState *qts = bed->qs->qts;

    /* What queues are in may be alike, too. */
    ksm_wait_passes(qts, 3);
    bed->twins = ksm_figure(qts, block, "pages-twins");
    for (int i = 0; i < PAIRS; i++) {
        ksm_write_page(qts, one + i * PAGE, i);
        ksm_write_page(qts, other + i * PAGE, i);
    }
    for (int i = 0; ksm_figure(qts, block, "pages-twins") <
                    bed->twins + 2 * PAIRS; i++) {
        g_assert_cmpint(i, <, 100);
        ksm_wait_passes(qts, 1);
    }
    bed->freed = pages_freed(bed);
}

/* So many pages, one of each pair at least, are forgotten without a pass. */
static void wait_forgotten(Bed *bed, const char *block, uint64_t pages)
{
    for (int i = 0; i < 500; i++) {
        if (ksm_figure(bed->qs->qts, block, "pages-twins") <= bed->twins &&
            pages_freed(bed) >= bed->freed + pages) {
            break;
        }
        g_usleep(10000);
    }
    g_assert_cmpuint(pages_freed(bed), ==, bed->freed + pages);
    g_assert_cmpuint(ksm_figure(bed->qs->qts, block, "pages-twins"), ==,
                     bed->twins);
}

static uint64_t full_scans(Bed *bed)
{
    g_autoptr(QDict) info = ksm_query(bed->qs->qts);

    return qdict_get_int(info, "full-scans");
}

static void test_balloon(void)
{
    /* Inflate, deflate. */
    Bed bed = start("-device virtio-balloon-pci", 2);
    QTestState *qts = bed.qs->qts;
    const uint64_t other = BASE + 100 * PAGE;
    uint64_t numbers = qmalloc(bed.qs, PAIRS * sizeof(uint32_t));
    KsmVirtioBuffer buffer = { numbers, PAIRS * sizeof(uint32_t), false };
    uint64_t scans;

    find_twins(&bed, "pc.ram", BASE, other);
    scans = full_scans(&bed);
    for (int i = 0; i < PAIRS; i++) {
        qtest_writel(qts, numbers + i * sizeof(uint32_t), other / PAGE + i);
    }
    ksm_virtio_request(bed.qs, bed.device, bed.queues[0], &buffer, 1);
    wait_forgotten(&bed, "pc.ram", PAIRS);
    g_assert_cmpuint(full_scans(&bed), ==, scans);

    /* It may have them back, and they are found again. */
    ksm_virtio_request(bed.qs, bed.device, bed.queues[1], &buffer, 1);
    find_twins(&bed, "pc.ram", BASE, other);
    stop(&bed);
}

static void test_reporting(void)
{
    /* Inflate, deflate, statistics, reporting. */
    Bed bed = start("-device virtio-balloon-pci,free-page-reporting=on", 4);
    const uint64_t other = BASE + 100 * PAGE;
    KsmVirtioBuffer buffer = { other, PAIRS * PAGE, true };

    find_twins(&bed, "pc.ram", BASE, other);
    ksm_virtio_request(bed.qs, bed.device, bed.queues[3], &buffer, 1);
    wait_forgotten(&bed, "pc.ram", PAIRS);
    stop(&bed);
}

/* Has virtio-mem plug its first block, or unplug it. */
static void virtio_mem_request(Bed *bed, uint16_t type, uint64_t address)
{
    QTestState *qts = bed->qs->qts;
    struct virtio_mem_req request = {
        .type = cpu_to_le16(type),
        .u.plug = { .addr = cpu_to_le64(address),
                    .nb_blocks = cpu_to_le16(1) },
    };
    uint64_t at = qmalloc(bed->qs, PAGE);
    const uint64_t answer = at + sizeof(request);
    KsmVirtioBuffer buffers[] = {
        { at, sizeof(request), false },
        { answer, sizeof(struct virtio_mem_resp), true },
    };

    qtest_memwrite(qts, at, &request, sizeof(request));
    ksm_virtio_request(bed->qs, bed->device, bed->queues[0], buffers,
                       ARRAY_SIZE(buffers));
    g_assert_cmpint(qtest_readw(qts, answer), ==, VIRTIO_MEM_RESP_ACK);
    qfree(bed->qs, at);
}

static void test_virtio_mem(void)
{
    Bed bed = start("-object memory-backend-ram,id=vmem,size=64M "
                    "-device virtio-mem-pci,memdev=vmem,requested-size=64M",
                    1);
    uint64_t block = qvirtio_config_readq(&bed.device->vdev,
        offsetof(struct virtio_mem_config, block_size));
    uint64_t address = qvirtio_config_readq(&bed.device->vdev,
        offsetof(struct virtio_mem_config, addr));

    virtio_mem_request(&bed, VIRTIO_MEM_REQ_PLUG, address);
    find_twins(&bed, "vmem", address, address + block / 2);
    virtio_mem_request(&bed, VIRTIO_MEM_REQ_UNPLUG, address);
    wait_forgotten(&bed, "vmem", block / PAGE);
    stop(&bed);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/ksm/free/balloon", test_balloon);
    qtest_add_func("/ksm/free/reporting", test_reporting);
    qtest_add_func("/ksm/free/virtio-mem", test_virtio_mem);
    return g_test_run();
}
