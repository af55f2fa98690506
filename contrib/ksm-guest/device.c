/*
 * The ksm-guest device, as its guest sees it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Without a driver in the kernel: the BARs are files below /sys/bus/pci.
 */
#include <dirent.h>
#include <endian.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "hw/ksm-guest.h"

#define PCI_DEVICES     "/sys/bus/pci/devices"

static const char *const results[] = {
    [KSM_GUEST_OK] = "is accepted",
    [KSM_GUEST_DECLINED] = "is declined: its administrator wants no advice"
                           " (guest-hints=off), or it merges nothing",
    [KSM_GUEST_BAD_COMMAND] = "is not understood",
    [KSM_GUEST_BAD_COUNT] = "has a wrong number of entries",
    [KSM_GUEST_BAD_ENTRY] = "is not of whole pages",
    [KSM_GUEST_NOT_RAM] = "is not of memory that can be merged",
    [KSM_GUEST_TOO_MANY] = "is of too many ranges: see 'ksm-guest status';"
                           " withdraw some, or all with 'ksm-guest release'",
    [KSM_GUEST_BUSY] = "comes too soon: another one is being carried out",
};

static int open_file(const char *device, const char *name, int flags)
{
    char path[512];

    snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", device, name);
    return open(path, flags | O_CLOEXEC);
}

/* A number of sysfs; -1 if it can't be read. */
static long read_number(const char *device, const char *name)
{
    char text[32];
    int fd = open_file(device, name, O_RDONLY);
    ssize_t n;

    if (fd < 0) {
        return -1;
    }
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0) {
        return -1;
    }
    text[n] = '\0';
    return strtol(text, NULL, 0);
}

static bool find(char *name, size_t size)
{
    DIR *directory = opendir(PCI_DEVICES);
    struct dirent *entry;
    bool found = false;

    if (!directory) {
        err(1, PCI_DEVICES);
    }
    while (!found && (entry = readdir(directory))) {
        if (read_number(entry->d_name, "vendor") == KSM_GUEST_VENDOR_ID &&
            read_number(entry->d_name, "device") == KSM_GUEST_DEVICE_ID) {
            snprintf(name, size, "%s", entry->d_name);
            found = true;
        }
    }
    closedir(directory);
    return found;
}

static void enable(const char *name)
{
    int fd = open_file(name, "enable", O_WRONLY);

    if (fd < 0 || write(fd, "1", 1) != 1) {
        err(1, PCI_DEVICES "/%s/enable", name);
    }
    close(fd);
}

static void map(Device *device)
{
    char file[16];
    void *at;

    snprintf(file, sizeof(file), "resource%d", KSM_GUEST_BAR);
    device->fd = open_file(device->name, file, O_RDWR);
    if (device->fd < 0) {
        err(1, PCI_DEVICES "/%s/%s", device->name, file);
    }
    at = mmap(NULL, KSM_GUEST_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
              device->fd, 0);
    if (at == MAP_FAILED) {
        err(1, PCI_DEVICES "/%s/%s: can't be mapped (a kernel that is locked"
            " down lets nobody)", device->name, file);
    }
    device->bar = at;
}

/*
 * By functions of their own, so that it is a plain load or store: the compiler
 * would put some values into vector registers, and KVM can't emulate that.
 */
static uint32_t __attribute__((noinline)) get(const Device *device, unsigned at)
{
    return le32toh(device->bar[at / 4]);
}

static void __attribute__((noinline)) put(Device *device, unsigned at,
                                          uint32_t value)
{
    device->bar[at / 4] = htole32(value);
}

void device_open(Device *device)
{
    const uint32_t page_size = sysconf(_SC_PAGESIZE);

    if (!find(device->name, sizeof(device->name))) {
        errx(1, "this machine has no ksm-guest device: have its administrator"
             " start QEMU with -device ksm-guest");
    }
    enable(device->name);
    map(device);
    /* Requests of two programs must not get mixed. */
    if (flock(device->fd, LOCK_EX)) {
        err(1, "device %s: can't be locked", device->name);
    }
    if (get(device, KSM_GUEST_MAGIC) != KSM_GUEST_MAGIC_VALUE ||
        get(device, KSM_GUEST_VERSION) != KSM_GUEST_VERSION_VALUE) {
        errx(1, "device %s: is of version %u, which this program doesn't"
             " know", device->name, get(device, KSM_GUEST_VERSION));
    }
    if (get(device, KSM_GUEST_PAGE_SIZE) != page_size) {
        errx(1, "device %s: the host's pages are of %u bytes, and here of %u:"
             " can't be used", device->name,
             get(device, KSM_GUEST_PAGE_SIZE), page_size);
    }
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void rest(void)
{
    nanosleep(&(struct timespec) { .tv_nsec = 2000000 }, NULL);
}

static void wait_done(Device *device, unsigned seconds)
{
    const double until = now() + seconds;

    while (get(device, KSM_GUEST_DONE) != get(device, KSM_GUEST_ACCEPTED)) {
        if (now() > until) {
            errx(2, "the host has not carried it out after %u s: it may be"
                 " short of memory, and goes on with it", seconds);
        }
        rest();
    }
}

/* The result; other than OK and NOT_RAM it is an error. */
static uint32_t request(Device *device, uint32_t count, uint32_t command,
                        unsigned seconds)
{
    uint32_t result;

    /* What another program has begun. */
    wait_done(device, seconds);
    put(device, KSM_GUEST_COUNT, count);
    put(device, KSM_GUEST_COMMAND, command);
    result = get(device, KSM_GUEST_RESULT);
    if (result != KSM_GUEST_OK && result != KSM_GUEST_NOT_RAM) {
        errx(1, "the host says that this request %s",
             result < sizeof(results) / sizeof(results[0])
             ? results[result] : "has failed");
    }
    wait_done(device, seconds);
    return result;
}

static void put_entry(Device *device, uint32_t i, const Range *range)
{
    const unsigned at = KSM_GUEST_BUFFER + i * KSM_GUEST_ENTRY_SIZE;
    const uint64_t address = range->page * sysconf(_SC_PAGESIZE);

    put(device, at + KSM_GUEST_ENTRY_ADDRESS, address);
    put(device, at + KSM_GUEST_ENTRY_ADDRESS + 4, address >> 32);
    put(device, at + KSM_GUEST_ENTRY_PAGES, range->n);
    put(device, at + KSM_GUEST_ENTRY_ADVICE, range->advice);
}

/* One request, of what of it is RAM.  Returns false if some was not. */
static bool send(Device *device, Ranges *batch, unsigned seconds)
{
    bool all = true;

    while (batch->n) {
        uint32_t i;

        for (i = 0; i < batch->n; i++) {
            put_entry(device, i, &batch->list[i]);
        }
        if (request(device, batch->n, KSM_GUEST_SET, seconds) ==
            KSM_GUEST_OK) {
            break;
        }
        i = get(device, KSM_GUEST_ENTRY);
        if (i >= batch->n) {
            errx(1, "device %s: refuses entry %u of %zu", device->name, i,
                 batch->n);
        }
        warnx("the host says that 0x%" PRIx64 " and %" PRIu64 " pages from"
              " there %s: left out", batch->list[i].page *
              sysconf(_SC_PAGESIZE), batch->list[i].n,
              results[KSM_GUEST_NOT_RAM]);
        batch->n--;
        memmove(&batch->list[i], &batch->list[i + 1],
                (batch->n - i) * sizeof(batch->list[0]));
        all = false;
    }
    batch->n = 0;
    return all;
}

bool device_set(Device *device, const Ranges *ranges, unsigned seconds)
{
    /* What makes room first, and what matters most. */
    static const uint32_t order[] = {
        KSM_GUEST_NONE, KSM_GUEST_NEVER, KSM_GUEST_VOLATILE, KSM_GUEST_EAGERLY,
    };
    const uint32_t most = get(device, KSM_GUEST_ENTRIES_MAX);
    Ranges batch = { 0 };
    bool all = true;

    for (size_t turn = 0; turn < sizeof(order) / sizeof(order[0]); turn++) {
        for (size_t i = 0; i < ranges->n; i++) {
            const Range *range = &ranges->list[i];
            uint64_t done = 0;

            while (range->advice == order[turn] && done < range->n) {
                const uint64_t left = range->n - done;
                const uint32_t pages = left < UINT32_MAX ? left : UINT32_MAX;

                ranges_add(&batch, range->page + done, pages, range->advice);
                if (batch.n == most) {
                    all &= send(device, &batch, seconds);
                }
                done += pages;
            }
        }
        all &= send(device, &batch, seconds);
    }
    ranges_free(&batch);
    return all;
}

void device_release(Device *device, unsigned seconds)
{
    request(device, 0, KSM_GUEST_RELEASE, seconds);
}

DeviceStatus device_status(const Device *device)
{
    DeviceStatus status = {
        .version = get(device, KSM_GUEST_VERSION),
        .features = get(device, KSM_GUEST_FEATURES),
        .ranges = get(device, KSM_GUEST_RANGES),
        .ranges_max = get(device, KSM_GUEST_RANGES_MAX),
        .accepted = get(device, KSM_GUEST_ACCEPTED),
        .done = get(device, KSM_GUEST_DONE),
        .saved_bytes = get(device, KSM_GUEST_SAVED),
    };

    status.saved_bytes |= (uint64_t)get(device, KSM_GUEST_SAVED + 4) << 32;
    return status;
}
