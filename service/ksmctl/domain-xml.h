/*
 * libvirt's XML of a guest, as far as a ksm object is concerned
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSMCTL_DOMAIN_XML_H
#define KSMCTL_DOMAIN_XML_H

#include <glib.h>
#include <stdbool.h>

typedef struct KsmctlDomainXml KsmctlDomainXml;

/* NULL: @text is not the XML of a domain; @error says where it goes wrong. */
KsmctlDomainXml *ksmctl_domain_xml_parse(const char *text, GError **error);
void ksmctl_domain_xml_free(KsmctlDomainXml *xml);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KsmctlDomainXml, ksmctl_domain_xml_free)

/*
 * Have it one ksm object, with @properties, a list of NAME=VALUE that ends
 * with NULL, beside those that it has.  Where there are several, QEMU would
 * refuse them: the first one stays.
 */
bool ksmctl_domain_xml_set_object(KsmctlDomainXml *xml, char **properties,
                                  GError **error);
/* Have it none. */
void ksmctl_domain_xml_remove_object(KsmctlDomainXml *xml);
void ksmctl_domain_xml_set_emulator(KsmctlDomainXml *xml, const char *path);

/* All of it; what was not asked for is as it was.  The caller frees it. */
char *ksmctl_domain_xml_format(const KsmctlDomainXml *xml);

#endif
