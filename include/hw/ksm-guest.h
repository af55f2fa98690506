/*
 * ksm-guest: a PCI device by which a guest advises what to merge
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The registers, for the device, its driver and tests: plain numbers.  Meaning
 * and rules are in docs/specs/ksm-guest.rst.
 */
#ifndef HW_KSM_GUEST_H
#define HW_KSM_GUEST_H

#define KSM_GUEST_VENDOR_ID         0x1234
#define KSM_GUEST_DEVICE_ID         0x4b53

#define KSM_GUEST_BAR               0
#define KSM_GUEST_BAR_SIZE          8192

/* Registers: offsets in bytes, of 4 bytes each but for SAVED. */
#define KSM_GUEST_MAGIC             0x00
#define KSM_GUEST_VERSION           0x04
#define KSM_GUEST_FEATURES          0x08
#define KSM_GUEST_PAGE_SIZE         0x0c
#define KSM_GUEST_ENTRIES_MAX       0x10
#define KSM_GUEST_RANGES_MAX        0x14
#define KSM_GUEST_RANGES            0x18
#define KSM_GUEST_COUNT             0x20
#define KSM_GUEST_COMMAND           0x24
#define KSM_GUEST_RESULT            0x28
#define KSM_GUEST_ENTRY             0x2c
#define KSM_GUEST_ACCEPTED          0x30
#define KSM_GUEST_DONE              0x34
#define KSM_GUEST_SAVED             0x40    /* of 8 bytes */

/* The entries of the next request. */
#define KSM_GUEST_BUFFER            0x1000
#define KSM_GUEST_BUFFER_SIZE       0x1000
#define KSM_GUEST_ENTRY_SIZE        16
/* Parts of an entry: offsets in bytes. */
#define KSM_GUEST_ENTRY_ADDRESS     0       /* guest-physical, of 8 bytes */
#define KSM_GUEST_ENTRY_PAGES       8
#define KSM_GUEST_ENTRY_ADVICE      12

#define KSM_GUEST_MAGIC_VALUE       0x474d534b  /* "KSMG" */
#define KSM_GUEST_VERSION_VALUE     1

/* FEATURES; bit n of the lower ones: advice n is accepted. */
#define KSM_GUEST_FEATURE_SAVED     0x80000000u

/* COMMAND */
#define KSM_GUEST_SET               1
#define KSM_GUEST_RELEASE           2

/* Advice */
#define KSM_GUEST_NONE              0
#define KSM_GUEST_NEVER             1
#define KSM_GUEST_EAGERLY           2
#define KSM_GUEST_VOLATILE          3

/* RESULT */
#define KSM_GUEST_OK                0
#define KSM_GUEST_DECLINED          1
#define KSM_GUEST_BAD_COMMAND       2
#define KSM_GUEST_BAD_COUNT         3
#define KSM_GUEST_BAD_ENTRY         4
#define KSM_GUEST_NOT_RAM           5
#define KSM_GUEST_TOO_MANY          6
#define KSM_GUEST_BUSY              7

#endif
