/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/wants.h"

#include <string.h>

#include "lib/error.h"
#include "lib/file.h"
#include "lib/paths.h"
#include "lib/policy.h"
#include "lib/xml.h"
#include "qemu-hook/rundir.h"
#include "qemu-hook/wants-memory.h"

#define NAME_MAX_BYTES 4096
#define MAX_OFF 64

void dkvm_wants_free(DkvmWants *wants)
{
    if (!wants)
        return;
    g_clear_pointer(&wants->devices, g_array_unref);
    g_clear_pointer(&wants->off, g_ptr_array_unref);
    g_clear_pointer(&wants->memory, g_array_unref);
    g_free(wants->uuid);
    g_free(wants->name);
    g_free(wants);
}

/* ---- addresses -------------------------------------------------------------------------- */

/* libvirt takes 0x-prefixed, decimal and octal numbers (virStrToLong_uip, base 0). */
static gboolean number(const xmlNode *node, const char *name, guint64 max, guint64 *value)
{
    const char *text = dkvm_xml_get(node, name);
    char *end;

    if (!text) {
        *value = 0;
        return TRUE;
    }
    if (!g_ascii_isdigit(*text))
        return FALSE;
    *value = g_ascii_strtoull(text, &end, 0);
    return *end == '\0' && *value <= max;
}

static gboolean read_address(const xmlNode *address, DkvmBdf *bdf)
{
    guint64 domain, bus, slot, function;

    if (!address || !number(address, "domain", G_MAXUINT32, &domain) ||
        !number(address, "bus", 0xff, &bus) || !number(address, "slot", 0x1f, &slot) ||
        !number(address, "function", 7, &function))
        return FALSE;
    *bdf = (DkvmBdf){(guint32)domain, (guint8)bus, (guint8)slot, (guint8)function};
    return TRUE;
}

static gboolean bad_address(const char *what, GError **error)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                "cannot read the domain: a <%s> has no PCI address that is one; correct its "
                "<source>",
                what);
    return FALSE;
}

static gboolean add(DkvmWants *wants, const xmlNode *device, gboolean left, GError **error)
{
    const xmlNode *source = dkvm_xml_child(device, "source");
    DkvmWanted wanted = {.left = left};

    if (!read_address(dkvm_xml_child(source, "address"), &wanted.bdf))
        return bad_address((const char *)device->name, error);
    wanted.managed = g_strcmp0(dkvm_xml_get(device, "managed"), "yes") == 0;
    for (guint i = 0; i < wants->devices->len; i++) {
        if (dkvm_bdf_compare(&g_array_index(wants->devices, DkvmWanted, i).bdf, &wanted.bdf) == 0)
            return TRUE;
    }
    if (wants->devices->len == DKVM_MAX_HOSTDEVS) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "cannot read the domain: it has more than %d PCI devices of the host",
                    DKVM_MAX_HOSTDEVS);
        return FALSE;
    }
    g_array_append_val(wants->devices, wanted);
    return TRUE;
}

static gboolean read_device(DkvmWants *wants, const xmlNode *device, GError **error)
{
    const char *mode = dkvm_xml_get(device, "mode"), *type = dkvm_xml_get(device, "type");

    /* Without a mode it is subsystem (virDomainHostdevDefParseXML). */
    if (dkvm_xml_is(device, "hostdev") && g_strcmp0(type, "pci") == 0 &&
        (!mode || g_str_equal(mode, "subsystem")))
        return add(wants, device, FALSE, error);
    if (dkvm_xml_is(device, "interface") && g_strcmp0(type, "hostdev") == 0)
        return add(wants, device, TRUE, error);
    if (dkvm_xml_is(device, "disk") && g_strcmp0(type, "nvme") == 0)
        return add(wants, device, TRUE, error);
    return TRUE;
}

/* ---- the rest --------------------------------------------------------------------------- */

/* <dkvm:choice key='handoff.STEP' value='off'/>: the one thing that a domain can say about how it
 * is handed over.  Anybody may have written it. */
static void read_choices(DkvmWants *wants, const xmlNode *marker)
{
    for (xmlNode *node = dkvm_xml_element(marker->children); node;
         node = dkvm_xml_element(node->next)) {
        const char *key = dkvm_xml_get(node, "key"), *value = dkvm_xml_get(node, "value");

        if (!xmlStrEqual(node->name, BAD_CAST "choice") || !dkvm_xml_has_ns(node, DKVM_NS) ||
            g_strcmp0(value, "off") != 0 || !key || wants->off->len == MAX_OFF ||
            !g_regex_match_simple("\\Ahandoff\\.[a-z-]{1,32}\\z", key, 0, 0))
            continue;
        g_ptr_array_add(wants->off, g_strdup(key + strlen("handoff.")));
    }
}

gboolean dkvm_wants_turns_off(const DkvmWants *wants, const char *step)
{
    for (guint i = 0; i < wants->off->len; i++) {
        if (g_str_equal(g_ptr_array_index(wants->off, i), step))
            return TRUE;
    }
    return FALSE;
}

static gboolean add_pins(DkvmWants *wants, const xmlNode *element, GError **error)
{
    const char *text = dkvm_xml_get(element, "cpuset");
    DkvmNumbers cpus;

    if (!text)
        return TRUE;
    if (!dkvm_numbers_parse(text, &cpus)) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "cannot read the domain: the cpuset of a <%s> is no list of CPUs; correct it",
                    (const char *)element->name);
        return FALSE;
    }
    dkvm_numbers_add(&wants->pinned, &cpus);
    return TRUE;
}

/* <vcpu cpuset> is for those vCPUs that have no <vcpupin> (qemuProcessSetupVcpu). */
static gboolean read_pins(DkvmWants *wants, const xmlNode *domain, GError **error)
{
    const xmlNode *tune = dkvm_xml_child(domain, "cputune");
    const xmlNode *vcpu = dkvm_xml_child(domain, "vcpu");
    gboolean any = FALSE;

    for (xmlNode *node = tune ? dkvm_xml_element(tune->children) : NULL; node;
         node = dkvm_xml_element(node->next)) {
        if (!dkvm_xml_is(node, "vcpupin"))
            continue;
        if (!add_pins(wants, node, error))
            return FALSE;
        any = TRUE;
    }
    return any || !vcpu || add_pins(wants, vcpu, error);
}

static void read_metadata(DkvmWants *wants, const xmlNode *domain, const DkvmConfig *config)
{
    const xmlNode *metadata = dkvm_xml_child(domain, "metadata");
    const xmlNode *marker = dkvm_xml_child_ns(metadata, "darwin", DKVM_NS);
    const xmlNode *info = dkvm_xml_child_ns(metadata, "libosinfo", DKVM_NS_OSINFO);
    const xmlNode *os = dkvm_xml_child_ns(info, "os", DKVM_NS_OSINFO);
    const char *id = os ? dkvm_xml_get(os, "id") : NULL;

    wants->marked = marker && g_strcmp0(dkvm_xml_get(marker, "state"), "off") != 0;
    wants->apple = id && (g_str_has_prefix(id, "http://apple.com/") ||
                          g_str_has_prefix(id, "https://apple.com/"));
    if (wants->marked)
        read_choices(wants, marker);
    wants->patchable = config && !marker && dkvm_policy_matches(config, domain);
}

static char *child_text(const xmlNode *domain, const char *name)
{
    const xmlNode *child = dkvm_xml_child(domain, name);

    return child ? dkvm_xml_text(child) : g_strdup("");
}

static gboolean read_identity(DkvmWants *wants, const xmlNode *domain, GError **error)
{
    g_autofree char *uuid = child_text(domain, "uuid");

    wants->name = child_text(domain, "name");
    wants->uuid = dkvm_uuid_normalize(uuid);
    if (*wants->name == '\0' || strlen(wants->name) > NAME_MAX_BYTES || !wants->uuid) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "cannot read the domain: it has no %s; this is not what libvirt gives to "
                    "hooks",
                    wants->uuid ? "name" : "UUID");
        return FALSE;
    }
    return TRUE;
}

DkvmWants *dkvm_wants_parse(const char *xml, gsize length, const DkvmConfig *config, GError **error)
{
    g_autoptr(DkvmDoc) doc = dkvm_xml_parse(xml, length, "the domain", error);
    g_autoptr(DkvmWants) wants = g_new0(DkvmWants, 1);

    if (!doc)
        return NULL;
    const xmlNode *domain = xmlDocGetRootElement(doc);
    wants->off = g_ptr_array_new_with_free_func(g_free);
    wants->devices = g_array_new(FALSE, TRUE, sizeof(DkvmWanted));
    if (!dkvm_xml_is(domain, "domain")) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "cannot read the domain: the document is none; give it what 'virsh dumpxml' "
                    "prints");
        return NULL;
    }
    if (!read_identity(wants, domain, error))
        return NULL;
    const xmlNode *devices = dkvm_xml_child(domain, "devices");

    for (xmlNode *node = devices ? dkvm_xml_element(devices->children) : NULL; node;
         node = dkvm_xml_element(node->next)) {
        if (!read_device(wants, node, error))
            return NULL;
    }
    if (!read_pins(wants, domain, error))
        return NULL;
    if (!dkvm_wants_read_memory(wants, domain)) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "cannot read the domain: it has more than %d NUMA cells and memory modules; "
                    "correct it",
                    DKVM_MEMORY_PARTS);
        return NULL;
    }
    read_metadata(wants, domain, config);
    return g_steal_pointer(&wants);
}

gboolean dkvm_wants_concerns(const DkvmWants *wants, const DkvmConfig *config)
{
    gboolean any = FALSE;

    for (guint i = 0; i < wants->devices->len; i++)
        any = any || !g_array_index(wants->devices, DkvmWanted, i).left;
    if (!any)
        return FALSE;
    switch (config->handoff_domains) {
    case DKVM_HANDOFF_ALL:
        return TRUE;
    case DKVM_HANDOFF_MARKED:
        return wants->marked;
    case DKVM_HANDOFF_DARWIN:
        break;
    }
    return wants->marked || wants->apple;
}

gboolean dkvm_is_defined(const DkvmWants *wants)
{
    g_autofree char *folder = dkvm_path("/etc/libvirt/qemu");
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_autofree char *text = g_str_has_suffix(name, ".xml")
                                    ? dkvm_file_read(path, DKVM_XML_MAX_BYTES, NULL, NULL)
                                    : NULL;
        g_autoptr(DkvmWants) other = text ? dkvm_wants_parse(text, strlen(text), NULL, NULL) : NULL;

        if (other && g_str_equal(other->uuid, wants->uuid))
            return TRUE;
    }
    return FALSE;
}
