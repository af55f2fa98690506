/*
 * A virtio device on slot N of a machine's PCI bus, for tests of the ksm object
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_KSM_VIRTIO_H
#define TESTS_KSM_VIRTIO_H

#include "libqos/libqos-pc.h"
#include "libqos/virtio-pci.h"

/* Of one request; device-writable if @write. */
typedef struct KsmVirtioBuffer {
    uint64_t address;
    uint32_t size;
    bool write;
} KsmVirtioBuffer;

/* With all features that it has but those of the ring; queues are to come. */
QVirtioPCIDevice *ksm_virtio_start(QOSState *qs, int slot);
/* Free @device with its @n queues. */
void ksm_virtio_stop(QOSState *qs, QVirtioPCIDevice *device,
                     QVirtQueue **queues, int n);
/* Have @n buffers used, and wait for that. */
void ksm_virtio_request(QOSState *qs, QVirtioPCIDevice *device,
                        QVirtQueue *queue, const KsmVirtioBuffer *buffers,
                        int n);

#endif
