/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/domain.h"

#include <string.h>

DkvmMacos dkvm_domain_macos(const xmlNode *domain)
{
    const xmlNode *info =
        dkvm_xml_child_ns(dkvm_xml_child(domain, "metadata"), "libosinfo", DKVM_NS_OSINFO);
    const xmlNode *os = dkvm_xml_child_ns(info, "os", DKVM_NS_OSINFO);
    const char *id = dkvm_xml_get(os, "id");
    return id ? dkvm_macos_from_osinfo(id) : 0;
}

char *dkvm_domain_controllers(const xmlNode *domain)
{
    GString *words = g_string_new(NULL);
    const xmlNode *devices = dkvm_xml_child(domain, "devices");
    for (xmlNode *n = devices ? dkvm_xml_element(devices->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        if (dkvm_xml_is(n, "controller") && dkvm_xml_get(n, "type") != NULL) {
            const char *index = dkvm_xml_get(n, "index");
            g_string_append_printf(words, "%s%s-%s", words->len ? " " : "", dkvm_xml_get(n, "type"),
                                   index ? index : "0");
        }
    }
    return g_string_free(words, FALSE);
}

char *dkvm_domain_disks(const xmlNode *domain)
{
    GString *words = g_string_new(NULL);
    const xmlNode *devices = dkvm_xml_child(domain, "devices");
    for (xmlNode *n = devices ? dkvm_xml_element(devices->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        const char *dev =
            dkvm_xml_is(n, "disk") ? dkvm_xml_get(dkvm_xml_child(n, "target"), "dev") : NULL;
        if (dev != NULL) {
            g_string_append_printf(words, "%s%s", words->len ? " " : "", dev);
        }
    }
    return g_string_free(words, FALSE);
}

static char *text_or_null(const xmlNode *element)
{
    return element ? g_strstrip(dkvm_xml_text(element)) : NULL;
}

DkvmPatched *dkvm_domain_patched(DkvmDoc *doc, const char *text, gsize length)
{
    const xmlNode *domain = xmlDocGetRootElement(doc);
    DkvmPatched *patched = g_new0(DkvmPatched, 1);
    patched->name = text_or_null(dkvm_xml_child(domain, "name"));
    patched->uuid = text_or_null(dkvm_xml_child(domain, "uuid"));
    patched->before = g_strndup(text, length);
    patched->done = g_ptr_array_new_with_free_func(g_free);
    patched->kept = g_ptr_array_new_with_free_func(g_free);
    patched->notes = g_ptr_array_new_with_free_func(g_free);
    return patched;
}

char *dkvm_patch_canonical(const char *text, gsize length)
{
    g_autoptr(DkvmDoc) doc = dkvm_xml_parse(text, length, "domain", NULL);
    return doc ? dkvm_xml_serialize(doc) : g_strdup("");
}

/* The passwords of displays, the one thing that libvirt shows only with VIR_DOMAIN_XML_SECURE. */
char *dkvm_patch_showable(const char *text)
{
    g_autoptr(DkvmDoc) doc = dkvm_xml_parse(text, strlen(text), "domain", NULL);
    const xmlNode *devices = doc ? dkvm_xml_child(xmlDocGetRootElement(doc), "devices") : NULL;
    for (xmlNode *n = devices ? dkvm_xml_element(devices->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        if (dkvm_xml_get(n, "passwd") != NULL) {
            dkvm_xml_set(n, "passwd", "(not shown)");
        }
    }
    return doc ? dkvm_xml_serialize(doc) : g_strdup("");
}

void dkvm_patched_free(DkvmPatched *patched)
{
    if (patched == NULL) {
        return;
    }
    g_free(patched->name);
    g_free(patched->uuid);
    g_free(patched->before);
    g_free(patched->xml);
    g_clear_pointer(&patched->done, g_ptr_array_unref);
    g_clear_pointer(&patched->kept, g_ptr_array_unref);
    g_clear_pointer(&patched->notes, g_ptr_array_unref);
    g_free(patched);
}
