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

/* The controller that DEVICE sits on, as "pci-5" or "sata-1"; NULL if it is another kind or none.
 */
static char *seat_of(const xmlNode *device)
{
    const xmlNode *address = dkvm_xml_child(device, "address");
    const char *type = dkvm_xml_get(address, "type");
    const char *bus = dkvm_xml_get(dkvm_xml_child(device, "target"), "bus");
    gboolean pci = g_strcmp0(type, "pci") == 0;
    gboolean sata = g_strcmp0(type, "drive") == 0 && g_strcmp0(bus, "sata") == 0;
    const char *place = dkvm_xml_get(address, pci ? "bus" : "controller");
    if (place == NULL || !(pci || sata)) {
        return NULL;
    }
    return g_strdup_printf("%s-%" G_GUINT64_FORMAT, pci ? "pci" : "sata",
                           g_ascii_strtoull(place, NULL, 0));
}

static guint64 index_of(const xmlNode *controller)
{
    const char *index = dkvm_xml_get(controller, "index");
    return index ? g_ascii_strtoull(index, NULL, 10) : 0;
}

/* What seat_of() says of those that sit on CONTROLLER. */
static char *seat_on(const xmlNode *controller)
{
    const char *type = dkvm_xml_get(controller, "type");
    return g_strdup_printf("%s-%" G_GUINT64_FORMAT, type ? type : "", index_of(controller));
}

static void take_seat(GHashTable *seats, const xmlNode *device)
{
    char *seat = seat_of(device);
    if (seat != NULL) {
        g_hash_table_add(seats, seat);
    }
}

static GHashTable *new_seats(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

static gboolean is_taken(GHashTable *seats, const xmlNode *controller)
{
    g_autofree char *seat = seat_on(controller);
    return g_hash_table_contains(seats, seat);
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

/* The marker lists the original's controllers as "pci-0 pci-1 usb-0". */
static gboolean was_there(const DkvmMarker *marker, const char *type, const char *index)
{
    g_autofree char *word = g_strdup_printf("%s-%s", type, index);
    const char *list = marker->controllers ? marker->controllers : "";
    gsize length = strlen(word);
    for (const char *p = strstr(list, word); p != NULL; p = strstr(p + 1, word)) {
        if ((p == list || p[-1] == ' ') && (p[length] == '\0' || p[length] == ' ')) {
            return TRUE;
        }
    }
    return FALSE;
}

/* ---- what libvirt added for what we made ---- */

/* Where the devices sit that the changes to be taken back are about. */
static GHashTable *seats_of_changed(xmlNode *domain, const DkvmChanges *changes,
                                    DkvmChangeFilter filter, gpointer data)
{
    GHashTable *seats = new_seats();
    const xmlNode *parent = dkvm_xml_child(domain, "devices");
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        xmlNode *node = filter(change, data) ? dkvm_locator_find(domain, change->at) : NULL;
        while (node != NULL && node->parent != parent) {
            node = node->parent;
        }
        if (node != NULL && parent != NULL) {
            take_seat(seats, node);
        }
    }
    return seats;
}

static gboolean may_be_added(const xmlNode *node, const DkvmMarker *marker)
{
    const char *type = dkvm_xml_get(node, "type"), *index = dkvm_xml_get(node, "index");
    gboolean kind = g_strcmp0(type, "pci") == 0 || g_strcmp0(type, "sata") == 0;
    return dkvm_xml_is(node, "controller") && kind && index != NULL && marker->controllers &&
           !was_there(marker, type, index);
}

/* A port, a bridge on it, a controller on that: PCI is not nested deeper by libvirt. */
#define MOST_LEVELS 8

/* Every controller that one of SEATS is on, and those that carry these. */
static void find_added(xmlNode *domain, const DkvmMarker *marker, GHashTable *seats,
                       GHashTable *added)
{
    guint before = G_MAXUINT;
    for (guint i = 0; i < MOST_LEVELS && before != g_hash_table_size(added); i++) {
        before = g_hash_table_size(added);
        for (xmlNode *n = first_device(domain); n != NULL; n = dkvm_xml_element(n->next)) {
            if (may_be_added(n, marker) && is_taken(seats, n) && g_hash_table_add(added, n)) {
                take_seat(seats, n);
            }
        }
    }
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
    g_autoptr(GHashTable) seats = seats_of_changed(domain, marker->changes, filter, data);
    find_added(domain, marker, seats, added);
    find_spare_ports(domain, marker, added);
    find_added_hubs(domain, marker, added);
    return added;
}

/* Not all of ADDED are still there, and the undo may have put something else in the same memory:
 * what the original had is never dropped. */
static gboolean may_go(const xmlNode *node, const DkvmMarker *marker, GHashTable *added)
{
    return g_hash_table_contains(added, node) &&
           (dkvm_xml_is(node, "hub") || may_be_added(node, marker));
}

/* Returns how many went. */
static guint drop_unused(xmlNode *domain, const DkvmMarker *marker, GHashTable *added)
{
    g_autoptr(GHashTable) seats = new_seats();
    gboolean hubs = is_hub_used(domain);
    guint dropped = 0;
    for (xmlNode *n = first_device(domain); n != NULL; n = dkvm_xml_element(n->next)) {
        take_seat(seats, n);
    }
    for (xmlNode *n = first_device(domain), *next; n != NULL; n = next) {
        next = dkvm_xml_element(n->next);
        if (may_go(n, marker, added) && !(dkvm_xml_is(n, "hub") ? hubs : is_taken(seats, n))) {
            g_hash_table_remove(added, n);
            dkvm_undo_drop(marker->changes, n);
            dropped++;
        }
    }
    return dropped;
}

void dkvm_added_after_undo(xmlNode *domain, const DkvmMarker *marker, GHashTable *added)
{
    /* What carried the last one may be next. */
    for (guint i = 0; i < MOST_LEVELS && drop_unused(domain, marker, added) > 0; i++) {
    }
}
