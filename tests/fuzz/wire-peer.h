/*
 * One end of a connection between engine and ksmtuned, played by fuzzing
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_FUZZ_WIRE_PEER_H
#define KSM_FUZZ_WIRE_PEER_H

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

#include "ksm-wire.h"

/* What is still to be done. */
typedef struct FuzzInput {
    const uint8_t *data;
    size_t size;
} FuzzInput;

/* 0 at the end. */
uint8_t fuzz_input_byte(FuzzInput *input);

typedef struct FuzzPeer {
    int fd;                     /* a nonblocking socket; -1: closed */
    GByteArray *told;           /* by the other end, not yet a whole frame */
} FuzzPeer;

/* Connects @peer; returns the other end. */
int fuzz_peer_connect(FuzzPeer *peer);
void fuzz_peer_close(FuzzPeer *peer);
/* Closes it, too. */
void fuzz_peer_clear(FuzzPeer *peer);

/* What doesn't fit is lost, as with one that ends in mid-frame. */
void fuzz_peer_frame(const FuzzPeer *peer, KsmFrameType type,
                     const void *payload, size_t length);
/* A descriptor, along with a byte. */
void fuzz_peer_descriptor(const FuzzPeer *peer);

/* Input: two bytes, how many more; those, as they are. */
void fuzz_peer_send_input(const FuzzPeer *peer, FuzzInput *input);
/* Input: a byte, the type of a frame; two, how long it is; that. */
void fuzz_peer_frame_input(const FuzzPeer *peer, FuzzInput *input);
/*
 * Input, in bytes: first digest, first page, how many.  Of them each @every
 * has a twin; 0: none.
 */
void fuzz_peer_entries_input(const FuzzPeer *peer, KsmFrameType type,
                             unsigned every, FuzzInput *input);

/*
 * Reads all that there is.  Good frames of the side @from have to come, for
 * which @check is called.
 */
void fuzz_peer_read(FuzzPeer *peer, KsmWireSide from,
                    void (*check)(const KsmFrameHeader *header, void *opaque),
                    void *opaque);

#endif
