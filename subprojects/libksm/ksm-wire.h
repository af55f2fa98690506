/*
 * Frames between a KSM engine (in QEMU) and ksmtuned
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An engine publishes the digests of its unchanging pages and learns which of
 * them have a twin: a page, of this or of another engine in the same domain,
 * with the same digest.  A twin is only a candidate.  Who merges compares the
 * bytes, so a wrong or forged digest costs time and never data.
 *
 * The transport is a Unix stream socket of one host: all numbers are in host
 * byte order.  Each frame is a header and @length bytes of payload.  The first
 * frame of an engine is HELLO; the daemon answers WELCOME, or REFUSE and
 * closes.  Until WELCOME an engine sends nothing else, because the digests
 * depend on the seed in it.
 *
 * A receiver closes the connection of a peer that sends a frame it can't
 * accept (see KsmWireError); the daemon first sends REFUSE with the reason.  A
 * closed connection withdraws everything that its engine had published.
 *
 * SCM_RIGHTS file descriptors may accompany a frame: @fds tells how many
 * belong to it.  No frame of version 1 carries any.
 */
#ifndef KSM_WIRE_H
#define KSM_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KSM_WIRE_VERSION        1
/* Where ksmtuned listens unless it is told otherwise. */
#define KSM_WIRE_DEFAULT_PATH   "/run/ksmtuned/engine.sock"
/* Longest payload in bytes. */
#define KSM_WIRE_MAX_PAYLOAD    65536u
#define KSM_WIRE_MAX_FDS        8u
#define KSM_WIRE_SEED_SIZE      32u
/* Digests have this many significant bits; the others are 0. */
#define KSM_WIRE_DIGEST_BITS    48

typedef enum KsmFrameType {
    KSM_FRAME_HELLO = 1,        /* engine -> daemon: KsmFrameHello */
    KSM_FRAME_WELCOME = 2,      /* daemon -> engine: KsmFrameWelcome */
    KSM_FRAME_REFUSE = 3,       /* daemon -> engine: UTF-8 text, no NUL */
    KSM_FRAME_PUBLISH = 4,      /* engine -> daemon: KsmFrameEntry[] */
    KSM_FRAME_WITHDRAW = 5,     /* engine -> daemon: KsmFrameEntry[] */
    KSM_FRAME_TWINS = 6,        /* daemon -> engine: KsmFrameEntry[] */
    KSM_FRAME_DEMAND = 7,       /* engine -> daemon: KsmFrameDemand */
    KSM_FRAME_REPORT = 8,       /* engine -> daemon: KsmFrameReport */
    KSM_FRAME_BUDGET = 9,       /* daemon -> engine: KsmFrameBudget */
    KSM_FRAME__MAX
} KsmFrameType;

typedef struct KsmFrameHeader {
    uint16_t type;              /* KsmFrameType */
    uint8_t fds;                /* SCM_RIGHTS descriptors of this frame */
    uint8_t reserved;           /* 0 */
    uint32_t length;            /* payload bytes, <= KSM_WIRE_MAX_PAYLOAD */
} KsmFrameHeader;

typedef struct KsmFrameHello {
    uint32_t version;           /* KSM_WIRE_VERSION */
    uint32_t page_size;         /* bytes */
    uint64_t features;          /* KSM_FEATURE_*, that the engine has */
    char name[48];              /* for the log: guest name, NUL-terminated */
} KsmFrameHello;

/*
 * Features are what a side understands besides what is always there.  The other
 * side makes use of those that it knows, and ignores others: QEMU and ksmtuned
 * are not upgraded at the same time.
 */
#define KSM_FEATURE_REPORT      1u  /* of the daemon: it takes REPORT */
#define KSM_FEATURE_BUDGET      2u  /* of the engine: it takes BUDGET */

typedef struct KsmFrameWelcome {
    uint32_t version;           /* KSM_WIRE_VERSION */
    uint32_t reserved;          /* 0 */
    uint64_t features;          /* KSM_FEATURE_*, that the daemon has */
    /* Makes the digest function of the engine's domain; random, secret. */
    uint8_t seed[KSM_WIRE_SEED_SIZE];
} KsmFrameWelcome;

/* In KsmFrameEntry.flags of a TWINS frame; PUBLISH and WITHDRAW have 0. */
#define KSM_ENTRY_TWIN          1u  /* it has a twin; else its last left */

/*
 * One page with its digest.  PUBLISH adds it, WITHDRAW names exactly what was
 * published.  An engine withdraws a page's old digest before it publishes the
 * new one.  TWINS echoes the digest, so that the engine can ignore an answer
 * about contents that the page no longer has.
 */
typedef struct KsmFrameEntry {
    uint64_t digest;            /* KSM_WIRE_DIGEST_BITS bits */
    uint32_t page;              /* the engine's own number of this page */
    uint32_t flags;             /* KSM_ENTRY_* */
} KsmFrameEntry;

#define KSM_WIRE_MAX_ENTRIES (KSM_WIRE_MAX_PAYLOAD / sizeof(KsmFrameEntry))

/* What the engine wants of ksmd; sent when it changed. */
typedef struct KsmFrameDemand {
    /*
     * Pages that ksmd is needed for since the last DEMAND: marked mergeable, or
     * marked before, and with other contents that have a twin.
     */
    uint64_t marked;
    /* Pages that are marked now, merged or not. */
    uint64_t total;
} KsmFrameDemand;

/* KsmFrameReport.state: KsmState of qapi/ksm.json. */
typedef enum KsmReportState {
    KSM_REPORT_RUNNING,
    KSM_REPORT_IDLE,
    KSM_REPORT_STOPPED,
    KSM_REPORT_YIELDED,
    KSM_REPORT_STATE__MAX
} KsmReportState;

/* KsmFrameReport.backends, those in use. */
#define KSM_REPORT_KSMD         1u
#define KSM_REPORT_KSMFS        2u
#define KSM_REPORT_NULL         4u
#define KSM_REPORT_BACKENDS     7u

#define KSM_REPORT_UNKNOWN      UINT64_MAX

/*
 * What the engine has done so far, for administrators; sent not more often
 * than each few seconds.  Names mean what they mean in query-ksm.
 */
typedef struct KsmFrameReport {
    uint64_t ram_bytes;         /* that may be merged */
    uint64_t full_scans;
    uint64_t pages_hashed;
    uint64_t pages_twins;
    uint64_t pages_zero;
    uint64_t pages_marked;
    uint64_t ksmfs_sharing_pages;   /* or KSM_REPORT_UNKNOWN: none on ksmfs */
    uint64_t cow_breaks;
    uint64_t cpu_ns;
    uint64_t metadata_bytes;
    uint32_t state;             /* KsmReportState */
    uint32_t backends;          /* KSM_REPORT_* */
    /* What keeps it from doing all of its job, with the way out; or empty. */
    char limit[208];            /* NUL-terminated */
} KsmFrameReport;

#define KSM_BUDGET_CPU_MAX      1000u

/* In KsmFrameBudget.flags. */
#define KSM_BUDGET_RELEASE      1u  /* merge nothing, give all merged back */

/*
 * What the engine may use; it holds until the next one or the end of the
 * connection.  Before the first: all that its own properties allow.
 */
typedef struct KsmFrameBudget {
    uint32_t cpu_permille;      /* of one host CPU, 1 to KSM_BUDGET_CPU_MAX */
    uint32_t flags;             /* KSM_BUDGET_* */
} KsmFrameBudget;

typedef enum KsmWireError {
    KSM_WIRE_OK = 0,
    KSM_WIRE_BAD_TYPE,          /* unknown type, or not from this side */
    KSM_WIRE_BAD_LENGTH,        /* too long, or not of the type's shape */
    KSM_WIRE_BAD_RESERVED,      /* a reserved field or unknown flag is set */
    KSM_WIRE_BAD_FDS,           /* descriptors where none belong */
    KSM_WIRE_BAD_VALUE,         /* a field is out of its range */
    KSM_WIRE_BAD_VERSION,       /* HELLO or WELCOME of another version */
} KsmWireError;

/* Who sent a frame. */
typedef enum KsmWireSide {
    KSM_WIRE_FROM_ENGINE,
    KSM_WIRE_FROM_DAEMON,
} KsmWireSide;

/*
 * Check a header before its payload is read, and a payload before it is used.
 * Neither touches anything but its arguments.  @payload has header->length
 * bytes and any alignment.
 */
KsmWireError ksm_wire_check_header(const KsmFrameHeader *header,
                                   KsmWireSide from);
KsmWireError ksm_wire_check_payload(const KsmFrameHeader *header,
                                    const void *payload);

/* A static string for a log line. */
const char *ksm_wire_strerror(KsmWireError error);

#endif
