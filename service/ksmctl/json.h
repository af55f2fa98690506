/*
 * JSON, written piece by piece
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_JSON_H
#define KSMCTL_JSON_H

#include <stdbool.h>

#include "host/sysfs.h"

typedef struct KsmctlJson {
    GString *text;              /* ASCII, on one line */
    bool comma;                 /* before what comes next */
} KsmctlJson;

void ksmctl_json_init(KsmctlJson *json);
void ksmctl_json_clear(KsmctlJson *json);

/* @name: NULL in an array.  @bracket: '{' or '['. */
void ksmctl_json_open(KsmctlJson *json, const char *name, char bracket);
void ksmctl_json_close(KsmctlJson *json, char bracket);
/* What is no UTF-8 in @value becomes U+FFFD. */
void ksmctl_json_string(KsmctlJson *json, const char *name,
                        const char *value);
void ksmctl_json_boolean(KsmctlJson *json, const char *name, bool value);
void ksmctl_json_decimal(KsmctlJson *json, const char *name, double value);
/* Nothing if it is not known. */
void ksmctl_json_figure(KsmctlJson *json, const char *name, KsmFigure figure);

#endif
