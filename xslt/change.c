/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/change.h"

#include <string.h>

#include "xslt/parts.h"

static void change_free(gpointer data)
{
    DkvmChange *change = data;
    g_free(change->at);
    g_free(change->part);
    g_free(change->unit);
    g_free(change->after);
    g_free(change);
}

DkvmChanges *dkvm_changes_new(void)
{
    DkvmChanges *changes = g_new0(DkvmChanges, 1);
    changes->list = g_ptr_array_new_with_free_func(change_free);
    changes->store = xmlNewDoc(BAD_CAST "1.0");
    xmlDocSetRootElement(changes->store,
                         xmlNewDocNode(changes->store, NULL, BAD_CAST "store", NULL));
    return changes;
}

void dkvm_changes_free(DkvmChanges *changes)
{
    if (changes == NULL) {
        return;
    }
    g_ptr_array_unref(changes->list);
    xmlFreeDoc(changes->store);
    g_free(changes);
}

static xmlNode *keep(DkvmChanges *changes, const xmlNode *node, gboolean shallow)
{
    if (node == NULL) {
        return NULL;
    }
    return xmlAddChild(xmlDocGetRootElement(changes->store),
                       dkvm_node_import(changes->store, node, shallow));
}

DkvmChange *dkvm_changes_add(DkvmChanges *changes, DkvmChangeKind kind, const char *at,
                             const xmlNode *was, const xmlNode *now, gboolean shallow)
{
    DkvmChange *change = g_new0(DkvmChange, 1);
    change->kind = kind;
    change->at = g_strdup(at);
    change->was = keep(changes, was, shallow);
    change->now = keep(changes, now, shallow);
    change->part = g_strdup(dkvm_part_of(change));
    change->unit = dkvm_unit_of(change);
    g_ptr_array_add(changes->list, change);
    return change;
}

static gint by_place(gconstpointer a, gconstpointer b)
{
    const DkvmChange *x = *(const DkvmChange *const *)a, *y = *(const DkvmChange *const *)b;
    const char *last_x = strrchr(x->at, '/'), *last_y = strrchr(y->at, '/');
    gsize plain_x = last_x ? (gsize)(last_x - x->at) : 0,
          plain_y = last_y ? (gsize)(last_y - y->at) : 0;
    plain_x += strcspn(x->at + plain_x, "[#");
    plain_y += strcspn(y->at + plain_y, "[#");
    gint order = strncmp(x->at, y->at, MIN(plain_x, plain_y));
    order = order ? order : (gint)plain_x - (gint)plain_y;
    order = order ? order : (x->position > y->position) - (x->position < y->position);
    order = order ? order : g_strcmp0(x->at, y->at);
    return order ? order : (gint)x->kind - (gint)y->kind;
}

void dkvm_changes_sort(DkvmChanges *changes)
{
    g_ptr_array_sort(changes->list, by_place);
}

static gboolean both_or_neither_equal(const xmlNode *a, const xmlNode *b)
{
    return a == NULL || b == NULL ? a == b : dkvm_node_equal(a, b);
}

gboolean dkvm_change_equal(const DkvmChange *a, const DkvmChange *b)
{
    return a->kind == b->kind && g_str_equal(a->at, b->at) &&
           both_or_neither_equal(a->was, b->was) && both_or_neither_equal(a->now, b->now);
}

DkvmChange *dkvm_changes_find(const DkvmChanges *changes, const DkvmChange *change)
{
    for (guint i = 0; i < changes->list->len; i++) {
        DkvmChange *other = g_ptr_array_index(changes->list, i);
        if (dkvm_change_equal(other, change)) {
            return other;
        }
    }
    return NULL;
}

/* ---- nodes ---- */

gboolean dkvm_is_id(const xmlAttr *attribute)
{
    return xmlStrEqual(attribute->name, BAD_CAST DKVM_ID);
}

static xmlNs *import_namespace(xmlDoc *doc, xmlNode *copy, const xmlNs *ns)
{
    xmlNode *root = xmlDocGetRootElement(doc);
    if (!xmlStrEqual(ns->href, BAD_CAST DKVM_NS_QEMU) || root == NULL) {
        return xmlNewNs(copy, ns->href, ns->prefix);
    }
    for (xmlNs *own = root->nsDef; own != NULL; own = own->next) {
        if (own->prefix != NULL && xmlStrEqual(own->href, ns->href)) {
            return own;
        }
    }
    xmlNs *declared = xmlNewNs(root, ns->href, BAD_CAST "qemu");
    return declared ? declared : xmlNewNs(root, ns->href, BAD_CAST "dkvm-qemu");
}

static void import_children(xmlNode *copy, const xmlNode *node)
{
    for (const xmlNode *child = node->children; child != NULL; child = child->next) {
        xmlNode *inner = child->type == XML_ELEMENT_NODE
                             ? dkvm_node_import(copy->doc, child, FALSE)
                             : xmlDocCopyNode((xmlNode *)child, copy->doc, 1);
        if (inner != NULL) {
            xmlAddChild(copy, inner);
        }
    }
}

xmlNode *dkvm_node_import(xmlDoc *doc, const xmlNode *node, gboolean shallow)
{
    xmlNode *copy = xmlNewDocNode(doc, NULL, node->name, NULL);
    if (node->ns != NULL) {
        xmlSetNs(copy, import_namespace(doc, copy, node->ns));
    }
    for (const xmlAttr *a = node->properties; a != NULL; a = a->next) {
        if (a->ns == NULL && !dkvm_is_id(a)) {
            dkvm_xml_set(copy, (const char *)a->name, dkvm_xml_get(node, (const char *)a->name));
        }
    }
    if (!shallow) {
        import_children(copy, node);
    }
    return copy;
}

/* Attributes without a namespace, ids aside: each of A is in B, and there are as many. */
static gboolean attributes_equal(const xmlNode *a, const xmlNode *b)
{
    gint balance = 0;
    for (const xmlAttr *x = a->properties; x != NULL; x = x->next) {
        const char *name = (const char *)x->name;
        if (x->ns != NULL || dkvm_is_id(x)) {
            continue;
        }
        if (g_strcmp0(dkvm_xml_get(a, name), dkvm_xml_get(b, name)) != 0) {
            return FALSE;
        }
        balance++;
    }
    for (const xmlAttr *x = b->properties; x != NULL; x = x->next) {
        balance -= x->ns == NULL && !dkvm_is_id(x) ? 1 : 0;
    }
    return balance == 0;
}

gboolean dkvm_node_values_equal(const xmlNode *a, const xmlNode *b)
{
    if (!attributes_equal(a, b)) {
        return FALSE;
    }
    const xmlNode *x = a->children, *y = b->children;
    gboolean simple = (x == NULL || (x->type == XML_TEXT_NODE && x->next == NULL)) &&
                      (y == NULL || (y->type == XML_TEXT_NODE && y->next == NULL));
    if (simple) {
        return xmlStrEqual(x ? x->content : BAD_CAST "", y ? y->content : BAD_CAST "");
    }
    g_autofree char *text_a = dkvm_xml_text(a), *text_b = dkvm_xml_text(b);
    return g_str_equal(text_a, text_b);
}

gboolean dkvm_node_equal(const xmlNode *a, const xmlNode *b)
{
    if (!xmlStrEqual(a->name, b->name) ||
        !dkvm_xml_has_ns(a, b->ns ? (const char *)b->ns->href : NULL) ||
        !dkvm_node_values_equal(a, b)) {
        return FALSE;
    }
    const xmlNode *x = dkvm_xml_element(a->children), *y = dkvm_xml_element(b->children);
    while (x != NULL && y != NULL && dkvm_node_equal(x, y)) {
        x = dkvm_xml_element(x->next);
        y = dkvm_xml_element(y->next);
    }
    return x == NULL && y == NULL;
}

gboolean dkvm_node_is_container(const xmlNode *node)
{
    static const char *const names[] = {"os", "firmware",      "features", "cpu", "clock",
                                        "pm", "memoryBacking", "devices",  NULL};
    if (dkvm_xml_has_ns(node, DKVM_NS_QEMU)) {
        return xmlStrEqual(node->name, BAD_CAST "commandline");
    }
    return node->ns == NULL && g_strv_contains(names, (const char *)node->name);
}

void dkvm_node_set_text(xmlNode *node, const char *text)
{
    xmlNode *child = node->children;
    while (child != NULL) {
        xmlNode *next = child->next;
        if (child->type == XML_TEXT_NODE) {
            dkvm_xml_remove(child);
        }
        child = next;
    }
    if (*text == '\0') {
        return;
    }
    xmlNode *made = xmlNewDocText(node->doc, BAD_CAST text);
    if (node->children != NULL) {
        xmlAddPrevSibling(node->children, made);
    } else {
        xmlAddChild(node, made);
    }
}
