/*
 * ksm-guest: a PCI device by which a guest advises what to merge
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Registers and rules: docs/specs/ksm-guest.rst.
 *
 * A guest may be hostile.  What it can make this device hold is bounded by
 * max-ranges, and what that costs the engine by the engine's budget: a request
 * is refused until the last one is carried out.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "exec/address-spaces.h"
#include "hw/ksm-guest.h"
#include "hw/ksm-hint.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pcie.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
#include "system/ksm.h"

#define TYPE_KSM_GUEST "ksm-guest"
OBJECT_DECLARE_SIMPLE_TYPE(KsmGuestState, KSM_GUEST)

#define ENTRIES_MAX         (KSM_GUEST_BUFFER_SIZE / KSM_GUEST_ENTRY_SIZE)
/*
 * Each may cost the engine two memory mappings beyond its own budget, which is
 * a quarter of vm.max_map_count: 65530 as Linux sets it.
 */
#define RANGES_MAX          16384
#define RANGES_DEFAULT      4096

/* A finer figure, or a newer one, would tell which pages others have. */
#define SAVED_UNIT          (16ull << 20)
#define SAVED_NS            (10 * NANOSECONDS_PER_SECOND)

QEMU_BUILD_BUG_ON((int)KSM_ADVICE_NONE != KSM_GUEST_NONE);
QEMU_BUILD_BUG_ON((int)KSM_ADVICE_NEVER != KSM_GUEST_NEVER);
QEMU_BUILD_BUG_ON((int)KSM_ADVICE_EAGERLY != KSM_GUEST_EAGERLY);
QEMU_BUILD_BUG_ON((int)KSM_ADVICE_VOLATILE != KSM_GUEST_VOLATILE);

/* Guest-physical memory [start, end), of whole pages. */
typedef struct GuestRange {
    uint64_t start;
    uint64_t end;
    uint32_t advice;            /* never or volatile */
} GuestRange;

struct KsmGuestState {
    PCIDevice parent_obj;

    MemoryRegion bar;
    MemoryListener listener;    /* of what memory there is */
    bool memory_changed;        /* of which something is advised */

    uint32_t max_ranges;
    bool tell_saved;

    /* [max_ranges], in order; not overlapping.  NULL: it is unplugged. */
    GuestRange *ranges;
    uint32_t n_ranges;
    uint32_t buffer[KSM_GUEST_BUFFER_SIZE / 4];
    uint32_t count;
    uint32_t result;
    uint32_t entry;
    uint32_t accepted;
    bool pending;               /* the last accepted one is not done */

    uint64_t saved;
    int64_t saved_until_ns;     /* 0: was not asked for yet */
    uint32_t saved_high;        /* of what was read last */
};

/*
 * Calls @fn, if there is one, for each piece of RAM in [@start, @end).  Returns
 * false if some of it is no RAM.
 */
static bool for_each_ram(uint64_t start, uint64_t end,
                         void (*fn)(uint8_t *host, size_t size, void *opaque),
                         void *opaque)
{
    bool all = true;

    while (start < end) {
        MemoryRegionSection section =
            memory_region_find(get_system_memory(), start, end - start);
        MemoryRegion *mr = section.mr;
        uint64_t at, size;

        if (!mr) {
            return false;
        }
        at = section.offset_within_address_space;
        size = int128_get64(section.size);
        all &= at == start;
        if (!memory_region_is_ram(mr) || memory_region_is_rom(mr) ||
            memory_region_is_romd(mr) || memory_region_is_ram_device(mr)) {
            all = false;
        } else if (fn) {
            fn((uint8_t *)memory_region_get_ram_ptr(mr) +
               section.offset_within_region, size, opaque);
        }
        memory_region_unref(mr);
        start = fn || all ? at + size : end;
    }
    return all;
}

static void add_advised(uint8_t *host, size_t size, void *opaque)
{
    GArray *advised = opaque;
    const size_t page_size = qemu_real_host_page_size();
    uint8_t *start = QEMU_ALIGN_PTR_DOWN(host, page_size);
    /* Something else may take a part of a page. */
    const KsmAdvisedRange range = {
        .host = start, .size = ROUND_UP(host + size - start, page_size),
    };

    g_array_append_val(advised, range);
}

static gint compare_advised(gconstpointer a, gconstpointer b)
{
    const KsmAdvisedRange *one = a, *other = b;

    return one->host < other->host ? -1 : one->host > other->host;
}

/*
 * One piece of memory may be at more than one address, with different advice:
 * keep what is in order, and says never rather than volatile.
 */
static void drop_overlaps(GArray *advised)
{
    KsmAdvisedRange *ranges = (KsmAdvisedRange *)advised->data;
    guint kept = 0;

    for (guint i = 0; i < advised->len; i++) {
        KsmAdvisedRange range = ranges[i];
        KsmAdvisedRange *last = kept ? &ranges[kept - 1] : NULL;

        if (last && last->host + last->size > range.host) {
            uint8_t *end = MAX(last->host + last->size,
                               range.host + range.size);

            last->size = end - last->host;
            if (range.advice == KSM_ADVICE_NEVER) {
                last->advice = KSM_ADVICE_NEVER;
            }
        } else {
            ranges[kept++] = range;
        }
    }
    g_array_set_size(advised, kept);
}

/* Tell the engine where in host memory that is what is advised now. */
static void advise(KsmGuestState *s)
{
    g_autoptr(GArray) advised = g_array_new(false, false,
                                            sizeof(KsmAdvisedRange));

    for (uint32_t i = 0; i < s->n_ranges; i++) {
        const guint from = advised->len;

        for_each_ram(s->ranges[i].start, s->ranges[i].end, add_advised,
                     advised);
        for (guint j = from; j < advised->len; j++) {
            g_array_index(advised, KsmAdvisedRange, j).advice =
                s->ranges[i].advice;
        }
    }
    g_array_sort(advised, compare_advised);
    drop_overlaps(advised);
    ksm_guest_advise((KsmAdvisedRange *)advised->data, advised->len);
}

/* The first of @ranges that ends behind @address, or @n. */
static guint first_behind(const GuestRange *ranges, guint n, uint64_t address)
{
    guint low = 0, high = n;

    while (low < high) {
        const guint middle = low + (high - low) / 2;

        if (ranges[middle].end > address) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Memory comes or goes: is something advised of it? */
static void memory_changes(MemoryListener *listener,
                           MemoryRegionSection *section)
{
    KsmGuestState *s = container_of(listener, KsmGuestState, listener);
    const uint64_t start = section->offset_within_address_space;
    const uint64_t last = start + int128_get64(int128_sub(section->size,
                                                          int128_one()));
    const guint i = first_behind(s->ranges, s->n_ranges, start);

    s->memory_changed |= i < s->n_ranges && s->ranges[i].start <= last;
}

static void memory_changed(MemoryListener *listener)
{
    KsmGuestState *s = container_of(listener, KsmGuestState, listener);

    if (s->memory_changed) {
        s->memory_changed = false;
        s->pending = true;
        advise(s);
    }
}

static bool is_pending(KsmGuestState *s)
{
    s->pending = s->pending && !ksm_guest_advice_is_done();
    return s->pending;
}

/*
 * Requests
 */

/* Nothing is advised of [@start, @end) any more.  Returns where that is. */
static guint clear(GArray *ranges, uint64_t start, uint64_t end)
{
    guint i = first_behind((GuestRange *)ranges->data, ranges->len, start);
    GuestRange *range;
    guint last;

    if (i == ranges->len) {
        return i;
    }
    range = &g_array_index(ranges, GuestRange, i);
    if (range->start < start) {
        /* It keeps what is before, and what is behind becomes another. */
        const GuestRange behind = { end, range->end, range->advice };

        range->end = start;
        i++;
        if (behind.end > end) {
            g_array_insert_val(ranges, i, behind);
            return i;
        }
    }
    for (last = i; last < ranges->len; last++) {
        range = &g_array_index(ranges, GuestRange, last);
        if (range->end > end) {
            range->start = MAX(range->start, end);
            break;
        }
    }
    if (last > i) {
        g_array_remove_range(ranges, i, last - i);
    }
    return i;
}

static void set(GArray *ranges, GuestRange range)
{
    guint i = clear(ranges, range.start, range.end);
    GuestRange *before, *behind;

    if (range.advice != KSM_ADVICE_NEVER &&
        range.advice != KSM_ADVICE_VOLATILE) {
        return;
    }
    before = i ? &g_array_index(ranges, GuestRange, i - 1) : NULL;
    if (before && before->end == range.start &&
        before->advice == range.advice) {
        range.start = before->start;
        g_array_remove_index(ranges, --i);
    }
    behind = i < ranges->len ? &g_array_index(ranges, GuestRange, i) : NULL;
    if (behind && behind->start == range.end &&
        behind->advice == range.advice) {
        behind->start = range.start;
    } else {
        g_array_insert_val(ranges, i, range);
    }
}

static uint32_t read_entry(const KsmGuestState *s, uint32_t i,
                           GuestRange *range)
{
    const uint32_t *entry = s->buffer + i * KSM_GUEST_ENTRY_SIZE / 4;
    const uint64_t page_size = qemu_real_host_page_size();
    const uint64_t size = entry[KSM_GUEST_ENTRY_PAGES / 4] * page_size;

    range->start = entry[KSM_GUEST_ENTRY_ADDRESS / 4] |
                   (uint64_t)entry[KSM_GUEST_ENTRY_ADDRESS / 4 + 1] << 32;
    range->advice = entry[KSM_GUEST_ENTRY_ADVICE / 4];
    if (!QEMU_IS_ALIGNED(range->start, page_size) || !size ||
        uadd64_overflow(range->start, size, &range->end)) {
        return KSM_GUEST_BAD_ENTRY;
    }
    if (range->advice >= KSM_ADVICE__MAX) {
        return KSM_GUEST_DECLINED;
    }
    /* Of what is no more, nothing is advised at any time. */
    return range->advice == KSM_ADVICE_NONE ||
           for_each_ram(range->start, range->end, NULL, NULL)
           ? KSM_GUEST_OK : KSM_GUEST_NOT_RAM;
}

static void hint_eagerly(uint8_t *host, size_t size, void *unused)
{
    ksm_hint_range(KSM_HINT_EAGERLY, host, size);
}

/* All that there is from now on. */
static void put_in_force(KsmGuestState *s, const GuestRange *ranges, uint32_t n)
{
    if (n) {
        memcpy(s->ranges, ranges, n * sizeof(ranges[0]));
    }
    s->n_ranges = n;
    s->accepted++;
    s->pending = true;
    advise(s);
}

static uint32_t do_set(KsmGuestState *s)
{
    g_autoptr(GArray) ranges = NULL;
    g_autofree GuestRange *wanted = NULL;

    if (!ksm_guest_may_advise()) {
        return KSM_GUEST_DECLINED;
    }
    if (!s->count || s->count > ENTRIES_MAX) {
        return KSM_GUEST_BAD_COUNT;
    }
    if (is_pending(s)) {
        return KSM_GUEST_BUSY;
    }
    wanted = g_new(GuestRange, s->count);
    ranges = g_array_new(false, false, sizeof(GuestRange));
    g_array_append_vals(ranges, s->ranges, s->n_ranges);
    for (s->entry = 0; s->entry < s->count; s->entry++) {
        uint32_t result = read_entry(s, s->entry, &wanted[s->entry]);

        if (result != KSM_GUEST_OK) {
            return result;
        }
        set(ranges, wanted[s->entry]);
    }
    if (ranges->len > s->max_ranges) {
        return KSM_GUEST_TOO_MANY;
    }
    put_in_force(s, (GuestRange *)ranges->data, ranges->len);
    for (uint32_t i = 0; i < s->count; i++) {
        if (wanted[i].advice == KSM_ADVICE_EAGERLY) {
            for_each_ram(wanted[i].start, wanted[i].end, hint_eagerly, NULL);
        }
    }
    return KSM_GUEST_OK;
}

static uint32_t do_release(KsmGuestState *s)
{
    if (s->count) {
        return KSM_GUEST_BAD_COUNT;
    }
    put_in_force(s, NULL, 0);
    return KSM_GUEST_OK;
}

static void run_command(KsmGuestState *s, uint32_t command)
{
    s->entry = s->count;
    if (!s->ranges) {
        s->result = KSM_GUEST_DECLINED;
        return;
    }
    switch (command) {
    case KSM_GUEST_SET:
        s->result = do_set(s);
        break;
    case KSM_GUEST_RELEASE:
        s->result = do_release(s);
        break;
    default:
        s->result = KSM_GUEST_BAD_COMMAND;
        break;
    }
}

/*
 * Registers
 */
static uint32_t features(const KsmGuestState *s)
{
    if (!ksm_guest_may_advise()) {
        return 0;
    }
    return (1u << KSM_ADVICE__MAX) - 1 +
           (s->tell_saved ? KSM_GUEST_FEATURE_SAVED : 0);
}

static uint64_t saved(KsmGuestState *s)
{
    const int64_t now_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    if (!(features(s) & KSM_GUEST_FEATURE_SAVED)) {
        return 0;
    }
    if (now_ns >= s->saved_until_ns) {
        s->saved = QEMU_ALIGN_DOWN(ksm_guest_saved(), SAVED_UNIT);
        s->saved_until_ns = now_ns + SAVED_NS;
    }
    return s->saved;
}

static uint64_t bar_read(void *opaque, hwaddr at, unsigned size)
{
    KsmGuestState *s = opaque;
    uint64_t value;

    if (at >= KSM_GUEST_BUFFER) {
        return s->buffer[(at - KSM_GUEST_BUFFER) / 4];
    }
    switch (at) {
    case KSM_GUEST_MAGIC:
        return KSM_GUEST_MAGIC_VALUE;
    case KSM_GUEST_VERSION:
        return KSM_GUEST_VERSION_VALUE;
    case KSM_GUEST_FEATURES:
        return features(s);
    case KSM_GUEST_PAGE_SIZE:
        return qemu_real_host_page_size();
    case KSM_GUEST_ENTRIES_MAX:
        return ENTRIES_MAX;
    case KSM_GUEST_RANGES_MAX:
        return s->max_ranges;
    case KSM_GUEST_RANGES:
        return s->n_ranges;
    case KSM_GUEST_COUNT:
        return s->count;
    case KSM_GUEST_RESULT:
        return s->result;
    case KSM_GUEST_ENTRY:
        return s->entry;
    case KSM_GUEST_ACCEPTED:
        return s->accepted;
    case KSM_GUEST_DONE:
        return s->accepted - is_pending(s);
    case KSM_GUEST_SAVED:
        value = saved(s);
        s->saved_high = value >> 32;
        return (uint32_t)value;
    case KSM_GUEST_SAVED + 4:
        return s->saved_high;
    default:
        return 0;
    }
}

static void bar_write(void *opaque, hwaddr at, uint64_t value, unsigned size)
{
    KsmGuestState *s = opaque;

    if (at >= KSM_GUEST_BUFFER) {
        s->buffer[(at - KSM_GUEST_BUFFER) / 4] = value;
        return;
    }
    switch (at) {
    case KSM_GUEST_COUNT:
        s->count = value;
        break;
    case KSM_GUEST_COMMAND:
        run_command(s, value);
        break;
    }
}

static const MemoryRegionOps bar_ops = {
    .read = bar_read,
    .write = bar_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 4, .max_access_size = 4 },
    .impl = { .min_access_size = 4, .max_access_size = 4 },
};

/*
 * Life
 */
static void ksm_guest_reset(Object *obj, ResetType type)
{
    KsmGuestState *s = KSM_GUEST(obj);
    uint32_t kept = 0;

    if (type == RESET_TYPE_WAKEUP) {
        /* The guest has slept, and goes on. */
        return;
    }
    /* What memory holds outlives this, and so do secrets. */
    for (uint32_t i = 0; i < s->n_ranges; i++) {
        if (s->ranges[i].advice == KSM_ADVICE_NEVER) {
            s->ranges[kept++] = s->ranges[i];
        }
    }
    s->n_ranges = kept;
    advise(s);
    memset(s->buffer, 0, sizeof(s->buffer));
    s->count = s->result = s->entry = s->accepted = 0;
    s->pending = false;
}

static void ksm_guest_realize(PCIDevice *pci, Error **errp)
{
    KsmGuestState *s = KSM_GUEST(pci);
    bool ambiguous = false;

    object_resolve_path_type("", TYPE_KSM_GUEST, &ambiguous);
    if (ambiguous) {
        error_setg(errp, "ksm-guest: there is one already: remove it first");
        return;
    }
    if (!s->max_ranges || s->max_ranges > RANGES_MAX) {
        error_setg(errp, "ksm-guest: max-ranges=%" PRIu32 ": must be 1 to %d",
                   s->max_ranges, RANGES_MAX);
        return;
    }
    memory_region_init_io(&s->bar, OBJECT(s), &bar_ops, s, "ksm-guest",
                          KSM_GUEST_BAR_SIZE);
    if (pci_bus_is_express(pci_get_bus(pci)) &&
        pcie_endpoint_cap_init(pci, 0) < 0) {
        error_setg(errp, "ksm-guest: no room for the PCIe capability");
        return;
    }
    pci_register_bar(pci, KSM_GUEST_BAR, PCI_BASE_ADDRESS_SPACE_MEMORY,
                     &s->bar);
    s->ranges = g_new0(GuestRange, s->max_ranges);
    s->listener = (MemoryListener) {
        .name = "ksm-guest",
        .region_add = memory_changes,
        .region_del = memory_changes,
        .commit = memory_changed,
    };
    memory_listener_register(&s->listener, &address_space_memory);
}

static void ksm_guest_exit(PCIDevice *pci)
{
    KsmGuestState *s = KSM_GUEST(pci);

    memory_listener_unregister(&s->listener);
    ksm_guest_advise(NULL, 0);
    /* Another vCPU may be on its way to a register, and get there later. */
    s->n_ranges = 0;
    g_clear_pointer(&s->ranges, g_free);
}

static void ksm_guest_init(Object *obj)
{
    /* Its configuration space is large enough wherever it is plugged in. */
    PCI_DEVICE(obj)->cap_present |= QEMU_PCI_CAP_EXPRESS;
}

/*
 * Migration
 */
static bool fits(void *opaque, int version)
{
    KsmGuestState *s = opaque;
    const bool ok = s->n_ranges <= s->max_ranges;

    /* QEMU may go on after that, without what it was to load. */
    s->n_ranges = ok ? s->n_ranges : 0;
    return ok;
}

static int ksm_guest_post_load(void *opaque, int version)
{
    KsmGuestState *s = opaque;
    const uint64_t page_size = qemu_real_host_page_size();
    uint64_t end = 0;

    for (uint32_t i = 0; i < s->n_ranges; i++) {
        const GuestRange *range = &s->ranges[i];

        if (range->start < end || range->end <= range->start ||
            !QEMU_IS_ALIGNED(range->start | range->end, page_size) ||
            (range->advice != KSM_ADVICE_NEVER &&
             range->advice != KSM_ADVICE_VOLATILE)) {
            s->n_ranges = 0;
            return -EINVAL;
        }
        end = range->end;
    }
    s->pending = true;
    advise(s);
    return 0;
}

static const VMStateDescription vmstate_range = {
    .name = "ksm-guest/range",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(start, GuestRange),
        VMSTATE_UINT64(end, GuestRange),
        VMSTATE_UINT32(advice, GuestRange),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription vmstate_ksm_guest = {
    .name = TYPE_KSM_GUEST,
    .version_id = 1,
    .minimum_version_id = 1,
    .post_load = ksm_guest_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, KsmGuestState),
        VMSTATE_UINT32(n_ranges, KsmGuestState),
        VMSTATE_VALIDATE("no more than max-ranges", fits),
        VMSTATE_STRUCT_VARRAY_POINTER_UINT32(ranges, KsmGuestState, n_ranges,
                                             vmstate_range, GuestRange),
        VMSTATE_UINT32_ARRAY(buffer, KsmGuestState, KSM_GUEST_BUFFER_SIZE / 4),
        VMSTATE_UINT32(count, KsmGuestState),
        VMSTATE_UINT32(result, KsmGuestState),
        VMSTATE_UINT32(entry, KsmGuestState),
        VMSTATE_UINT32(accepted, KsmGuestState),
        VMSTATE_END_OF_LIST()
    },
};

static const Property ksm_guest_properties[] = {
    DEFINE_PROP_UINT32("max-ranges", KsmGuestState, max_ranges,
                       RANGES_DEFAULT),
    DEFINE_PROP_BOOL("saved", KsmGuestState, tell_saved, true),
};

static void ksm_guest_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(oc);

    dc->desc = "Guest's advice on memory merging";
    dc->vmsd = &vmstate_ksm_guest;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_props(dc, ksm_guest_properties);
    RESETTABLE_CLASS(oc)->phases.hold = ksm_guest_reset;
    pc->realize = ksm_guest_realize;
    pc->exit = ksm_guest_exit;
    pc->vendor_id = KSM_GUEST_VENDOR_ID;
    pc->device_id = KSM_GUEST_DEVICE_ID;
    pc->revision = KSM_GUEST_VERSION_VALUE;
    pc->class_id = PCI_CLASS_SYSTEM_OTHER;
}

static const TypeInfo ksm_guest_info = {
    .name = TYPE_KSM_GUEST,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(KsmGuestState),
    .instance_init = ksm_guest_init,
    .class_init = ksm_guest_class_init,
    .interfaces = (InterfaceInfo[]) {
        { INTERFACE_PCIE_DEVICE },
        { INTERFACE_CONVENTIONAL_PCI_DEVICE },
        { }
    },
};

static void ksm_guest_register(void)
{
    type_register_static(&ksm_guest_info);
}

type_init(ksm_guest_register)
