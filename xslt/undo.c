/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/undo.h"

#include "xslt/locator.h"

#include <string.h>

/* ---- still as we wrote it? ---- */

/* What libvirt adds to an element that we wrote: attributes and children by element ("*": any). */
static const struct {
    const char *element, *name;
} libvirt_adds[] = {
    {"*", "address"},
    {"*", "alias"},
    {"cpu", "migratable"},
    {"topology", "dies"},
    {"topology", "clusters"},
    {"nvram", "template"},
    {"nvram", "templateFormat"},
    {"nvram", "format"},
    {"nvram", "type"},
    {"loader", "readonly"},
    {"loader", "type"},
    {"loader", "secure"},
    {"loader", "format"},
    {"loader", "stateless"},
    {"controller", "model"},
    {"controller", "target"},
    {"controller", "master"},
    {"vcpu", "placement"},
    {"timer", "present"},
    {"model", "vram"},
    {"model", "vram64"},
    {"model", "ram"},
    {"model", "vgamem"},
    {"model", "heads"},
    {"model", "primary"},
};

static gboolean libvirt_may_add(const xmlChar *element, const xmlChar *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(libvirt_adds); i++) {
        const char *e = libvirt_adds[i].element;
        if ((*e == '*' || xmlStrEqual(element, BAD_CAST e)) &&
            xmlStrEqual(name, BAD_CAST libvirt_adds[i].name)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* libvirt stores the machine alias "q35" as the versioned type that it means. */
static gboolean same_value(const xmlNode *element, const char *name, const char *wrote,
                           const char *is)
{
    if (g_strcmp0(wrote, is) == 0) {
        return TRUE;
    }
    return wrote != NULL && is != NULL && g_str_equal(name, "machine") &&
           xmlStrEqual(element->name, BAD_CAST "type") && g_str_equal(wrote, "q35") &&
           g_str_has_prefix(is, "pc-q35");
}

static gboolean attributes_kept(const xmlNode *wrote, const xmlNode *is)
{
    for (const xmlAttr *a = wrote->properties; a != NULL; a = a->next) {
        const char *name = (const char *)a->name;
        if (!same_value(is, name, dkvm_xml_get(wrote, name), dkvm_xml_get(is, name))) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean nothing_foreign(const xmlNode *wrote, const xmlNode *is)
{
    for (const xmlAttr *a = is->properties; a != NULL; a = a->next) {
        if (a->ns == NULL && dkvm_xml_get(wrote, (const char *)a->name) == NULL && !dkvm_is_id(a) &&
            !libvirt_may_add(is->name, a->name)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean element_kept(const xmlNode *wrote, const xmlNode *is);

/* Every child that we wrote is there, and no other but libvirt's. */
static gboolean children_kept(const xmlNode *wrote, const xmlNode *is)
{
    const xmlNode *w = dkvm_xml_element(wrote->children);
    for (const xmlNode *n = dkvm_xml_element(is->children); n != NULL;
         n = dkvm_xml_element(n->next)) {
        if (w != NULL && xmlStrEqual(w->name, n->name)) {
            if (!element_kept(w, n)) {
                return FALSE;
            }
            w = dkvm_xml_element(w->next);
        } else if (!libvirt_may_add(is->name, n->name)) {
            return FALSE;
        }
    }
    return w == NULL;
}

static gboolean element_kept(const xmlNode *wrote, const xmlNode *is)
{
    g_autofree char *text_wrote = dkvm_xml_text(wrote), *text_is = dkvm_xml_text(is);
    return g_str_equal(text_wrote, text_is) && attributes_kept(wrote, is) &&
           nothing_foreign(wrote, is) && children_kept(wrote, is);
}

static gboolean set_kept(const DkvmChange *change)
{
    g_autofree char *wrote = dkvm_xml_text(change->now), *is = dkvm_xml_text(change->node);
    if (change->now->children != NULL && !g_str_equal(wrote, is)) {
        return FALSE;
    }
    for (const xmlAttr *a = change->was->properties; a != NULL; a = a->next) {
        const char *name = (const char *)a->name;
        if (dkvm_xml_get(change->now, name) == NULL && dkvm_xml_get(change->node, name) != NULL &&
            !libvirt_may_add(change->node->name, a->name)) {
            return FALSE; /* we took the attribute away, somebody put it back */
        }
    }
    return attributes_kept(change->now, change->node);
}

/* Something stands where we took something away.  libvirt brings some things back by itself. */
static gboolean is_put_back(const DkvmChange *change)
{
    static const char *const by_libvirt[] = {"address", "alias", "controller",
                                             "loader",  "nvram", NULL};
    return change->node != NULL && !g_strv_contains(by_libvirt, (const char *)change->node->name);
}

static gboolean is_edited(const DkvmChange *change)
{
    if (change->kind == DKVM_CHANGE_REMOVE) {
        return is_put_back(change);
    }
    if (change->node == NULL) {
        return TRUE;
    }
    if (change->kind == DKVM_CHANGE_SET) {
        return !set_kept(change);
    }
    if (dkvm_node_is_container(change->now)) {
        return !attributes_kept(change->now,
                                change->node); /* its children are changes of their own */
    }
    return !element_kept(change->now, change->node);
}

void dkvm_undo_look(xmlNode *domain, DkvmChanges *changes)
{
    g_autoptr(GHashTable) edited = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < changes->list->len; i++) {
        DkvmChange *change = g_ptr_array_index(changes->list, i);
        change->node = dkvm_locator_find(domain, change->at);
        change->touched = is_edited(change);
        if (change->touched) {
            g_hash_table_add(edited, change->unit);
        }
    }
    for (guint i = 0; i < changes->list->len; i++) {
        DkvmChange *change = g_ptr_array_index(changes->list, i);
        change->edited = g_hash_table_contains(edited, change->unit);
    }
}

/* ---- taking back ---- */

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

/* Frees NODE; no change points into it afterwards (a marker can say anything). */
static void drop(DkvmChanges *changes, xmlNode *node)
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
        drop(changes, change->node);
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

static void undo_set(DkvmChange *change)
{
    if (change->node == NULL) {
        return;
    }
    if (is_filled_by_type(change)) {
        drop_attributes(change->node);
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
        drop(changes, change->node);
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
            drop(changes, node);
        }
    }
}

void dkvm_undo(xmlNode *domain, DkvmChanges *changes, DkvmChangeFilter filter, gpointer data)
{
    guint length = changes->list->len;
    g_autofree gboolean *wanted = g_new0(gboolean, length + 1);
    gboolean selected = FALSE;
    for (guint i = 0; i < length; i++) {
        DkvmChange *change = g_ptr_array_index(changes->list, i);
        wanted[i] = filter(change, data);
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
            undo_set(change);
        }
    }
    /* Forwards: positions count from the front. */
    for (guint i = 0; i < length; i++) {
        DkvmChange *change = g_ptr_array_index(changes->list, i);
        if (wanted[i] && change->kind == DKVM_CHANGE_REMOVE) {
            undo_remove(changes, change);
        }
    }
}
