/*
 * The ksm-guest device, as its guest sees it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_GUEST_DEVICE_H
#define KSM_GUEST_DEVICE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "ranges.h"

typedef struct Device {
    char name[NAME_MAX + 1];        /* its PCI address */
    int fd;
    volatile uint32_t *bar;         /* each access reaches the device */
} Device;

typedef struct DeviceStatus {
    uint32_t version;
    uint32_t features;
    uint32_t ranges;
    uint32_t ranges_max;
    uint32_t accepted;
    uint32_t done;
    uint64_t saved_bytes;
} DeviceStatus;

/*
 * The only one there is, for this process alone until it ends.  Ends the
 * program with a message if there is none, or if this one is not understood.
 */
void device_open(Device *device);

/*
 * Have the host take @ranges for what is advised of them, and wait until that
 * is carried out, each part for up to @seconds.  Ends the program with a
 * message if the host does not.  False, after a message, if some of them are of
 * no memory that can be merged: these are left out.
 */
bool device_set(Device *device, const Ranges *ranges, unsigned seconds);
/* The same, of all advice being withdrawn. */
void device_release(Device *device, unsigned seconds);

DeviceStatus device_status(const Device *device);

#endif
