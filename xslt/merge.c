/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/merge.h"

#include "xslt/compare.h"

void dkvm_merge_link(xmlNode *copy, xmlNode *original)
{
    copy->_private = original;
    xmlNode *c = dkvm_xml_element(copy->children), *o = dkvm_xml_element(original->children);
    while (c != NULL && o != NULL) {
        dkvm_merge_link(c, o);
        c = dkvm_xml_element(c->next);
        o = dkvm_xml_element(o->next);
    }
}

/* ---- one change ---- */

static void apply_attributes(xmlNode *node, const xmlNode *from, const xmlNode *values)
{
    for (const xmlAttr *a = from->properties; a != NULL; a = a->next) {
        const char *name = (const char *)a->name;
        dkvm_xml_set(node, name, dkvm_xml_get(values, name));
    }
}

static void apply_set(const DkvmChange *change)
{
    xmlNode *node = change->base->_private;
    if (node == NULL) {
        return;
    }
    apply_attributes(node, change->was, change->now);
    apply_attributes(node, change->now, change->now);
    if (change->now->children == NULL && change->was->children == NULL) {
        return;
    }
    g_autofree char *text = dkvm_xml_text(change->now);
    dkvm_node_set_text(node, text);
}

/* The original of a sibling in the result: by what it was, or because it was just made. */
static xmlNode *counterpart(const xmlNode *element, xmlNode *base_parent, const GPtrArray *numbered,
                            GHashTable *made)
{
    const xmlNode *from = dkvm_compare_origin(numbered, base_parent, element);
    return from ? from->_private : g_hash_table_lookup(made, element);
}

/* Where the result has it: after the nearest earlier sibling that the original has too. */
static void insert_like(xmlNode *parent, xmlNode *node, const DkvmChange *change,
                        const GPtrArray *numbered, GHashTable *made)
{
    for (const xmlNode *n = change->node->prev; n != NULL; n = n->prev) {
        xmlNode *before =
            n->type == XML_ELEMENT_NODE ? counterpart(n, change->base, numbered, made) : NULL;
        if (before != NULL && before->parent == parent) {
            xmlAddNextSibling(before, node);
            return;
        }
    }
    if (parent->children != NULL) {
        xmlAddPrevSibling(parent->children, node);
    } else {
        xmlAddChild(parent, node);
    }
}

static void apply_add(DkvmChange *change, const GPtrArray *numbered, GHashTable *made)
{
    xmlNode *parent =
        change->base ? change->base->_private : g_hash_table_lookup(made, change->node->parent);
    if (parent == NULL) {
        return;
    }
    xmlNode *node = dkvm_node_import(parent->doc, change->now, FALSE);
    insert_like(parent, node, change, numbered, made);
    g_hash_table_insert(made, change->node, node);
}

static void apply_remove(DkvmChange *change)
{
    xmlNode *node = change->base->_private;
    if (node != NULL) {
        change->base->_private = NULL;
        dkvm_xml_remove(node);
    }
}

void dkvm_merge_apply(DkvmChange *change, const GPtrArray *numbered, GHashTable *made)
{
    switch (change->kind) {
    case DKVM_CHANGE_SET:
        apply_set(change);
        break;
    case DKVM_CHANGE_ADD:
        apply_add(change, numbered, made);
        break;
    case DKVM_CHANGE_REMOVE:
        apply_remove(change);
        break;
    }
}
