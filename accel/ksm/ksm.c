/*
 * The ksm object: properties, and the life of the engine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qapi/qapi-visit-ksm.h"
#include "qapi/visitor.h"
#include "qemu/lockable.h"
#include "qemu/madvise.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qom/object_interfaces.h"
#include "system/ksm.h"
#include "advice.h"
#include "guest.h"
#include "hints.h"
#include "ksm.h"
#include "ram.h"

/* Set while a ksm object exists; for other threads, with @object_lock. */
static KsmObject *the_object;
static QemuMutex object_lock;
static bool snapshot;           /* one has begun; with @object_lock, too */

KsmObject *ksm_object_get(void)
{
    return the_object;
}

int ksm_ram_madvise(void *host, size_t size, bool merge)
{
    if (the_object) {
        /* New RAM is not known yet: ram_block_added asks for its merge=. */
        ksm_ram_set_merge(&the_object->engine, host, merge);
        if (merge) {
            return 0;
        }
    }
    if (merge && ksm_guest_has_never(host, size)) {
        /* A mark around that would need mappings of its own. */
        return 0;
    }
    return qemu_madvise(host, size, merge ? QEMU_MADV_MERGEABLE
                                          : QEMU_MADV_UNMERGEABLE);
}

void ksm_tracker_yield(void)
{
    QEMU_LOCK_GUARD(&object_lock);
    if (the_object) {
        ksm_engine_yield(&the_object->engine);
    }
}

void ksm_tracker_resume(void)
{
    QEMU_LOCK_GUARD(&object_lock);
    if (the_object) {
        ksm_engine_resume(&the_object->engine);
    }
}

/* A snapshot waits for memory so long. */
#define SNAPSHOT_PATIENCE_NS    (10 * NANOSECONDS_PER_SECOND)
#define SNAPSHOT_POLL_US        10000

/* False: it is ready, or nobody is there. */
static bool snapshot_must_wait(bool *memory_low)
{
    bool done;

    QEMU_LOCK_GUARD(&object_lock);
    if (!the_object) {
        return false;
    }
    ksm_engine_snapshot_ready(&the_object->engine, &done, memory_low);
    return !done;
}

void ksm_snapshot_begin(void)
{
    int64_t begin_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    bool memory_low;

    WITH_QEMU_LOCK_GUARD(&object_lock) {
        snapshot = true;
        if (the_object) {
            ksm_engine_begin_snapshot(&the_object->engine);
        }
    }
    /* The object may go meanwhile: hold no lock. */
    while (snapshot_must_wait(&memory_low)) {
        int64_t now_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

        if (!memory_low) {
            begin_ns = now_ns;
        } else if (now_ns - begin_ns > SNAPSHOT_PATIENCE_NS) {
            return;
        }
        g_usleep(SNAPSHOT_POLL_US);
    }
}

bool ksm_snapshot_ready(void)
{
    bool done, memory_low;

    QEMU_LOCK_GUARD(&object_lock);
    if (!the_object) {
        return true;
    }
    if (!ksm_engine_snapshot_ready(&the_object->engine, &done, &memory_low)) {
        error_report("ksm: the kernel refused to give merged pages back, which"
                     " a background snapshot needs: see ksm_* trace events");
        return false;
    }
    if (!done) {
        error_report("ksm: a background snapshot needs merged pages to be"
                     " given back, and too little host memory is free for"
                     " that: free some");
    }
    return done;
}

void ksm_snapshot_end(void)
{
    QEMU_LOCK_GUARD(&object_lock);
    snapshot = false;
    if (the_object) {
        ksm_engine_end_snapshot(&the_object->engine);
    }
}

/*
 * Numeric parameters: one table says their place, width and range.
 */
typedef struct KsmNumber {
    const char *name;
    size_t offset;          /* in KsmParameters */
    bool wide;              /* uint64_t, not uint32_t */
    uint64_t min, max;
    const char *description;
} KsmNumber;

static const KsmNumber numbers[] = {
    { "max-cpu-percent", offsetof(KsmParameters, max_cpu_percent), false,
      1, 100, "Most of one host CPU that the engine may use" },
    { "sleep-millisecs", offsetof(KsmParameters, sleep_millisecs), false,
      10, 3600000, "Pause between two passes" },
    { "pages-to-scan", offsetof(KsmParameters, pages_to_scan), true,
      0, INT64_MAX, "Most pages hashed between two pauses, 0: no limit" },
    { "stable-passes", offsetof(KsmParameters, stable_passes), false,
      1, KSM_PAGE_AGE_MAX, "Passes unwritten until a page is submitted" },
    { "huge-split-threshold", offsetof(KsmParameters, huge_split_threshold),
      false, 1, KSM_REGION_MAX_PAGES,
      "Pages with a twin for which a huge page is split" },
};

static void ksm_get_number(Object *obj, Visitor *v, const char *name,
                           void *opaque, Error **errp)
{
    const KsmNumber *number = opaque;
    void *field = (char *)&KSM(obj)->engine.parameters + number->offset;
    uint64_t value = number->wide ? *(uint64_t *)field : *(uint32_t *)field;

    visit_type_uint64(v, name, &value, errp);
}

/* Change a parameter, while the engine may run. */
static void lock_engine(KsmObject *ksm)
{
    if (ksm->running) {
        qemu_mutex_lock(&ksm->engine.lock);
    }
}

static void unlock_engine(KsmObject *ksm)
{
    if (ksm->running) {
        ksm->engine.next_pass_ns = 0;
        qemu_mutex_unlock(&ksm->engine.lock);
        ksm_engine_kick(&ksm->engine);
    }
}

static void ksm_set_number(Object *obj, Visitor *v, const char *name,
                           void *opaque, Error **errp)
{
    const KsmNumber *number = opaque;
    KsmObject *ksm = KSM(obj);
    void *field = (char *)&ksm->engine.parameters + number->offset;
    uint64_t value;

    if (!visit_type_uint64(v, name, &value, errp)) {
        return;
    }
    if (value < number->min || value > number->max) {
        error_setg(errp, "ksm: %s=%" PRIu64 ": must be %" PRIu64 " to %" PRIu64,
                   number->name, value, number->min, number->max);
        return;
    }
    lock_engine(ksm);
    if (number->wide) {
        *(uint64_t *)field = value;
    } else {
        *(uint32_t *)field = value;
    }
    unlock_engine(ksm);
}

static bool ksm_get_run(Object *obj, Error **errp)
{
    return KSM(obj)->engine.parameters.run;
}

static void ksm_set_run(Object *obj, bool value, Error **errp)
{
    KsmObject *ksm = KSM(obj);

    lock_engine(ksm);
    ksm->engine.parameters.run = value;
    if (value) {
        ksm->engine.unmerging &= ~KSM_UNMERGE_USER;
    }
    unlock_engine(ksm);
}

static int ksm_get_hints(Object *obj, Error **errp)
{
    return KSM(obj)->engine.parameters.hints;
}

static void ksm_set_hints(Object *obj, int value, Error **errp)
{
    KsmObject *ksm = KSM(obj);

    lock_engine(ksm);
    ksm->engine.parameters.hints = value;
    if (ksm->running) {
        ksm_hints_apply(&ksm->engine);
    }
    unlock_engine(ksm);
}

static bool ksm_get_guest_hints(Object *obj, Error **errp)
{
    return KSM(obj)->engine.parameters.guest_hints;
}

static void ksm_set_guest_hints(Object *obj, bool value, Error **errp)
{
    KsmObject *ksm = KSM(obj);

    lock_engine(ksm);
    ksm->engine.parameters.guest_hints = value;
    unlock_engine(ksm);
}

static bool refuse_running(KsmObject *ksm, const char *name, Error **errp)
{
    if (ksm->running) {
        error_setg(errp, "ksm: %s can't be changed: remove the object with"
                   " object-del and add it again", name);
    }
    return ksm->running;
}

static char *ksm_get_iothread(Object *obj, Error **errp)
{
    return g_strdup(KSM(obj)->iothread_id ?: "");
}

static void ksm_set_iothread(Object *obj, const char *value, Error **errp)
{
    KsmObject *ksm = KSM(obj);

    if (!refuse_running(ksm, "iothread", errp)) {
        g_free(ksm->iothread_id);
        ksm->iothread_id = g_strdup(value);
    }
}

static int ksm_get_backend(Object *obj, Error **errp)
{
    return KSM(obj)->engine.parameters.backend;
}

static void ksm_set_backend(Object *obj, int value, Error **errp)
{
    KsmObject *ksm = KSM(obj);

    if (!refuse_running(ksm, "backend", errp)) {
        ksm->engine.parameters.backend = value;
    }
}

static void ksm_get_rendezvous(Object *obj, Visitor *v, const char *name,
                               void *opaque, Error **errp)
{
    visit_type_SocketAddress(v, name,
                             &KSM(obj)->engine.twins.rendezvous.address, errp);
}

static void ksm_set_rendezvous(Object *obj, Visitor *v, const char *name,
                               void *opaque, Error **errp)
{
    KsmObject *ksm = KSM(obj);
    SocketAddress *address;

    if (refuse_running(ksm, "rendezvous", errp) ||
        !visit_type_SocketAddress(v, name, &address, errp)) {
        return;
    }
    qapi_free_SocketAddress(ksm->rendezvous);
    ksm->rendezvous = address;
}

static void ksm_complete(UserCreatable *uc, Error **errp)
{
    KsmObject *ksm = KSM(uc);
    const char *id = object_get_canonical_path_component(OBJECT(uc));
    const KsmAdvisedRange *advised;
    size_t n_advised;

    if (the_object) {
        error_setg(errp, "ksm: there is a ksm object, '%s': one serves all"
                   " memory; remove it first with object-del",
                   the_object->engine.id);
        return;
    }
    if (ksm->iothread_id) {
        ksm->iothread = iothread_by_id(ksm->iothread_id);
        if (!ksm->iothread) {
            error_setg(errp, "ksm: iothread '%s' does not exist: create it"
                       " first with -object iothread,id=%s", ksm->iothread_id,
                       ksm->iothread_id);
            return;
        }
        object_ref(OBJECT(ksm->iothread));
    } else {
        g_autofree char *name = g_strdup_printf("%s-ksm", id);

        ksm->iothread = iothread_create(name, errp);
        if (!ksm->iothread) {
            return;
        }
    }
    advised = ksm_guest_advised(&n_advised);
    if (!ksm_engine_start(&ksm->engine, id,
                          iothread_get_aio_context(ksm->iothread),
                          !ksm->iothread_id, ksm->rendezvous, advised,
                          n_advised, errp)) {
        return;
    }
    ksm->running = true;
    WITH_QEMU_LOCK_GUARD(&object_lock) {
        the_object = ksm;
        if (snapshot) {
            ksm_engine_begin_snapshot(&ksm->engine);
        }
    }
    ksm_guest_hand_over();
}

static void ksm_instance_init(Object *obj)
{
    KSM(obj)->engine.parameters = (KsmParameters) {
        .backend = KSM_BACKEND_TYPE_AUTO,
        .run = true,
        .max_cpu_percent = 10,
        .sleep_millisecs = 500,
        .stable_passes = 1,
        .huge_split_threshold = 32,
        .hints = KSM_HINTS_IO,
        .guest_hints = true,
    };
}

static void ksm_instance_finalize(Object *obj)
{
    KsmObject *ksm = KSM(obj);
    bool advice_is_done;

    if (ksm->running) {
        WITH_QEMU_LOCK_GUARD(&object_lock) {
            the_object = NULL;
        }
        advice_is_done = ksm_advice_is_done(&ksm->engine);
        ksm_engine_stop(&ksm->engine);
        ksm->running = false;
        if (!advice_is_done) {
            ksm_guest_keep_apart();
        }
    }
    if (ksm->iothread && ksm->iothread_id) {
        object_unref(OBJECT(ksm->iothread));
    } else if (ksm->iothread) {
        iothread_destroy(ksm->iothread);
    }
    qapi_free_SocketAddress(ksm->rendezvous);
    g_free(ksm->iothread_id);
}

static void ksm_class_init(ObjectClass *oc, void *data)
{
    USER_CREATABLE_CLASS(oc)->complete = ksm_complete;

    object_class_property_add_str(oc, "iothread", ksm_get_iothread,
                                  ksm_set_iothread);
    object_class_property_set_description(oc, "iothread",
        "The iothread to work in");
    object_class_property_add_enum(oc, "backend", "KsmBackendType",
                                   &KsmBackendType_lookup, ksm_get_backend,
                                   ksm_set_backend);
    object_class_property_set_description(oc, "backend",
        "What merges pages");
    object_class_property_add(oc, "rendezvous", "SocketAddress",
                              ksm_get_rendezvous, ksm_set_rendezvous, NULL,
                              NULL);
    object_class_property_set_description(oc, "rendezvous",
        "Socket of ksmtuned");
    object_class_property_add_enum(oc, "hints", "KsmHints", &KsmHints_lookup,
                                   ksm_get_hints, ksm_set_hints);
    object_class_property_set_description(oc, "hints",
        "Which hints of devices are acted on");
    object_class_property_add_bool(oc, "guest-hints", ksm_get_guest_hints,
                                   ksm_set_guest_hints);
    object_class_property_set_description(oc, "guest-hints",
        "Whether the guest may advise what to merge");
    object_class_property_add_bool(oc, "run", ksm_get_run, ksm_set_run);
    object_class_property_set_description(oc, "run", "Whether passes run");
    for (int i = 0; i < ARRAY_SIZE(numbers); i++) {
        object_class_property_add(oc, numbers[i].name,
                                  numbers[i].wide ? "uint64" : "uint32",
                                  ksm_get_number, ksm_set_number, NULL,
                                  (void *)&numbers[i]);
        object_class_property_set_description(oc, numbers[i].name,
                                              numbers[i].description);
    }
}

static const TypeInfo ksm_info = {
    .name = TYPE_KSM,
    .parent = TYPE_OBJECT,
    .instance_size = sizeof(KsmObject),
    .instance_init = ksm_instance_init,
    .instance_finalize = ksm_instance_finalize,
    .class_init = ksm_class_init,
    .interfaces = (InterfaceInfo[]) {
        { TYPE_USER_CREATABLE },
        { }
    },
};

static void ksm_register_types(void)
{
    qemu_mutex_init(&object_lock);
    type_register_static(&ksm_info);
}

type_init(ksm_register_types)
