/*
 * A writer of the torture, and what it does
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each page of the common files has one writer, and each writer a tail, a file
 * of its own.
 */
#ifndef KSMFS_WRITER_H
#define KSMFS_WRITER_H

#include <stdatomic.h>
#include <sys/types.h>

#include "ksmfs-client.h"

#define FILES 3
#define PAGES 128
#define TAIL_PAGES 48
#define PROCESSES 3
#define THREADS 2
#define WRITERS (PROCESSES * THREADS)
#define VALUES 4
#define DEVICE_PAGES 64

typedef struct {
    _Atomic bool stop;
    _Atomic int ready;
    _Atomic int finished;
    pid_t pids[PROCESSES];
    _Atomic uint64_t operations[32];
} Common;

typedef struct Writer Writer;

/* Only on pages of the writer, of which it is given one. */
typedef struct {
    const char *name;
    unsigned int weight;
    void (*run)(Writer *writer, int file, int page);
} Operation;

/* What all have in common; the same in all processes, but for one mapping. */
typedef struct {
    const char *directory;
    const char *device;         /* for direct I/O; or NULL */
    uint64_t operations_wanted;
    uint64_t seed;
    useconds_t pause_us;
    Common *common;
    uint64_t *patterns[VALUES]; /* a page of each value; the first is zeros */
    int fds[FILES];
    /* The same address in all processes, and one of its own. */
    char *maps[2][FILES];
} Torture;

extern Torture torture;
extern Operation operations[];
extern const unsigned int n_operations;

/* What a page of the device has; neighbours have different ones. */
uint8_t device_value(int page);
void tail_name(int id, char name[16]);
/* The threads of one of PROCESSES: returns when all that is wanted is done. */
void run_writers(int process);

#endif
