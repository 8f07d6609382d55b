/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/compare.h"

#include "xslt/locator.h"

typedef struct {
    const GPtrArray *numbered;
    GHashTable *paired; /* element of base -> element of target */
    xmlNode *base, *target;
    DkvmChanges *changes;
    GHashTable *removed; /* locator without a count -> how many of it were removed */
} Comparison;

/* Elements that stylesheets may move, repeat or leave out among many of their kind get an id; what
 * is inside them is paired by its step. */
#define NUMBERED_LEVELS 2

static void number(xmlNode *element, GPtrArray *numbered, guint level)
{
    char id[16];
    g_snprintf(id, sizeof id, "%u", numbered->len);
    xmlNewNsProp(element, NULL, BAD_CAST DKVM_ID, BAD_CAST id);
    g_ptr_array_add(numbered, element);
    xmlNode *child = level < NUMBERED_LEVELS ? dkvm_xml_element(element->children) : NULL;
    for (; child != NULL; child = dkvm_xml_element(child->next)) {
        number(child, numbered, level + 1);
    }
}

GPtrArray *dkvm_compare_number(xmlNode *domain)
{
    GPtrArray *numbered = g_ptr_array_new();
    number(domain, numbered, 0);
    return numbered;
}

xmlNode *dkvm_compare_origin(const GPtrArray *numbered, xmlNode *base_parent,
                             const xmlNode *element)
{
    const char *id = dkvm_xml_get(element, DKVM_ID);
    guint64 n = 0;
    if (id != NULL) {
        gboolean good =
            g_ascii_string_to_unsigned(id, 10, 0, G_MAXUINT, &n, NULL) && n < numbered->len;
        return good ? g_ptr_array_index(numbered, n) : NULL;
    }
    if (base_parent == NULL) {
        return NULL;
    }
    g_autofree char *step = dkvm_locator_step(element);
    xmlNode *found = dkvm_locator_find(base_parent, step);
    return found != NULL && dkvm_xml_get(found, DKVM_ID) == NULL ? found : NULL;
}

/* ---- attributes and text of a pair ---- */

/* libvirt fills a display's model in by its type, so the whole of it belongs to the type. */
static gboolean is_filled_by_type(const xmlNode *element)
{
    return xmlStrEqual(element->name, BAD_CAST "model") && element->parent != NULL &&
           xmlStrEqual(element->parent->name, BAD_CAST "video");
}

static void note_difference(const xmlNode *from, const xmlNode *to, xmlNode *into)
{
    for (const xmlAttr *a = from->properties; a != NULL; a = a->next) {
        const char *name = (const char *)a->name;
        if (a->ns != NULL || dkvm_is_id(a)) {
            continue;
        }
        const char *value = dkvm_xml_get(from, name);
        if (is_filled_by_type(from) || g_strcmp0(value, dkvm_xml_get(to, name)) != 0) {
            dkvm_xml_set(into, name, value);
        }
    }
}

static void compare_values(Comparison *c, xmlNode *base, xmlNode *target)
{
    if (dkvm_node_values_equal(base, target)) {
        return;
    }
    xmlNode *was = xmlNewDocNode(c->changes->store, NULL, base->name, NULL);
    xmlNode *now = xmlNewDocNode(c->changes->store, NULL, base->name, NULL);
    note_difference(base, target, was);
    note_difference(target, base, now);
    g_autofree char *text_was = dkvm_xml_text(base), *text_now = dkvm_xml_text(target);
    if (!g_str_equal(text_was, text_now)) {
        xmlAddChild(was, xmlNewDocText(c->changes->store, BAD_CAST text_was));
        xmlAddChild(now, xmlNewDocText(c->changes->store, BAD_CAST text_now));
    }
    g_autofree char *at = dkvm_locator(c->target, target);
    DkvmChange *change = dkvm_changes_add(c->changes, DKVM_CHANGE_SET, at, was, now, FALSE);
    change->base = base;
    change->node = target;
    xmlFreeNode(was);
    xmlFreeNode(now);
}

/* ---- children ---- */

static void add_element(Comparison *c, xmlNode *parent, xmlNode *element)
{
    gboolean container = dkvm_node_is_container(element);
    g_autofree char *at = dkvm_locator(c->target, element);
    DkvmChange *change =
        dkvm_changes_add(c->changes, DKVM_CHANGE_ADD, at, NULL, element, container);
    change->base = parent;
    change->node = element;
    if (!container) {
        return;
    }
    for (xmlNode *n = dkvm_xml_element(element->children); n != NULL;
         n = dkvm_xml_element(n->next)) {
        add_element(c, NULL, n);
    }
}

static char *with_count(const char *plain, guint n)
{
    return n == 0 ? g_strdup(plain) : g_strdup_printf("%s#%u", plain, n);
}

/* A locator that nothing in the target has, and nothing else that was removed: what ELEMENT would
 * be called if it came back after its like. */
static char *free_locator(const Comparison *c, xmlNode *target_parent, const xmlNode *element)
{
    g_autofree char *parent = dkvm_locator(c->target, target_parent);
    g_autofree char *step = dkvm_locator_step(element);
    step[strcspn(step, "#")] = '\0';
    char *plain = *parent ? g_strconcat(parent, "/", step, NULL) : g_strdup(step);
    guint n = GPOINTER_TO_UINT(g_hash_table_lookup(c->removed, plain));
    char *at = with_count(plain, n);
    while (dkvm_locator_find(c->target, at) != NULL) {
        g_free(at);
        at = with_count(plain, ++n);
    }
    g_hash_table_insert(c->removed, plain, GUINT_TO_POINTER(n + 1));
    return at;
}

static void remove_element(Comparison *c, xmlNode *target_parent, xmlNode *element)
{
    g_autofree char *at = free_locator(c, target_parent, element);
    DkvmChange *change = dkvm_changes_add(c->changes, DKVM_CHANGE_REMOVE, at, element, NULL, FALSE);
    change->base = element;
    for (const xmlNode *n = element->prev; n != NULL; n = n->prev) {
        if (n->type == XML_ELEMENT_NODE) {
            change->position += xmlStrEqual(n->name, element->name) ? 1 : 0;
            change->after = change->after ? change->after : g_strdup((const char *)n->name);
        }
    }
}

static void compare_element(Comparison *c, xmlNode *base, xmlNode *target, guint level)
{
    /* Above, ids say what was moved or repeated; inside a device, equal is equal. */
    if (level >= NUMBERED_LEVELS && dkvm_node_equal(base, target)) {
        return;
    }
    compare_values(c, base, target);
    for (xmlNode *n = dkvm_xml_element(target->children); n != NULL;
         n = dkvm_xml_element(n->next)) {
        xmlNode *from = dkvm_compare_origin(c->numbered, base, n);
        if (from != NULL && from->parent == base && g_hash_table_insert(c->paired, from, n)) {
            compare_element(c, from, n, level + 1);
        } else {
            add_element(c, base, n);
        }
    }
    for (xmlNode *n = dkvm_xml_element(base->children); n != NULL; n = dkvm_xml_element(n->next)) {
        if (!g_hash_table_contains(c->paired, n)) {
            remove_element(c, target, n);
        }
    }
}

DkvmChanges *dkvm_compare(const GPtrArray *numbered, xmlNode *base, xmlNode *target)
{
    g_autoptr(GHashTable) paired = g_hash_table_new(NULL, NULL);
    g_autoptr(GHashTable) removed = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    Comparison c = {numbered, paired, base, target, dkvm_changes_new(), removed};
    compare_element(&c, base, target, 0);
    return c.changes;
}
