/*
 * libvirt's XML of a guest, as far as a ksm object is concerned
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * libvirt knows no ksm object.  What it doesn't know is passed to QEMU as it
 * stands in <qemu:commandline>, a word of the command line in each <qemu:arg>.
 */
#include <gio/gio.h>
#include <libxml/parser.h>
#include <libxml/xmlsave.h>
#include <string.h>

#include "domain-xml.h"
#include "ksm-object.h"

#define QEMU_NAMESPACE  "http://libvirt.org/schemas/domain/qemu/1.0"

struct KsmctlDomainXml {
    xmlDocPtr doc;
    xmlNodePtr domain;
    bool declared;              /* it begins with <?xml ...?> */
};

/* Two words of QEMU's command line. */
typedef struct XmlOption {
    xmlNodePtr name;            /* -object */
    xmlNodePtr value;
} XmlOption;

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlChar, xmlFree)

static bool xml_is(xmlNodePtr node, const char *name, const char *namespace)
{
    const char *href = node->ns ? (const char *)node->ns->href : NULL;

    return node->type == XML_ELEMENT_NODE &&
           !strcmp((const char *)node->name, name) &&
           !g_strcmp0(href, namespace);
}

/* The first element like that from @node on, among its siblings. */
static xmlNodePtr xml_next(xmlNodePtr node, const char *name,
                           const char *namespace)
{
    while (node && !xml_is(node, name, namespace)) {
        node = node->next;
    }
    return node;
}

static bool xml_fail(GError **error, const char *what)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "%s", what);
    return false;
}

static bool xml_accept(KsmctlDomainXml *xml, xmlParserCtxtPtr context,
                       GError **error)
{
    const xmlError *fault = xmlCtxtGetLastError(context);

    if (!xml->doc) {
        g_autofree char *said = g_strdup(fault && fault->message ?
                                         fault->message : "nothing is there");

        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "not XML: line %d: %s", fault ? fault->line : 0,
                    g_strchomp(said));
        return false;
    }
    if (xml->doc->intSubset) {
        return xml_fail(error, "it has a DOCTYPE, which libvirt's has not: "
                        "remove that");
    }
    xml->domain = xmlDocGetRootElement(xml->doc);
    if (!xml->domain || !xml_is(xml->domain, "domain", NULL)) {
        return xml_fail(error, "its outermost element is not <domain>: give "
                        "what virsh dumpxml prints");
    }
    return true;
}

KsmctlDomainXml *ksmctl_domain_xml_parse(const char *text, GError **error)
{
    g_autoptr(KsmctlDomainXml) xml = g_new0(KsmctlDomainXml, 1);
    xmlParserCtxtPtr context = xmlNewParserCtxt();
    bool accepted;

    xml->declared = g_str_has_prefix(text, "<?xml");
    xml->doc = xmlCtxtReadMemory(context, text, strlen(text), NULL, NULL,
                                 XML_PARSE_NONET | XML_PARSE_NOERROR |
                                 XML_PARSE_NOWARNING);
    accepted = xml_accept(xml, context, error);
    xmlFreeParserCtxt(context);
    return accepted ? g_steal_pointer(&xml) : NULL;
}

void ksmctl_domain_xml_free(KsmctlDomainXml *xml)
{
    if (xml) {
        xmlFreeDoc(xml->doc);
        g_free(xml);
    }
}

/* The space before @node's line's first element goes with it. */
static void xml_remove(xmlNodePtr node)
{
    xmlNodePtr space = node->prev;

    if (space && xmlIsBlankNode(space)) {
        xmlUnlinkNode(space);
        xmlFreeNode(space);
    }
    xmlUnlinkNode(node);
    xmlFreeNode(node);
}

/* Append @node to @parent, that is @depth deep, on a line of its own. */
static void xml_append(xmlNodePtr parent, xmlNodePtr node, int depth)
{
    g_autofree char *before = g_strdup_printf("\n%*s", 2 * depth + 2, "");
    g_autofree char *after = g_strdup_printf("\n%*s", 2 * depth, "");
    xmlNodePtr last = parent->last;

    if (last && xmlIsBlankNode(last)) {
        xmlUnlinkNode(last);
        xmlFreeNode(last);
    }
    xmlAddChild(parent, xmlNewText(BAD_CAST before));
    xmlAddChild(parent, node);
    xmlAddChild(parent, xmlNewText(BAD_CAST after));
}

/* NULL: it is not -object, or it is the last word. */
static xmlNodePtr xml_value_of_object(xmlNodePtr arg)
{
    g_autoptr(xmlChar) name = xmlGetNoNsProp(arg, BAD_CAST "value");

    return !g_strcmp0((char *)name, "-object") ||
           !g_strcmp0((char *)name, "--object") ?
           xml_next(arg->next, "arg", QEMU_NAMESPACE) : NULL;
}

static bool xml_is_of_ksm(xmlNodePtr arg)
{
    g_autoptr(xmlChar) text = xmlGetNoNsProp(arg, BAD_CAST "value");
    g_autoptr(KsmctlObject) object =
        text ? ksmctl_object_parse((char *)text) : NULL;

    return object || (text && ksmctl_object_is_json((char *)text));
}

static xmlNodePtr xml_commandline(const KsmctlDomainXml *xml)
{
    return xml_next(xml->domain->children, "commandline", QEMU_NAMESPACE);
}

/* All -object of a ksm object, in @options; the caller frees it. */
static GArray *xml_find_objects(const KsmctlDomainXml *xml)
{
    GArray *options = g_array_new(FALSE, FALSE, sizeof(XmlOption));
    xmlNodePtr commandline = xml_commandline(xml);
    xmlNodePtr arg = commandline ? xml_next(commandline->children, "arg",
                                            QEMU_NAMESPACE) : NULL;

    while (arg) {
        XmlOption option = { arg, xml_value_of_object(arg) };

        if (option.value && xml_is_of_ksm(option.value)) {
            g_array_append_val(options, option);
        }
        arg = xml_next((option.value ? option.value : arg)->next, "arg",
                       QEMU_NAMESPACE);
    }
    return options;
}

static void xml_remove_objects(GArray *options, guint first)
{
    guint i;

    for (i = first; i < options->len; i++) {
        XmlOption *option = &g_array_index(options, XmlOption, i);

        xml_remove(option->name);
        xml_remove(option->value);
    }
}

/* Declared at the domain, as libvirt wants it, under a prefix that is free. */
static xmlNsPtr xml_namespace(KsmctlDomainXml *xml)
{
    const xmlChar *href = BAD_CAST QEMU_NAMESPACE;
    xmlNsPtr namespace;
    int i;

    for (namespace = xml->domain->nsDef; namespace;
         namespace = namespace->next) {
        if (namespace->prefix && xmlStrEqual(namespace->href, href)) {
            return namespace;
        }
    }
    namespace = xmlNewNs(xml->domain, href, BAD_CAST "qemu");
    for (i = 1; !namespace; i++) {
        g_autofree char *prefix = g_strdup_printf("qemu%d", i);

        namespace = xmlNewNs(xml->domain, href, BAD_CAST prefix);
    }
    return namespace;
}

static void xml_append_arg(xmlNodePtr commandline, const char *word)
{
    xmlNodePtr arg = xmlNewNode(commandline->ns, BAD_CAST "arg");

    xmlNewProp(arg, BAD_CAST "value", BAD_CAST word);
    xml_append(commandline, arg, 1);
}

static void xml_append_object(KsmctlDomainXml *xml, const char *option)
{
    xmlNodePtr commandline = xml_commandline(xml);

    if (!commandline) {
        commandline = xmlNewNode(xml_namespace(xml),
                                 BAD_CAST "commandline");
        xml_append(xml->domain, commandline, 0);
    }
    xml_append_arg(commandline, "-object");
    xml_append_arg(commandline, option);
}

/* That of @value, or a new one.  NULL: it is in JSON. */
static KsmctlObject *xml_object(xmlNodePtr value, GError **error)
{
    g_autoptr(xmlChar) text = NULL;
    KsmctlObject *object;

    if (!value) {
        return ksmctl_object_new();
    }
    text = xmlGetNoNsProp(value, BAD_CAST "value");
    object = ksmctl_object_parse((char *)text);
    if (!object) {
        xml_fail(error, "its ksm object is given in JSON, which can't be "
                 "changed here: use --remove, and add it anew");
    }
    return object;
}

bool ksmctl_domain_xml_set_object(KsmctlDomainXml *xml, char **properties,
                                  GError **error)
{
    g_autoptr(GArray) options = xml_find_objects(xml);
    xmlNodePtr value = options->len ?
                       g_array_index(options, XmlOption, 0).value : NULL;
    g_autoptr(KsmctlObject) object = xml_object(value, error);
    g_autofree char *text = NULL;

    if (!object) {
        return false;
    }
    for (; *properties; properties++) {
        if (!ksmctl_object_set(object, *properties, error)) {
            return false;
        }
    }
    if (!ksmctl_object_check(object, error)) {
        return false;
    }
    text = ksmctl_object_format(object);
    if (value) {
        xmlSetProp(value, BAD_CAST "value", BAD_CAST text);
    } else {
        xml_append_object(xml, text);
    }
    xml_remove_objects(options, 1);
    return true;
}

void ksmctl_domain_xml_remove_object(KsmctlDomainXml *xml)
{
    g_autoptr(GArray) options = xml_find_objects(xml);
    xmlNodePtr commandline = xml_commandline(xml);

    xml_remove_objects(options, 0);
    if (options->len && !xmlFirstElementChild(commandline)) {
        xml_remove(commandline);
    }
}

void ksmctl_domain_xml_set_emulator(KsmctlDomainXml *xml, const char *path)
{
    xmlNodePtr devices = xml_next(xml->domain->children, "devices", NULL);
    xmlNodePtr emulator;

    if (!devices) {
        devices = xmlNewNode(NULL, BAD_CAST "devices");
        xml_append(xml->domain, devices, 0);
    }
    emulator = xml_next(devices->children, "emulator", NULL);
    if (!emulator) {
        emulator = xmlNewNode(NULL, BAD_CAST "emulator");
        xml_append(devices, emulator, 1);
    }
    xmlNodeSetContent(emulator, NULL);
    xmlNodeAddContent(emulator, BAD_CAST path);
}

char *ksmctl_domain_xml_format(const KsmctlDomainXml *xml)
{
    xmlBufferPtr buffer = xmlBufferCreate();
    const char *encoding = (const char *)xml->doc->encoding;
    /* Without one, all but ASCII would become numbers. */
    xmlSaveCtxtPtr save = xmlSaveToBuffer(buffer, encoding ? encoding : "UTF-8",
                                          xml->declared ? 0 : XML_SAVE_NO_DECL);
    char *text;

    xmlSaveDoc(save, xml->doc);
    xmlSaveClose(save);
    text = g_strdup((const char *)xmlBufferContent(buffer));
    xmlBufferFree(buffer);
    return text;
}
