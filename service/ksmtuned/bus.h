/*
 * ksmtuned on the system's D-Bus
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMTUNED_BUS_H
#define KSMTUNED_BUS_H

typedef struct KsmtunedBus KsmtunedBus;

typedef struct KsmtunedBusMethods {
    void (*retune)(void *opaque);
    /* One line of JSON; the caller frees it. */
    char *(*statistics)(void *opaque);
} KsmtunedBusMethods;

/*
 * Serve @methods as soon as there is a bus.  Without one nothing is lost: what
 * is offered there can be had by a signal and a file, too.
 */
KsmtunedBus *ksmtuned_bus_new(const KsmtunedBusMethods *methods, void *opaque);
/* NULL is nothing. */
void ksmtuned_bus_free(KsmtunedBus *bus);

#endif
