/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/addresses.h"

#include <string.h>

#include "xslt/undo.h"

/* The addresses that were put back, alone or with their device. */
static GHashTable *put_back(const DkvmChanges *changes)
{
    GHashTable *back = g_hash_table_new(NULL, NULL);
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        if (change->undone && change->kind == DKVM_CHANGE_REMOVE && change->node != NULL) {
            g_hash_table_add(back, change->node);
            g_hash_table_add(back, dkvm_xml_child(change->node, "address"));
        }
    }
    return back;
}

/* Whether any of CHANGES is about DEVICE or something inside it. */
static gboolean is_ours(const DkvmChanges *changes, const xmlNode *device)
{
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        const xmlNode *node = change->node;
        while (node != NULL && node != device) {
            node = node->parent;
        }
        if (node != NULL) {
            return TRUE;
        }
    }
    return FALSE;
}

static xmlNode *first_device(xmlNode *domain)
{
    const xmlNode *devices = dkvm_xml_child(domain, "devices");
    return devices ? dkvm_xml_element(devices->children) : NULL;
}

static const char *bus_of(const xmlNode *device)
{
    return dkvm_xml_get(dkvm_xml_child(device, "target"), "bus");
}

/* Another address at the place of ADDRESS; NULL if it has the place for itself. */
static xmlNode *find_equal(xmlNode *domain, const xmlNode *address)
{
    for (xmlNode *n = first_device(domain); n != NULL; n = dkvm_xml_element(n->next)) {
        xmlNode *other = dkvm_xml_child(n, "address");
        if (other != NULL && other != address && dkvm_node_values_equal(other, address) &&
            g_strcmp0(bus_of(n), bus_of(address->parent)) == 0) { /* SATA and IDE count alike */
            return other;
        }
    }
    return NULL;
}

static gboolean is_pci(const xmlNode *address)
{
    return g_strcmp0(dkvm_xml_get(address, "type"), "pci") == 0;
}

static gboolean is_usb(const xmlNode *address)
{
    return g_strcmp0(dkvm_xml_get(address, "type"), "usb") == 0;
}

static gboolean is_drive(const xmlNode *address)
{
    return g_strcmp0(dkvm_xml_get(address, "type"), "drive") == 0;
}

/* A card for ISA has no address on PCI, where libvirt put the one that we made of it. */
static gboolean is_isa_card(const xmlNode *device)
{
    return dkvm_xml_is(device, "sound") && g_strcmp0(dkvm_xml_get(device, "model"), "sb16") == 0;
}

void dkvm_addresses_settle(xmlNode *domain, DkvmChanges *changes)
{
    g_autoptr(GHashTable) back = put_back(changes);
    for (xmlNode *n = first_device(domain); n != NULL; n = dkvm_xml_element(n->next)) {
        xmlNode *address = dkvm_xml_child(n, "address");
        if (is_pci(address) && is_isa_card(n)) {
            dkvm_undo_drop(changes, address);
            continue;
        }
        gboolean judged = address != NULL &&
                          (is_pci(address) || is_usb(address) || is_drive(address)) &&
                          g_hash_table_contains(back, address);
        xmlNode *other = judged ? find_equal(domain, address) : NULL;
        if (other != NULL) {
            gboolean gives_way =
                is_ours(changes, other->parent) && !g_hash_table_contains(back, other);
            dkvm_undo_drop(changes, gives_way ? other : address);
        }
    }
}

void dkvm_addresses_drop_usb(xmlNode *domain, DkvmChanges *changes)
{
    g_autoptr(GHashTable) back = put_back(changes);
    for (xmlNode *n = first_device(domain); n != NULL; n = dkvm_xml_element(n->next)) {
        xmlNode *address = dkvm_xml_child(n, "address");
        if (is_usb(address) && g_strcmp0(dkvm_xml_get(address, "bus"), "0") == 0 &&
            !g_hash_table_contains(back, address)) {
            dkvm_undo_drop(changes, address);
        }
    }
}

static gboolean is_name_taken(xmlNode *domain, const char *name, const xmlNode *but)
{
    for (xmlNode *n = first_device(domain); n != NULL; n = dkvm_xml_element(n->next)) {
        const xmlNode *target = dkvm_xml_is(n, "disk") ? dkvm_xml_child(n, "target") : NULL;
        if (target != NULL && target != but && g_strcmp0(dkvm_xml_get(target, "dev"), name) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* The first of sda to sdzz that nobody has; PREFIX "sd".  New string, NULL if there is none. */
static char *free_name(xmlNode *domain, const char *prefix)
{
    for (guint n = 0; n < 26 * 27; n++) {
        char first[2] = {n < 26 ? '\0' : (char)('a' + n / 26 - 1), '\0'};
        g_autofree char *name = g_strdup_printf("%s%s%c", prefix, first, 'a' + n % 26);
        if (!is_name_taken(domain, name, NULL)) {
            return g_steal_pointer(&name);
        }
    }
    return NULL;
}

void dkvm_addresses_free_names(xmlNode *domain, DkvmChanges *changes)
{
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        const char *dev = dkvm_xml_get(change->node, "dev");
        if (!change->undone || change->kind != DKVM_CHANGE_SET || dev == NULL || strlen(dev) < 3 ||
            !dkvm_xml_is(change->node, "target") || !is_name_taken(domain, dev, change->node)) {
            continue;
        }
        g_autofree char *prefix = g_strndup(dev, 2);
        g_autofree char *name = free_name(domain, prefix);
        xmlNode *address = dkvm_xml_child(change->node->parent, "address");
        if (name != NULL) {
            dkvm_xml_set(change->node, "dev", name);
        }
        if (name != NULL && is_drive(address)) {
            dkvm_undo_drop(changes, address); /* it goes with the name */
        }
    }
}
