/*
 * The ksm object
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef ACCEL_KSM_KSM_H
#define ACCEL_KSM_KSM_H

#include "qom/object.h"
#include "system/iothread.h"
#include "engine.h"

#define TYPE_KSM "ksm"
OBJECT_DECLARE_SIMPLE_TYPE(KsmObject, KSM)

struct KsmObject {
    Object parent_obj;

    char *iothread_id;              /* as given; NULL: one of its own */
    SocketAddress *rendezvous;      /* as given; NULL: the default */
    IOThread *iothread;             /* set while the engine runs */
    KsmEngine engine;
    bool running;                   /* the engine was started */
};

/* The ksm object, or NULL; changed with the BQL and ksm_object_lock held. */
KsmObject *ksm_object_get(void);

#endif
