/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/policy.h"

#include <fnmatch.h>

#include "lib/error.h"

static gboolean is_one_of(const char *value, const char *const *values)
{
    return value != NULL && g_strv_contains(values, value);
}

static gboolean refuse(GError **error, const char *what, const char *reason)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT, "cannot patch %s: %s", what, reason);
    return FALSE;
}

/* Elements that libvirt reads once: of a second one it would be anybody's guess which counts. */
static gboolean has_duplicate(const xmlNode *domain)
{
    static const char *const once[] = {
        "name", "uuid",    "metadata",    "memory",   "currentMemory", "memoryBacking",
        "vcpu", "vcpus",   "os",          "features", "cpu",           "clock",
        "pm",   "devices", "commandline", NULL};
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    for (xmlNode *n = dkvm_xml_element(domain->children); n != NULL;
         n = dkvm_xml_element(n->next)) {
        const char *name = (const char *)n->name;
        gboolean ours = n->ns == NULL || dkvm_xml_has_ns(n, DKVM_NS_QEMU);
        if (ours && g_strv_contains(once, name) && !g_hash_table_add(seen, (gpointer)name)) {
            return TRUE;
        }
    }
    return FALSE;
}

gboolean dkvm_policy_allows(const xmlNode *domain, const char *what, GError **error)
{
    static const char *const types[] = {"kvm", "qemu", NULL};
    if (!dkvm_xml_is(domain, "domain")) {
        return refuse(error, what, "it is not a libvirt <domain>; give what virsh dumpxml prints");
    }
    if (!is_one_of(dkvm_xml_get(domain, "type"), types)) {
        return refuse(error, what, "it is not a QEMU domain (type kvm or qemu)");
    }
    g_autofree char *name = dkvm_xml_text(dkvm_xml_child(domain, "name"));
    if (*g_strstrip(name) == '\0') {
        return refuse(error, what, "it has no <name>; every libvirt domain has one");
    }
    if (has_duplicate(domain)) {
        return refuse(error, what,
                      "it has an element twice of which a domain has one; put it right");
    }
    const xmlNode *type = dkvm_xml_child(dkvm_xml_child(domain, "os"), "type");
    const char *arch = dkvm_xml_get(type, "arch");
    g_autofree char *kind = dkvm_xml_text(type);
    if (type == NULL || !g_str_equal(g_strstrip(kind), "hvm")) {
        return refuse(error, what, "its <os><type> is not hvm, so it is no full virtual machine");
    }
    if (arch != NULL && !g_str_equal(arch, "x86_64")) {
        return refuse(error, what, "it is not for x86_64, the only architecture that dkvm knows");
    }
    return TRUE;
}

static gboolean name_matches(char *const *globs, const char *name)
{
    if (globs == NULL || *globs == NULL) {
        return TRUE;
    }
    for (; *globs != NULL; globs++) {
        if (fnmatch(*globs, name, 0) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean is_apple(const xmlNode *domain)
{
    const xmlNode *info =
        dkvm_xml_child_ns(dkvm_xml_child(domain, "metadata"), "libosinfo", DKVM_NS_OSINFO);
    const char *id = dkvm_xml_get(dkvm_xml_child_ns(info, "os", DKVM_NS_OSINFO), "id");
    return id != NULL && (g_str_has_prefix(id, "http://apple.com/") ||
                          g_str_has_prefix(id, "https://apple.com/"));
}

gboolean dkvm_policy_matches(const DkvmConfig *config, const xmlNode *domain)
{
    const xmlNode *marker =
        dkvm_xml_child_ns(dkvm_xml_child(domain, "metadata"), "darwin", DKVM_NS);
    g_autofree char *name = dkvm_xml_text(dkvm_xml_child(domain, "name"));
    if (!dkvm_policy_allows(domain, name, NULL) || !name_matches(config->names, name) ||
        g_strcmp0(dkvm_xml_get(marker, "state"), "off") == 0) {
        return FALSE;
    }
    switch (config->match) {
    case DKVM_MATCH_ALL:
        return TRUE;
    case DKVM_MATCH_MARKED:
        return marker != NULL;
    case DKVM_MATCH_MACOS:
        break;
    }
    return marker != NULL || is_apple(domain);
}
