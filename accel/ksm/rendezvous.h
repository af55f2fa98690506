/*
 * The engine's connection to ksmtuned
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Frames are those of subprojects/libksm/ksm-wire.h.  Nothing here blocks: the
 * engine calls ksm_rendezvous_run() from its slices, and the connection asks
 * for one by KsmRendezvousEvents.wake when its socket is ready or it is time
 * to connect again.  All functions need the engine's lock.
 */
#ifndef ACCEL_KSM_RENDEZVOUS_H
#define ACCEL_KSM_RENDEZVOUS_H

#include "block/aio.h"
#include "io/channel.h"
#include "ksm-wire.h"
#include "qapi/qapi-types-sockets.h"

typedef struct KsmRendezvousEvents {
    /* Call ksm_rendezvous_run() soon; from the IOThread, without the lock. */
    void (*wake)(void *opaque);
    /* Digests are made with @seed from now on, and may be published. */
    void (*connected)(void *opaque, const uint8_t seed[KSM_WIRE_SEED_SIZE]);
    /* What was published is forgotten. */
    void (*lost)(void *opaque, const char *message);
    void (*answer)(void *opaque, uint32_t page, uint64_t digest, bool twin);
    void (*budget)(void *opaque, const KsmFrameBudget *budget);
} KsmRendezvousEvents;

typedef struct KsmRendezvous {
    AioContext *ctx;
    SocketAddress *address;
    int fd;                 /* for type=fd: until it is connected */
    const KsmRendezvousEvents *events;
    void *opaque;

    QIOChannel *channel;    /* NULL: not connected */
    bool ready;             /* WELCOME was received, */
    uint64_t features;      /* with these features of ksmtuned */
    bool watching;          /* IOThread only, as is watching_write */
    bool watching_write;
    int64_t retry_at_ns;    /* QEMU_CLOCK_REALTIME; INT64_MAX: never */
    int64_t retry_delay_ns;
    GByteArray *out;        /* complete frames not yet sent */
    int64_t sent_ns;        /* when the peer last took some, or had all */
    size_t out_sent;        /* bytes of @out that are */
    size_t open_frame;      /* offset in @out of a frame that may grow + 1 */
    uint8_t *in;            /* [header + KSM_WIRE_MAX_PAYLOAD] */
    size_t in_used;
    char *message;          /* why it is not connected; NULL if it is */
} KsmRendezvous;

/*
 * Takes a copy of @address (types unix and fd); NULL is the default path.
 * BQL.
 */
bool ksm_rendezvous_init(KsmRendezvous *r, AioContext *ctx,
                         const SocketAddress *address,
                         const KsmRendezvousEvents *events, void *opaque,
                         Error **errp);
/* In the IOThread, or when it can't run any more. */
void ksm_rendezvous_cleanup(KsmRendezvous *r);

/*
 * Connect if it is time to, read and write what the socket takes.  Returns
 * true if there is more to do now.
 */
bool ksm_rendezvous_run(KsmRendezvous *r);
/* More has been published than the peer takes: publish no more for now. */
bool ksm_rendezvous_is_congested(const KsmRendezvous *r);

/* Queue; sent by the next run. */
void ksm_rendezvous_publish(KsmRendezvous *r, uint32_t page, uint64_t digest);
void ksm_rendezvous_withdraw(KsmRendezvous *r, uint32_t page,
                             uint64_t digest);
void ksm_rendezvous_demand(KsmRendezvous *r, uint64_t marked, uint64_t total);
/* Does ksmtuned take reports? */
bool ksm_rendezvous_wants_reports(const KsmRendezvous *r);
void ksm_rendezvous_report(KsmRendezvous *r, const KsmFrameReport *report);

#endif
