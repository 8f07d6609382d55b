/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/undo.h"

#include "xslt/locator.h"

#include <string.h>

/* The parent of what LOCATOR names, whether or not that is there. */
static xmlNode *find_parent(xmlNode *domain, const char *locator)
{
    const char *slash = strrchr(locator, '/');
    g_autofree char *parent = slash ? g_strndup(locator, slash - locator) : g_strdup("");
    return dkvm_locator_find(domain, parent);
}

static gboolean is_inside(const xmlNode *node, const xmlNode *tree)
{
    while (node != NULL && node != tree) {
        node = node->parent;
    }
    return node != NULL;
}

void dkvm_undo_drop(DkvmChanges *changes, xmlNode *node)
{
    for (guint i = 0; i < changes->list->len; i++) {
        DkvmChange *change = g_ptr_array_index(changes->list, i);
        change->node = is_inside(change->node, node) ? NULL : change->node;
        change->parent = is_inside(change->parent, node) ? NULL : change->parent;
    }
    dkvm_xml_remove(node);
}

static void undo_add(DkvmChanges *changes, DkvmChange *change)
{
    if (change->node == NULL) {
        return;
    }
    gboolean in_use =
        dkvm_node_is_container(change->now) && dkvm_xml_element(change->node->children);
    if (!in_use) {
        dkvm_undo_drop(changes, change->node);
    }
}

/* A display's model belongs to its type as a whole, with what libvirt filled in for the type that
 * we set. */
static gboolean is_filled_by_type(const DkvmChange *change)
{
    return g_str_has_prefix(change->at, "devices/video") && g_str_has_suffix(change->at, "/model");
}

static void drop_attributes(xmlNode *node)
{
    for (const xmlAttr *a = node->properties; a != NULL;) {
        const xmlAttr *next = a->next;
        if (a->ns == NULL && !dkvm_is_id(a)) {
            g_autofree char *name = g_strdup((const char *)a->name);
            dkvm_xml_set(node, name, NULL);
        }
        a = next;
    }
}

static gboolean leaves_virtio(const DkvmChange *change)
{
    return xmlStrEqual(change->node->name, BAD_CAST "target") &&
           g_strcmp0(dkvm_xml_get(change->now, "bus"), "virtio") == 0 &&
           g_strcmp0(dkvm_xml_get(change->was, "bus"), "virtio") != 0;
}

/* What the user set meanwhile and only virtio disks have (libvirt's virDomainDiskDefValidate; the
 * same list is in devices.xsl). */
static void drop_virtio_options(DkvmChanges *changes, xmlNode *disk)
{
    static const char *const options[] = {"iothread",  "queues",    "queue_size",
                                          "ioeventfd", "event_idx", "iommu",
                                          "ats",       "packed",    "page_per_vq"};
    xmlNode *driver = dkvm_xml_child(disk, "driver");
    xmlNode *threads = driver ? dkvm_xml_child(driver, "iothreads") : NULL;
    for (gsize i = 0; driver != NULL && i < G_N_ELEMENTS(options); i++) {
        dkvm_xml_set(driver, options[i], NULL);
    }
    if (threads != NULL) {
        dkvm_undo_drop(changes, threads);
    }
}

static void undo_set(DkvmChanges *changes, DkvmChange *change)
{
    if (change->node == NULL) {
        return;
    }
    if (is_filled_by_type(change)) {
        drop_attributes(change->node);
    }
    if (leaves_virtio(change)) {
        drop_virtio_options(changes, change->node->parent);
    }
    const xmlNode *mentioned[] = {change->was, change->now};
    for (gsize i = 0; i < G_N_ELEMENTS(mentioned); i++) {
        for (const xmlAttr *a = mentioned[i]->properties; a != NULL; a = a->next) {
            const char *name = (const char *)a->name;
            dkvm_xml_set(change->node, name, dkvm_xml_get(change->was, name));
        }
    }
    if (change->was->children != NULL) {
        g_autofree char *text = dkvm_xml_text(change->was);
        dkvm_node_set_text(change->node, text);
    }
}

/* Among its like by position; where none of them is left, after what came before it. */
static void insert_at(xmlNode *parent, xmlNode *element, guint position, const char *after)
{
    xmlNode *last = NULL, *neighbour = NULL;
    for (xmlNode *n = dkvm_xml_element(parent->children); n != NULL;
         n = dkvm_xml_element(n->next)) {
        neighbour = after != NULL && xmlStrEqual(n->name, BAD_CAST after) ? n : neighbour;
        if (!xmlStrEqual(n->name, element->name)) {
            continue;
        }
        if (position-- == 0) {
            xmlAddPrevSibling(n, element);
            return;
        }
        last = n;
    }
    last = last ? last : neighbour;
    if (last != NULL) {
        xmlAddNextSibling(last, element);
    } else if (after == NULL && parent->children != NULL) {
        xmlAddPrevSibling(parent->children, element);
    } else {
        xmlAddChild(parent, element);
    }
}

/* libvirt may have put something of its own in the place: ours to take away again. */
static void undo_remove(DkvmChanges *changes, DkvmChange *change)
{
    if (change->node != NULL) {
        dkvm_undo_drop(changes, change->node);
    }
    if (change->parent != NULL) {
        change->node = dkvm_node_import(change->parent->doc, change->was, FALSE);
        insert_at(change->parent, change->node, change->position, change->after);
    }
}

/* From 9.2 on libvirt writes <loader> beside the firmware='efi' that we set; without that attribute
 * it would be somebody's own choice of firmware. */
static gboolean sets_firmware(const DkvmChange *change)
{
    return change->kind == DKVM_CHANGE_SET && g_str_equal(change->at, "os") &&
           dkvm_xml_get(change->now, "firmware") != NULL &&
           dkvm_xml_get(change->was, "firmware") == NULL;
}

static void drop_selected_firmware(DkvmChanges *changes, xmlNode *domain)
{
    static const char *const filled[] = {"loader", "nvram"};
    for (gsize i = 0; i < G_N_ELEMENTS(filled); i++) {
        xmlNode *node = dkvm_xml_child(dkvm_xml_child(domain, "os"), filled[i]);
        if (node != NULL) {
            dkvm_undo_drop(changes, node);
        }
    }
}

/* Whether what CHANGE stood behind is still to be put back into the same parent. */
static gboolean must_wait(const DkvmChanges *changes, const gboolean *wanted,
                          const DkvmChange *change)
{
    for (guint i = 0; change->after != NULL && i < changes->list->len; i++) {
        const DkvmChange *other = g_ptr_array_index(changes->list, i);
        if (wanted[i] && other != change && other->kind == DKVM_CHANGE_REMOVE &&
            other->parent == change->parent &&
            xmlStrEqual(other->was->name, BAD_CAST change->after) &&
            !xmlStrEqual(other->was->name, change->was->name)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* One round over those that are left; those that must wait only if not PATIENT.  Returns how many
 * were put back. */
static guint put_some_back(DkvmChanges *changes, gboolean *wanted, gboolean patient)
{
    guint done = 0;
    for (guint i = 0; i < changes->list->len; i++) {
        DkvmChange *change = g_ptr_array_index(changes->list, i);
        if (wanted[i] && change->kind == DKVM_CHANGE_REMOVE &&
            !(patient && must_wait(changes, wanted, change))) {
            undo_remove(changes, change);
            wanted[i] = FALSE;
            done++;
        }
    }
    return done;
}

/* Neighbours that wait for each other in a row; a marker can say anything. */
#define MOST_ROUNDS 16

/* Forwards, since positions count from the front, and what stood behind another one after that.
 * WANTED is used up. */
static void put_all_back(DkvmChanges *changes, gboolean *wanted)
{
    for (guint i = 0; i < MOST_ROUNDS && put_some_back(changes, wanted, TRUE) > 0; i++) {
    }
    put_some_back(changes, wanted, FALSE);
}

void dkvm_undo(xmlNode *domain, DkvmChanges *changes, DkvmChangeFilter filter, gpointer data)
{
    guint length = changes->list->len;
    g_autofree gboolean *wanted = g_new0(gboolean, length + 1);
    gboolean selected = FALSE;
    for (guint i = 0; i < length; i++) {
        DkvmChange *change = g_ptr_array_index(changes->list, i);
        wanted[i] = filter(change, data);
        change->undone = wanted[i];
        change->node = dkvm_locator_find(domain, change->at);
        change->parent = find_parent(domain, change->at);
        selected |= wanted[i] && sets_firmware(change);
    }
    /* Backwards: what is inside an element that we added goes before the element. */
    for (guint i = length; i > 0; i--) {
        DkvmChange *change = g_ptr_array_index(changes->list, i - 1);
        if (wanted[i - 1] && change->kind == DKVM_CHANGE_ADD) {
            undo_add(changes, change);
        }
    }
    if (selected) {
        drop_selected_firmware(changes, domain);
    }
    for (guint i = 0; i < length; i++) {
        DkvmChange *change = g_ptr_array_index(changes->list, i);
        if (wanted[i] && change->kind == DKVM_CHANGE_SET) {
            undo_set(changes, change);
        }
    }
    put_all_back(changes, wanted);
}
