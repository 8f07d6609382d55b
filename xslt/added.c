/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/added.h"

#include <string.h>

static gboolean is_used_bus(const xmlNode *devices, const char *index)
{
    guint64 wanted = g_ascii_strtoull(index, NULL, 10);
    for (xmlNode *n = dkvm_xml_element(devices->children); n != NULL;
         n = dkvm_xml_element(n->next)) {
        const xmlNode *address = dkvm_xml_child(n, "address");
        const char *bus = dkvm_xml_get(address, "bus");
        if (bus != NULL && g_strcmp0(dkvm_xml_get(address, "type"), "pci") == 0 &&
            g_ascii_strtoull(bus, NULL, 0) == wanted) {
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

/* PCI bridges that the original did not have and nothing sits on. */
static void drop_added_bridges(xmlNode *domain, const DkvmMarker *marker)
{
    xmlNode *devices = dkvm_xml_child(domain, "devices");
    xmlNode *node = devices && marker->controllers ? dkvm_xml_element(devices->children) : NULL;
    while (node != NULL) {
        xmlNode *next = dkvm_xml_element(node->next);
        const char *index = dkvm_xml_get(node, "index");
        if (dkvm_xml_is(node, "controller") && g_strcmp0(dkvm_xml_get(node, "type"), "pci") == 0 &&
            index != NULL && !was_there(marker, "pci", index) && !is_used_bus(devices, index)) {
            dkvm_xml_remove(node);
        }
        node = next;
    }
}

/* Hubs that libvirt added for more USB devices than the controller had ports, and nothing hangs on.
 */
static void drop_added_hubs(xmlNode *domain, const DkvmMarker *marker)
{
    xmlNode *devices = dkvm_xml_child(domain, "devices");
    gboolean added = marker->made != NULL && strstr(marker->made, "hub") != NULL;
    for (xmlNode *n = added && devices ? dkvm_xml_element(devices->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        const char *port = dkvm_xml_get(dkvm_xml_child(n, "address"), "port");
        added = added && (port == NULL || strchr(port, '.') == NULL);
    }
    xmlNode *hub = added ? dkvm_xml_child(devices, "hub") : NULL;
    while (hub != NULL) {
        dkvm_xml_remove(hub);
        hub = dkvm_xml_child(devices, "hub");
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

void dkvm_added_before_undo(xmlNode *domain, const DkvmMarker *marker, DkvmChangeFilter filter,
                            gpointer data)
{
    if (goes_back_to_other_machine(marker->changes, filter, data)) {
        let_go_of_q35(domain, marker);
    }
}

void dkvm_added_after_undo(xmlNode *domain, const DkvmMarker *marker)
{
    drop_added_bridges(domain, marker);
    drop_added_hubs(domain, marker);
}
