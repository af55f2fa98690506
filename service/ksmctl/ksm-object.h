/*
 * QEMU's option for a ksm object: ksm,id=ksm0,NAME=VALUE...
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_KSM_OBJECT_H
#define KSMCTL_KSM_OBJECT_H

#include <glib.h>
#include <stdbool.h>

typedef struct KsmctlObject KsmctlObject;

/* One with no property but its id, ksm0. */
KsmctlObject *ksmctl_object_new(void);
/* What @option, of -object, says.  NULL: of another object, or in JSON. */
KsmctlObject *ksmctl_object_parse(const char *option);
void ksmctl_object_free(KsmctlObject *object);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KsmctlObject, ksmctl_object_free)

/* Is @option one of a ksm object, in JSON? */
bool ksmctl_object_is_json(const char *option);

/*
 * Do as @argument says: NAME=VALUE, or NAME= for QEMU's default.  False: the
 * object takes no such thing; which, and what it takes, is in @error.
 */
bool ksmctl_object_set(KsmctlObject *object, const char *argument,
                       GError **error);
/* False: what was set doesn't fit together. */
bool ksmctl_object_check(const KsmctlObject *object, GError **error);

/* The caller frees it. */
char *ksmctl_object_format(const KsmctlObject *object);

#endif
