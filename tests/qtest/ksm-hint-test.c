/*
 * Test that the ksm object acts on what disks tell of the pages they filled
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * No pass is due in these tests after the first, unless a test asks for one.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "ksm-helpers.h"
#include "ksm-virtio.h"
#include "libqos/ahci.h"
#include "standard-headers/linux/virtio_blk.h"

/* In pages. */
#define DISK        256
#define SLOT        4

typedef struct Bed {
    QOSState *qs;
    char *image;
    QVirtioPCIDevice *virtio;
    QVirtQueue *queue;
    AHCIQState *ahci;
    uint8_t port;
} Bed;

/* How a disk is attached, and read: one request. */
typedef struct Disk {
    const char *name;
    const char *machine;
    const char *device;
    void (*attach)(Bed *bed);
    void (*read)(Bed *bed, unsigned page, uint64_t address, unsigned pages);
    void (*detach)(Bed *bed);
} Disk;

static void virtio_attach(Bed *bed)
{
    QVirtioDevice *d;

    bed->virtio = ksm_virtio_start(bed->qs, SLOT);
    d = &bed->virtio->vdev;
    bed->queue = qvirtqueue_setup(d, &bed->qs->alloc, 0);
    qvirtio_set_driver_ok(d);
}

static void virtio_read(Bed *bed, unsigned page, uint64_t address,
                        unsigned pages)
{
    QTestState *qts = bed->qs->qts;
    struct virtio_blk_outhdr header = {
        .type = cpu_to_le32(VIRTIO_BLK_T_IN),
        .sector = cpu_to_le64(page * PAGE / 512),
    };
    uint64_t request = qmalloc(bed->qs, sizeof(header) + 1);
    KsmVirtioBuffer buffers[DISK + 2];
    int n = 0;

    qtest_memwrite(qts, request, &header, sizeof(header));
    buffers[n++] = (KsmVirtioBuffer) { request, sizeof(header), false };
    for (unsigned i = 0; i < pages; i++) {
        buffers[n++] = (KsmVirtioBuffer) { address + i * PAGE, PAGE, true };
    }
    buffers[n++] = (KsmVirtioBuffer) { request + sizeof(header), 1, true };
    ksm_virtio_request(bed->qs, bed->virtio, bed->queue, buffers, n);
    g_assert_cmpint(qtest_readb(qts, request + sizeof(header)), ==,
                    VIRTIO_BLK_S_OK);
    qfree(bed->qs, request);
}

static void virtio_detach(Bed *bed)
{
    ksm_virtio_stop(bed->qs, bed->virtio, &bed->queue, 1);
}

static void ahci_attach(Bed *bed)
{
    bed->ahci = g_new0(AHCIQState, 1);
    bed->ahci->parent = bed->qs;
    bed->ahci->dev = get_ahci_device(bed->qs->qts, &bed->ahci->fingerprint);
    ahci_pci_enable(bed->ahci);
    ahci_hba_enable(bed->ahci);
    bed->port = ahci_port_select(bed->ahci);
    ahci_port_clear(bed->ahci, bed->port);
}

static void ahci_read(Bed *bed, unsigned page, uint64_t address,
                      unsigned pages)
{
    ahci_guest_io(bed->ahci, bed->port, CMD_READ_DMA, address, pages * PAGE,
                  page * PAGE / 512);
}

static void ahci_detach(Bed *bed)
{
    ahci_clean_mem(bed->ahci);
    free_ahci_device(bed->ahci->dev);
    g_free(bed->ahci);
}

static const Disk disks[] = {
    { "virtio-blk", "pc",
      "virtio-blk-pci,addr=" stringify(SLOT) ",disable-legacy=on",
      virtio_attach, virtio_read, virtio_detach },
    { "ahci", "q35", "ide-hd", ahci_attach, ahci_read, ahci_detach },
};

/* A disk with pages that differ from each other. */
static char *make_image(void)
{
    g_autoptr(GError) error = NULL;
    char *path;
    int fd = g_file_open_tmp("ksm-hint-test.XXXXXX", &path, &error);

    g_assert_no_error(error);
    for (uint32_t i = 0; i < DISK; i++) {
        uint32_t page[PAGE / 4];

        for (int word = 0; word < ARRAY_SIZE(page); word++) {
            page[word] = i * 2654435761u + word + 1;
        }
        g_assert_cmpint(write(fd, page, PAGE), ==, PAGE);
    }
    close(fd);
    return path;
}

static Bed *start(const Disk *disk, const char *options)
{
    Bed *bed = g_new0(Bed, 1);

    bed->image = make_image();
    bed->qs = qtest_pc_boot("-machine %s -m 128 -nodefaults "
                            "-object ksm,id=ksm0,sleep-millisecs=3600000,"
                            "max-cpu-percent=100,huge-split-threshold=1," ALONE
                            "%s -drive if=none,id=d,format=raw,file=%s "
                            "-device %s,drive=d", disk->machine, options,
                            bed->image, disk->device);
    disk->attach(bed);
    for (int i = 0; i < 1000; i++) {
        g_autoptr(QDict) info = ksm_query(bed->qs->qts);

        if (qdict_get_int(info, "full-scans")) {
            return bed;
        }
        g_usleep(10000);
    }
    g_assert_not_reached();
}

static void stop(const Disk *disk, Bed *bed)
{
    disk->detach(bed);
    qtest_shutdown(bed->qs);
    unlink(bed->image);
    g_free(bed->image);
    g_free(bed);
}

static uint64_t hint_figure(Bed *bed, const char *name)
{
    g_autoptr(QDict) info = ksm_query(bed->qs->qts);

    return qdict_get_int(qdict_get_qdict(info, "hints"), name);
}

static uint64_t full_scans(Bed *bed)
{
    g_autoptr(QDict) info = ksm_query(bed->qs->qts);

    return qdict_get_int(info, "full-scans");
}

/* Wait for a figure of pc.ram or of hints, without a pass. */
static void wait_twins(Bed *bed, uint64_t n)
{
    uint64_t got = 0;

    for (int i = 0; i < 500; i++) {
        got = ksm_figure(bed->qs->qts, "pc.ram", "pages-twins");
        if (got == n) {
            return;
        }
        g_usleep(10000);
    }
    g_error("%" PRIu64 " twins, not %" PRIu64, got, n);
}

/* What is read twice from the disk is found to be twins, without a pass. */
static void test_twins(gconstpointer data)
{
    const Disk *disk = data;
    Bed *bed = start(disk, "");
    QTestState *qts = bed->qs->qts;
    uint64_t scans = full_scans(bed);
    uint64_t twins;

    disk->read(bed, 0, BASE, 16);
    disk->read(bed, 0, BASE + 64 * PAGE, 16);
    wait_twins(bed, 32);
    g_assert_cmpuint(hint_figure(bed, "pages-hashed"), ==, 32);
    g_assert_cmpuint(hint_figure(bed, "dropped"), ==, 0);
    g_assert_cmpuint(full_scans(bed), ==, scans);

    /* So it is once the region is tracked; which goes on. */
    ksm_wait_passes(qts, 3);
    scans = full_scans(bed);
    /* What the controller has in memory may be alike, too. */
    twins = ksm_figure(qts, "pc.ram", "pages-twins");
    g_assert_cmpuint(twins, >=, 32);
    disk->read(bed, 3, BASE + 200 * PAGE, 1);
    wait_twins(bed, twins + 1);
    g_assert_cmpuint(full_scans(bed), ==, scans);
    ksm_write_page(qts, BASE + 200 * PAGE, 12345);
    ksm_write_page(qts, BASE, 12346);
    ksm_wait_passes(qts, 3);
    /* The page at BASE + 64 pages has lost its only twin. */
    wait_twins(bed, twins - 2);
    stop(disk, bed);
}

/* Fill the page at @address with page @number of the disk, which is noted. */
static void fill_page(const Disk *disk, Bed *bed, unsigned number,
                      uint64_t address)
{
    const uint64_t taken = hint_figure(bed, "taken");

    disk->read(bed, number, address, 1);
    for (int wait = 0; hint_figure(bed, "taken") == taken; wait++) {
        g_assert_cmpint(wait, <, 500);
        g_usleep(10000);
    }
}

/*
 * Pages that are filled over and over are not looked at each time, but when the
 * disk had left them alone.
 */
static void test_hot(gconstpointer data)
{
    const Disk *disk = data;
    Bed *bed = start(disk, "");
    uint64_t hashed;

    for (int i = 1; i <= 8; i++) {
        fill_page(disk, bed, i, BASE);
    }
    /* The last may be taken, and not hashed yet. */
    fill_page(disk, bed, 9, BASE + 8 * PAGE);
    g_usleep(100000);
    hashed = hint_figure(bed, "pages-hashed");
    g_assert_cmpuint(hashed, >, 1);
    g_assert_cmpuint(hashed, <=, 5);

    g_usleep(2500000);
    fill_page(disk, bed, 10, BASE);
    for (int wait = 0; hint_figure(bed, "pages-hashed") == hashed; wait++) {
        g_assert_cmpint(wait, <, 500);
        g_usleep(10000);
    }
    stop(disk, bed);
}

/* Parts of pages are of no interest. */
static void test_parts(gconstpointer data)
{
    const Disk *disk = data;
    Bed *bed = start(disk, "");

    disk->read(bed, 0, BASE + 512, 3);
    disk->read(bed, 4, BASE + 64 * PAGE, 1);
    for (int wait = 0; hint_figure(bed, "pages-hashed") < 3; wait++) {
        if (wait == 100) {
            break;
        }
        g_usleep(10000);
    }
    /* Two of the pages in [512, 3 pages + 512) of one request are whole. */
    g_assert_cmpuint(hint_figure(bed, "pages-hashed"), ==, 3);
    stop(disk, bed);
}

static void set_hints(Bed *bed, const char *value)
{
    qtest_qmp_assert_success(bed->qs->qts, "{'execute': 'qom-set',"
                             " 'arguments': {'path': '/objects/ksm0',"
                             " 'property': 'hints', 'value': %s}}", value);
}

static void test_off(gconstpointer data)
{
    const Disk *disk = data;
    Bed *bed = start(disk, ",hints=off");

    disk->read(bed, 0, BASE, 16);
    set_hints(bed, "io");
    disk->read(bed, 0, BASE + 64 * PAGE, 16);
    for (int wait = 0; hint_figure(bed, "pages-hashed") < 16; wait++) {
        g_assert_cmpint(wait, <, 500);
        g_usleep(10000);
    }
    set_hints(bed, "off");
    disk->read(bed, 0, BASE + 128 * PAGE, 16);
    g_usleep(100000);
    g_assert_cmpuint(hint_figure(bed, "pages-hashed"), ==, 16);
    stop(disk, bed);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (int i = 0; i < ARRAY_SIZE(disks); i++) {
        static const struct {
            const char *name;
            void (*test)(gconstpointer data);
        } tests[] = {
            { "twins", test_twins },
            { "hot", test_hot },
            { "parts", test_parts },
            { "off", test_off },
        };

        for (int t = 0; t < ARRAY_SIZE(tests); t++) {
            g_autofree char *path = g_strdup_printf(
                "/ksm/hint/%s/%s", disks[i].name, tests[t].name);

            qtest_add_data_func(path, &disks[i], tests[t].test);
        }
    }
    return g_test_run();
}
