/*
 * A virtio device on slot N of a machine's PCI bus, for tests of the ksm object
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "standard-headers/linux/virtio_ring.h"
#include "ksm-virtio.h"

#define TIMEOUT_US  (10 * G_USEC_PER_SEC)

QVirtioPCIDevice *ksm_virtio_start(QOSState *qs, int slot)
{
    QPCIAddress address = { .devfn = QPCI_DEVFN(slot, 0) };
    QVirtioPCIDevice *device = virtio_pci_new(qs->pcibus, &address);
    QVirtioDevice *d;

    g_assert_nonnull(device);
    d = &device->vdev;
    qvirtio_pci_device_enable(device);
    qvirtio_start_device(d);
    qvirtio_set_features(d, qvirtio_get_features(d) &
                         ~(QVIRTIO_F_BAD_FEATURE |
                           (1ull << VIRTIO_RING_F_INDIRECT_DESC) |
                           (1ull << VIRTIO_RING_F_EVENT_IDX)));
    return device;
}

void ksm_virtio_stop(QOSState *qs, QVirtioPCIDevice *device,
                     QVirtQueue **queues, int n)
{
    for (int i = 0; i < n; i++) {
        qvirtqueue_cleanup(device->vdev.bus, queues[i], &qs->alloc);
    }
    qvirtio_pci_device_disable(device);
    qvirtio_pci_destructor(&device->obj);
    g_free(device);
}

void ksm_virtio_request(QOSState *qs, QVirtioPCIDevice *device,
                        QVirtQueue *queue, const KsmVirtioBuffer *buffers,
                        int n)
{
    uint32_t head = 0;

    for (int i = 0; i < n; i++) {
        uint32_t at = qvirtqueue_add(qs->qts, queue, buffers[i].address,
                                     buffers[i].size, buffers[i].write,
                                     i + 1 < n);

        head = i ? head : at;
    }
    qvirtqueue_kick(qs->qts, &device->vdev, queue, head);
    qvirtio_wait_used_elem(qs->qts, &device->vdev, queue, head, NULL,
                           TIMEOUT_US);
}
