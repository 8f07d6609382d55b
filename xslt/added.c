/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/added.h"

#include <string.h>

#include "xslt/locator.h"

/* ---- who sits where ---- */

static xmlNode *first_device(xmlNode *domain)
{
    const xmlNode *devices = dkvm_xml_child(domain, "devices");
    return devices ? dkvm_xml_element(devices->children) : NULL;
}

/* Whether ADDRESS is a place on CONTROLLER: <address type='pci' bus=...>, <address type='drive'
 * controller=...> with a disk of that bus. */
static gboolean is_on(const xmlNode *device, const xmlNode *controller)
{
    const xmlNode *address = dkvm_xml_child(device, "address");
    const char *type = dkvm_xml_get(controller, "type"), *index = dkvm_xml_get(controller, "index");
    gboolean pci = g_strcmp0(type, "pci") == 0;
    const char *place = dkvm_xml_get(address, pci ? "bus" : "controller");
    const char *bus = dkvm_xml_get(dkvm_xml_child(device, "target"), "bus");
    if (place == NULL || index == NULL ||
        g_strcmp0(dkvm_xml_get(address, "type"), pci ? "pci" : "drive") != 0) {
        return FALSE;
    }
    return (pci || g_strcmp0(bus, type) == 0) &&
           g_ascii_strtoull(place, NULL, 0) == g_ascii_strtoull(index, NULL, 10);
}

static gboolean is_used(xmlNode *domain, const xmlNode *controller)
{
    for (xmlNode *n = first_device(domain); n != NULL; n = dkvm_xml_element(n->next)) {
        if (n != controller && is_on(n, controller)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Whether a device sits on a hub: its port has a dot. */
static gboolean is_behind_hub(const xmlNode *device)
{
    const xmlNode *address = dkvm_xml_child(device, "address");
    const char *port = dkvm_xml_get(address, "port");
    return g_strcmp0(dkvm_xml_get(address, "type"), "usb") == 0 && port != NULL &&
           strchr(port, '.') != NULL;
}

static gboolean is_hub_used(xmlNode *domain)
{
    for (xmlNode *n = first_device(domain); n != NULL; n = dkvm_xml_element(n->next)) {
        if (is_behind_hub(n)) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean was_there(const DkvmMarker *marker, const char *type, const char *index)
{
    g_autofree char *word = g_strdup_printf("%s-%s", type, index);
    g_auto(GStrv) words = g_strsplit(marker->controllers ? marker->controllers : "", " ", -1);
    return g_strv_contains((const char *const *)words, word);
}

/* ---- what libvirt added for what we made ---- */

/* The devices that the changes to be taken back are about. */
static GHashTable *changed_devices(xmlNode *domain, const DkvmChanges *changes,
                                   DkvmChangeFilter filter, gpointer data)
{
    GHashTable *devices = g_hash_table_new(NULL, NULL);
    const xmlNode *parent = dkvm_xml_child(domain, "devices");
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        xmlNode *node = filter(change, data) ? dkvm_locator_find(domain, change->at) : NULL;
        while (node != NULL && node->parent != parent) {
            node = node->parent;
        }
        if (node != NULL && parent != NULL) {
            g_hash_table_add(devices, node);
        }
    }
    return devices;
}

static gboolean may_be_added(const xmlNode *node, const DkvmMarker *marker)
{
    const char *type = dkvm_xml_get(node, "type"), *index = dkvm_xml_get(node, "index");
    gboolean kind = g_strcmp0(type, "pci") == 0 || g_strcmp0(type, "sata") == 0;
    return dkvm_xml_is(node, "controller") && kind && index != NULL && marker->controllers &&
           !was_there(marker, type, index);
}

/* Whether anything of OURS sits on CONTROLLER. */
static gboolean carries(const xmlNode *controller, GHashTable *ours)
{
    GHashTableIter iter;
    gpointer device;
    g_hash_table_iter_init(&iter, ours);
    while (g_hash_table_iter_next(&iter, &device, NULL)) {
        if (device != controller && is_on(device, controller)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Moves into OURS every controller that carries one of OURS, and those that carry these. */
static void find_added(xmlNode *domain, const DkvmMarker *marker, GHashTable *ours,
                       GHashTable *added)
{
    gboolean more = TRUE;
    while (more) {
        more = FALSE;
        for (xmlNode *n = first_device(domain); n != NULL; n = dkvm_xml_element(n->next)) {
            if (may_be_added(n, marker) && !g_hash_table_contains(added, n) && carries(n, ours)) {
                g_hash_table_add(added, n);
                g_hash_table_add(ours, n);
                more = TRUE;
            }
        }
    }
}

static guint64 index_of(const xmlNode *controller)
{
    return g_ascii_strtoull(dkvm_xml_get(controller, "index"), NULL, 10);
}

/* libvirt may leave a port without use on the way; numbers are given in order, so what the user
 * added later has a higher one. */
static void find_spare_ports(xmlNode *domain, const DkvmMarker *marker, GHashTable *added)
{
    guint64 last = 0;
    for (xmlNode *n = first_device(domain); n != NULL; n = dkvm_xml_element(n->next)) {
        gboolean pci = g_strcmp0(dkvm_xml_get(n, "type"), "pci") == 0;
        last = pci && g_hash_table_contains(added, n) ? MAX(last, index_of(n)) : last;
    }
    for (xmlNode *n = first_device(domain); n != NULL; n = dkvm_xml_element(n->next)) {
        if (may_be_added(n, marker) && index_of(n) < last) {
            g_hash_table_add(added, n);
        }
    }
}

/* Hubs that libvirt added for more USB devices than the controller had ports. */
static void find_added_hubs(xmlNode *domain, const DkvmMarker *marker, GHashTable *added)
{
    gboolean may = marker->made != NULL && strstr(marker->made, "hub") != NULL;
    for (xmlNode *n = may && is_hub_used(domain) ? first_device(domain) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        if (dkvm_xml_is(n, "hub")) {
            g_hash_table_add(added, n);
        }
    }
}

/* ---- a machine that was not q35 ---- */

static gboolean goes_back_to_other_machine(const DkvmChanges *changes, DkvmChangeFilter filter,
                                           gpointer data)
{
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        if (g_str_equal(change->part, "machine") && filter(change, data)) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean is_q35_controller(const xmlNode *node)
{
    const char *type = dkvm_xml_get(node, "type"), *model = dkvm_xml_get(node, "model");
    return dkvm_xml_is(node, "controller") &&
           (g_strcmp0(type, "pci") == 0 || g_strcmp0(type, "sata") == 0) &&
           (g_strcmp0(type, "sata") == 0 || (model != NULL && g_str_has_prefix(model, "pcie-")));
}

/* Before the original's own addresses and controllers are put back: PCI Express and its addresses
 * mean nothing on the machine that the domain returns to. */
static void let_go_of_q35(xmlNode *domain, const DkvmMarker *marker)
{
    xmlNode *devices = dkvm_xml_child(domain, "devices");
    xmlNode *node = devices ? dkvm_xml_element(devices->children) : NULL;
    while (node != NULL) {
        xmlNode *next = dkvm_xml_element(node->next);
        xmlNode *address = dkvm_xml_child(node, "address");
        if (is_q35_controller(node) && !(g_strcmp0(dkvm_xml_get(node, "type"), "sata") == 0 &&
                                         was_there(marker, "sata", dkvm_xml_get(node, "index")))) {
            dkvm_xml_remove(node);
        } else if (address != NULL && g_strcmp0(dkvm_xml_get(address, "type"), "pci") == 0) {
            dkvm_xml_remove(address);
        }
        node = next;
    }
}

GHashTable *dkvm_added_before_undo(xmlNode *domain, const DkvmMarker *marker,
                                   DkvmChangeFilter filter, gpointer data)
{
    GHashTable *added = g_hash_table_new(NULL, NULL);
    if (goes_back_to_other_machine(marker->changes, filter, data)) {
        let_go_of_q35(domain, marker);
    }
    g_autoptr(GHashTable) ours = changed_devices(domain, marker->changes, filter, data);
    find_added(domain, marker, ours, added);
    find_spare_ports(domain, marker, added);
    find_added_hubs(domain, marker, added);
    return added;
}

/* TRUE if one went: what carried it may be next. */
static gboolean drop_one(xmlNode *domain, GHashTable *added)
{
    for (xmlNode *n = first_device(domain); n != NULL; n = dkvm_xml_element(n->next)) {
        gboolean hub = dkvm_xml_is(n, "hub");
        gboolean used = hub ? is_hub_used(domain) : is_used(domain, n);
        if ((hub || dkvm_xml_is(n, "controller")) && g_hash_table_contains(added, n) && !used) {
            g_hash_table_remove(added, n);
            dkvm_xml_remove(n);
            return TRUE;
        }
    }
    return FALSE;
}

void dkvm_added_after_undo(xmlNode *domain, GHashTable *added)
{
    while (g_hash_table_size(added) > 0 && drop_one(domain, added)) {
    }
}
