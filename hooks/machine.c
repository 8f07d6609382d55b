/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/machine.h"

#include <string.h>

#include "lib/xml.h"

static DkvmDoc *parse(const char *xml)
{
    return xml ? dkvm_xml_parse(xml, strlen(xml), "a domain", NULL) : NULL;
}

static xmlNode *first_device(const xmlNode *domain, const char *name)
{
    const xmlNode *devices = dkvm_xml_child(domain, "devices");
    xmlNode *n = devices ? dkvm_xml_element(devices->children) : NULL;
    while (n != NULL && !dkvm_xml_is(n, name)) {
        n = dkvm_xml_element(n->next);
    }
    return n;
}

static xmlNode *next_device(const xmlNode *device, const char *name)
{
    xmlNode *n = dkvm_xml_element(device->next);
    while (n != NULL && !dkvm_xml_is(n, name)) {
        n = dkvm_xml_element(n->next);
    }
    return n;
}

#define FOR_DEVICES(node, domain, name)                                                            \
    for (xmlNode *node = first_device(domain, name); node != NULL; node = next_device(node, name))

/* ---- what it is ---- */

static gboolean has_type(const xmlNode *domain, const char *device, const char *type)
{
    FOR_DEVICES(node, domain, device)
    {
        if (g_strcmp0(dkvm_xml_get(node, "type"), type) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* A mediated device is a part of a PCI device, and as little used to being torn off. */
static gboolean uses_pci(const xmlNode *domain)
{
    return has_type(domain, "hostdev", "pci") || has_type(domain, "hostdev", "mdev") ||
           has_type(domain, "interface", "hostdev") || has_type(domain, "interface", "vdpa") ||
           has_type(domain, "disk", "nvme");
}

DkvmMachine dkvm_machine_read(const char *xml)
{
    g_autoptr(DkvmDoc) doc = parse(xml);
    if (doc == NULL) {
        return (DkvmMachine){0};
    }
    const xmlNode *domain = xmlDocGetRootElement(doc);
    const xmlNode *marker =
        dkvm_xml_child_ns(dkvm_xml_child(domain, "metadata"), "darwin", DKVM_NS);
    return (DkvmMachine){
        .readable = TRUE,
        .patched = marker != NULL && g_strcmp0(dkvm_xml_get(marker, "state"), "off") != 0,
        .pci = uses_pci(domain),
        .console = has_type(domain, "graphics", "vnc") || has_type(domain, "graphics", "spice"),
        .kernel = dkvm_xml_child(dkvm_xml_child(domain, "os"), "kernel") != NULL,
    };
}

static const char *device_of(const xmlNode *disk)
{
    const char *device = dkvm_xml_get(disk, "device");
    return device ? device : "disk";
}

GPtrArray *dkvm_machine_disks(const char *xml)
{
    g_autoptr(DkvmDoc) doc = parse(xml);
    if (doc == NULL) {
        return NULL;
    }
    GPtrArray *disks = g_ptr_array_new_with_free_func(g_free);
    FOR_DEVICES(disk, xmlDocGetRootElement(doc), "disk")
    {
        const char *target = dkvm_xml_get(dkvm_xml_child(disk, "target"), "dev");
        gboolean empty_drive = !g_str_equal(device_of(disk), "disk") &&
                               !g_str_equal(device_of(disk), "lun") &&
                               dkvm_xml_child(disk, "source") == NULL;
        if (!g_str_equal(device_of(disk), "cdrom") && !empty_drive &&
            dkvm_xml_child(disk, "readonly") == NULL) {
            g_ptr_array_add(disks, g_strdup(target ? target : ""));
        }
    }
    return disks;
}

/* ---- carrying over ---- */

static gboolean is_drive(const xmlNode *disk)
{
    return g_str_equal(device_of(disk), "cdrom") || g_str_equal(device_of(disk), "floppy");
}

static guint index_of_drive(const xmlNode *domain, const xmlNode *drive)
{
    guint index = 0;
    FOR_DEVICES(disk, domain, "disk")
    {
        if (disk == drive) {
            break;
        }
        index += g_str_equal(device_of(disk), device_of(drive));
    }
    return index;
}

static gboolean same_text(const xmlNode *a, const xmlNode *b, const char *child, const char *name)
{
    const char *x = dkvm_xml_get(dkvm_xml_child(a, child), name);
    const char *y = dkvm_xml_get(dkvm_xml_child(b, child), name);
    return x != NULL && y != NULL && g_str_equal(x, y);
}

static gboolean same_source(const xmlNode *a, const xmlNode *b)
{
    static const char *const names[] = {"file", "dev", "volume", "name"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        if (same_text(a, b, "source", names[i])) {
            return TRUE;
        }
    }
    return FALSE;
}

/* The disk of DOMAIN that is DISK of the running machine: patching may have moved it to another
 * bus, and a drive has lost its source. */
static xmlNode *find_disk(const xmlNode *domain, const xmlNode *running, const xmlNode *disk)
{
    guint index = index_of_drive(running, disk);
    FOR_DEVICES(other, domain, "disk")
    {
        if (!g_str_equal(device_of(other), device_of(disk))) {
            continue;
        }
        if (is_drive(disk) ? index_of_drive(domain, other) == index : same_source(other, disk)) {
            return other;
        }
    }
    return NULL;
}

static xmlNode *find_interface(const xmlNode *domain, const xmlNode *interface)
{
    FOR_DEVICES(other, domain, "interface")
    {
        if (same_text(other, interface, "mac", "address")) {
            return other;
        }
    }
    return NULL;
}

static void add_copy(xmlNode *parent, xmlNode *node)
{
    xmlAddChild(parent, xmlDocCopyNode(node, parent->doc, 1));
}

/* A medium that the drive of the definition has not. */
static void carry_medium(const xmlNode *domain, const xmlNode *running, const xmlNode *drive)
{
    xmlNode *other = find_disk(domain, running, drive);
    xmlNode *source = dkvm_xml_child(drive, "source");
    if (source == NULL || other == NULL || dkvm_xml_child(other, "source") != NULL) {
        return;
    }
    dkvm_xml_set(other, "type", dkvm_xml_get(drive, "type"));
    add_copy(other, source);
    xmlNode *copy = dkvm_xml_child(other, "source");
    dkvm_xml_set(copy, "index", NULL); /* the running machine's own numbering */
}

static void carry_media(const xmlNode *domain, const xmlNode *running)
{
    FOR_DEVICES(disk, running, "disk")
    {
        if (is_drive(disk)) {
            carry_medium(domain, running, disk);
        }
    }
}

static void remove_all(xmlNode *parent, const char *name)
{
    xmlNode *node;
    while ((node = dkvm_xml_child(parent, name)) != NULL) {
        dkvm_xml_remove(node);
    }
}

/* libvirt takes an order of devices or one of kinds, not both. */
static void clear_order(const xmlNode *domain)
{
    remove_all(dkvm_xml_child(domain, "os"), "boot");
    const xmlNode *devices = dkvm_xml_child(domain, "devices");
    for (xmlNode *n = devices ? dkvm_xml_element(devices->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        remove_all(n, "boot");
    }
}

static char *order_of(const xmlNode *domain)
{
    GString *order = g_string_new(NULL);
    const xmlNode *os = dkvm_xml_child(domain, "os");
    for (xmlNode *n = os ? dkvm_xml_element(os->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        const char *device = dkvm_xml_is(n, "boot") ? dkvm_xml_get(n, "dev") : NULL;
        g_string_append_printf(order, "%s ", device ? device : "");
    }
    return g_string_free(order, FALSE);
}

/* The order by kinds: <boot dev='cdrom'/> in <os>. */
static void carry_kinds(const xmlNode *domain, const xmlNode *running)
{
    xmlNode *to = dkvm_xml_child(domain, "os");
    const xmlNode *from = dkvm_xml_child(running, "os");
    clear_order(domain);
    for (xmlNode *n = dkvm_xml_element(from->children); n != NULL; n = dkvm_xml_element(n->next)) {
        if (dkvm_xml_is(n, "boot")) {
            add_copy(to, n);
        }
    }
}

static void carry_boot(xmlNode *to, const xmlNode *from)
{
    xmlNode *boot = dkvm_xml_child(from, "boot");
    if (to != NULL && boot != NULL) {
        add_copy(to, boot);
    }
}

static gboolean has_device_order(const xmlNode *domain)
{
    FOR_DEVICES(disk, domain, "disk")
    {
        if (dkvm_xml_child(disk, "boot") != NULL) {
            return TRUE;
        }
    }
    FOR_DEVICES(interface, domain, "interface")
    {
        if (dkvm_xml_child(interface, "boot") != NULL) {
            return TRUE;
        }
    }
    return FALSE;
}

/* The order by devices: <boot order='1'/> in each. */
static void carry_devices(const xmlNode *domain, const xmlNode *running)
{
    clear_order(domain);
    FOR_DEVICES(disk, running, "disk")
    {
        carry_boot(find_disk(domain, running, disk), disk);
    }
    FOR_DEVICES(interface, running, "interface")
    {
        carry_boot(find_interface(domain, interface), interface);
    }
}

static void carry_order(const xmlNode *domain, const xmlNode *running)
{
    g_autofree char *wanted = order_of(running), *present = order_of(domain);
    gboolean has_kinds = dkvm_xml_child(dkvm_xml_child(running, "os"), "boot") != NULL;
    if (has_device_order(running)) {
        carry_devices(domain, running);
    } else if (has_kinds && dkvm_xml_child(domain, "os") != NULL && !g_str_equal(wanted, present)) {
        carry_kinds(domain, running);
    }
}

char *dkvm_machine_carry(const char *definition, const char *running)
{
    g_autoptr(DkvmDoc) to = parse(definition), from = parse(running);
    if (to == NULL || from == NULL) {
        return NULL;
    }
    g_autofree char *before = dkvm_xml_serialize(to);
    carry_media(xmlDocGetRootElement(to), xmlDocGetRootElement(from));
    carry_order(xmlDocGetRootElement(to), xmlDocGetRootElement(from));
    g_autofree char *after = dkvm_xml_serialize(to);
    return g_str_equal(before, after) ? NULL : g_steal_pointer(&after);
}
