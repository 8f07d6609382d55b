/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/marker.h"

#include "lib/error.h"
#include "xslt/choices.h"
#include "xslt/locator.h"

#include <string.h>

#define SCHEMA "1"
#define MAX_CHANGES 4096
#define QEMU_PREFIX                                                                                \
    "qemu-" /* <dkvm:qemu-commandline> stands for <qemu:commandline>: libvirt keeps no             \
             * foreign prefix that is declared outside of <metadata> */

void dkvm_marker_free(DkvmMarker *marker)
{
    if (marker == NULL) {
        return;
    }
    g_free(marker->model);
    g_free(marker->macos);
    g_free(marker->controllers);
    g_free(marker->made);
    g_free(marker->disks);
    g_hash_table_unref(marker->choices);
    dkvm_changes_free(marker->changes);
    g_free(marker);
}

static xmlNode *find(const xmlNode *domain)
{
    return dkvm_xml_child_ns(dkvm_xml_child(domain, "metadata"), "darwin", DKVM_NS);
}

static gboolean bad(GError **error, const char *what)
{
    g_set_error(
        error, DKVM_ERROR, DKVM_ERROR_INPUT,
        "cannot read the dkvm marker in <metadata>: %s; it was edited by hand: put it right, or "
        "remove the <dkvm:darwin> element (what dkvm changed then counts as yours)",
        what);
    return FALSE;
}

/* ---- reading ---- */

/* The prefix of a step says the namespace (locator.h). */
static gboolean has_namespace(const xmlNode *element, const char *step)
{
    if (g_str_has_prefix(step, "*:")) {
        return element->ns != NULL && !dkvm_xml_has_ns(element, DKVM_NS_QEMU);
    }
    return dkvm_xml_has_ns(element, g_str_has_prefix(step, "qemu:") ? DKVM_NS_QEMU : NULL);
}

/* The last step's name must be the element's own, and nothing of ours is ever at these places. */
static gboolean may_be_at(const char *at, const xmlNode *element)
{
    static const char *const never[] = {"name", "uuid", "metadata", "genid", NULL};
    if (!dkvm_locator_is_valid(at) || *at == '\0' || g_str_has_prefix(at, "devices/graphics")) {
        return FALSE;
    }
    g_autofree char *first = g_strndup(at, strcspn(at, "/[#"));
    const char *slash = strrchr(at, '/');
    const char *last = slash ? slash + 1 : at;
    last = g_str_has_prefix(last, "qemu:") ? last + 5
           : g_str_has_prefix(last, "*:")  ? last + 2
                                           : last;
    g_autofree char *name = g_strndup(last, strcspn(last, "[#"));
    return !g_strv_contains(never, first) && xmlStrEqual(element->name, BAD_CAST name) &&
           has_namespace(element, slash ? slash + 1 : at);
}

/* The devices as a whole, with the displays in them, were never ours. */
static gboolean is_too_much(gsize kind, const char *at)
{
    return kind != DKVM_CHANGE_ADD && g_str_equal(at, "devices");
}

static gboolean is_same_element(const xmlNode *was, const xmlNode *now)
{
    return was == NULL || now == NULL || xmlStrEqual(was->name, now->name);
}

/* dkvm:qemu-x -> qemu:x, in place. */
static void decode_namespace(xmlNode *node)
{
    const char *name = (const char *)node->name;
    if (!dkvm_xml_has_ns(node, DKVM_NS) || !g_str_has_prefix(name, QEMU_PREFIX)) {
        return;
    }
    g_autofree char *plain = g_strdup(name + strlen(QEMU_PREFIX));
    xmlNodeSetName(node, BAD_CAST plain);
    xmlSetNs(node, xmlNewNs(node, BAD_CAST DKVM_NS_QEMU, BAD_CAST "qemu"));
}

static xmlNode *payload(const xmlNode *record, const char *name)
{
    xmlNode *holder = name ? dkvm_xml_child_ns(record, name, DKVM_NS) : (xmlNode *)record;
    xmlNode *node = holder ? dkvm_xml_element(holder->children) : NULL;
    if (node == NULL || dkvm_xml_element(node->next) != NULL) {
        return NULL;
    }
    decode_namespace(node);
    return node;
}

static gboolean read_change(const xmlNode *record, DkvmChanges *changes, GError **error)
{
    static const char *const kinds[] = {"set", "add", "remove"};
    gsize kind = 0;
    while (kind < G_N_ELEMENTS(kinds) && !xmlStrEqual(record->name, BAD_CAST kinds[kind])) {
        kind++;
    }
    const char *at = dkvm_xml_get(record, "at");
    xmlNode *was = kind == DKVM_CHANGE_SET ? payload(record, "was") : NULL;
    xmlNode *now = kind == DKVM_CHANGE_SET ? payload(record, "now") : NULL;
    was = kind == DKVM_CHANGE_REMOVE ? payload(record, NULL) : was;
    now = kind == DKVM_CHANGE_ADD ? payload(record, NULL) : now;
    if (kind == G_N_ELEMENTS(kinds) || at == NULL || (was == NULL && kind != DKVM_CHANGE_ADD) ||
        (now == NULL && kind != DKVM_CHANGE_REMOVE) || !may_be_at(at, now ? now : was) ||
        is_too_much(kind, at) || !is_same_element(was, now)) {
        return bad(error, "a change in it makes no sense");
    }
    DkvmChange *change = dkvm_changes_add(changes, kind, at, was, now, FALSE);
    const char *position = dkvm_xml_get(record, "position");
    guint64 n = 0;
    if (position != NULL && !g_ascii_string_to_unsigned(position, 10, 0, G_MAXUINT, &n, NULL)) {
        return bad(error, "a position in it is no number");
    }
    change->position = (guint)n;
    change->after = g_strdup(dkvm_xml_get(record, "after"));
    return TRUE;
}

static gboolean read_choice(const xmlNode *record, GHashTable *choices, GError **error)
{
    const char *key = dkvm_xml_get(record, "key"), *value = dkvm_xml_get(record, "value");
    if (key == NULL || value == NULL) {
        return bad(error, "a choice without key or value");
    }
    if (!dkvm_choice_check(key, value, error)) {
        g_prefix_error(error, "the dkvm marker in <metadata>: ");
        return FALSE;
    }
    g_hash_table_insert(choices, g_strdup(key), g_strdup(value));
    return TRUE;
}

static gboolean read_records(const xmlNode *element, DkvmMarker *marker, GError **error)
{
    for (xmlNode *n = dkvm_xml_element(element->children); n != NULL;
         n = dkvm_xml_element(n->next)) {
        gboolean choice = xmlStrEqual(n->name, BAD_CAST "choice");
        if (!dkvm_xml_has_ns(n, DKVM_NS)) {
            return bad(error, "an element in it is not dkvm's");
        }
        if (!(choice ? read_choice(n, marker->choices, error)
                     : read_change(n, marker->changes, error))) {
            return FALSE;
        }
    }
    return marker->changes->list->len <= MAX_CHANGES || bad(error, "too many changes");
}

DkvmMarker *dkvm_marker_read(const xmlNode *domain, GError **error)
{
    g_autoptr(DkvmMarker) marker = g_new0(DkvmMarker, 1);
    marker->choices = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    marker->changes = dkvm_changes_new();
    const xmlNode *element = find(domain);
    if (element == NULL) {
        return g_steal_pointer(&marker);
    }
    marker->present = TRUE;
    marker->off = g_strcmp0(dkvm_xml_get(element, "state"), "off") == 0;
    const char *schema = dkvm_xml_get(element, "schema");
    if (schema != NULL && !g_str_equal(schema, SCHEMA)) {
        bad(error, "it was written by a newer dkvm (schema is not " SCHEMA "): use that one");
        return NULL;
    }
    marker->model = g_strdup(dkvm_xml_get(element, "model"));
    marker->macos = g_strdup(dkvm_xml_get(element, "macos"));
    marker->controllers = g_strdup(dkvm_xml_get(element, "controllers"));
    marker->made = g_strdup(dkvm_xml_get(element, "made"));
    marker->disks = g_strdup(dkvm_xml_get(element, "disks"));
    /* Read from a copy: decoding renames elements. */
    xmlNode *copy = xmlCopyNode((xmlNode *)element, 1);
    gboolean good = read_records(copy, marker, error);
    xmlFreeNode(copy);
    return good ? g_steal_pointer(&marker) : NULL;
}

gboolean dkvm_marker_is_readable(const DkvmMarker *marker)
{
    for (guint i = 0; i < marker->changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(marker->changes->list, i);
        if (!may_be_at(change->at, change->now ? change->now : change->was) ||
            is_too_much(change->kind, change->at) || !is_same_element(change->was, change->now)) {
            return FALSE;
        }
    }
    return marker->changes->list->len <= MAX_CHANGES;
}

/* ---- writing ---- */

static void encode_namespace(xmlNode *node, xmlNs *dkvm)
{
    if (node->ns != NULL && dkvm_xml_has_ns(node, DKVM_NS_QEMU)) {
        g_autofree char *name = g_strconcat(QEMU_PREFIX, (const char *)node->name, NULL);
        xmlNodeSetName(node, BAD_CAST name);
        xmlSetNs(node, dkvm);
    }
}

static xmlNode *copy_plain(xmlNode *parent, const xmlNode *node)
{
    xmlNode *copy = xmlNewDocNode(parent->doc, NULL, node->name, NULL);
    xmlAddChild(parent, copy);
    if (node->ns != NULL) {
        xmlSetNs(copy, xmlNewNs(copy, node->ns->href, node->ns->prefix));
    }
    for (const xmlAttr *a = node->properties; a != NULL; a = a->next) {
        dkvm_xml_set(copy, (const char *)a->name, dkvm_xml_get(node, (const char *)a->name));
    }
    for (const xmlNode *n = node->children; n != NULL; n = n->next) {
        if (n->type == XML_ELEMENT_NODE) {
            copy_plain(copy, n);
        } else if (n->type == XML_TEXT_NODE) {
            xmlAddChild(copy, xmlNewDocText(parent->doc, n->content));
        }
    }
    return copy;
}

static void put_payload(xmlNode *record, const char *holder, const xmlNode *node, xmlNs *dkvm)
{
    xmlNode *parent = holder ? xmlNewChild(record, dkvm, BAD_CAST holder, NULL) : record;
    xmlNode *copy = copy_plain(parent, node);
    if (dkvm_xml_has_ns(copy, DKVM_NS_QEMU)) {
        encode_namespace(copy, dkvm);
        xmlFreeNsList(copy->nsDef);
        copy->nsDef = NULL;
    }
}

static void put_change(xmlNode *element, const DkvmChange *change, xmlNs *dkvm)
{
    static const char *const kinds[] = {"set", "add", "remove"};
    xmlNode *record = xmlNewChild(element, dkvm, BAD_CAST kinds[change->kind], NULL);
    dkvm_xml_set(record, "at", change->at);
    if (change->kind == DKVM_CHANGE_SET) {
        put_payload(record, "was", change->was, dkvm);
        put_payload(record, "now", change->now, dkvm);
        return;
    }
    if (change->position > 0) {
        g_autofree char *position = g_strdup_printf("%u", change->position);
        dkvm_xml_set(record, "position", position);
    }
    dkvm_xml_set(record, "after", change->after);
    put_payload(record, NULL, change->now ? change->now : change->was, dkvm);
}

static void put_choices(xmlNode *element, GHashTable *choices, xmlNs *dkvm)
{
    g_autoptr(GList) keys = g_list_sort(g_hash_table_get_keys(choices), (GCompareFunc)g_strcmp0);
    for (const GList *l = keys; l != NULL; l = l->next) {
        xmlNode *record = xmlNewChild(element, dkvm, BAD_CAST "choice", NULL);
        dkvm_xml_set(record, "key", l->data);
        dkvm_xml_set(record, "value", g_hash_table_lookup(choices, l->data));
    }
}

/* After the elements that libvirt writes before <metadata>. */
static xmlNode *make_metadata(xmlNode *domain)
{
    static const char *const before[] = {"name", "uuid", "genid", "title", "description", NULL};
    xmlNode *metadata = xmlNewDocNode(domain->doc, NULL, BAD_CAST "metadata", NULL);
    xmlNode *last = NULL;
    for (xmlNode *n = dkvm_xml_element(domain->children); n != NULL;
         n = dkvm_xml_element(n->next)) {
        last = g_strv_contains(before, (const char *)n->name) ? n : last;
    }
    if (last != NULL) {
        return xmlAddNextSibling(last, metadata);
    }
    return domain->children ? xmlAddPrevSibling(domain->children, metadata)
                            : xmlAddChild(domain, metadata);
}

/* libvirt keeps two elements of one namespace in <metadata> if somebody writes them. */
static void drop_further_markers(xmlNode *first)
{
    xmlNode *node = dkvm_xml_element(first->next);
    while (node != NULL) {
        xmlNode *next = dkvm_xml_element(node->next);
        if (xmlStrEqual(node->name, first->name) && dkvm_xml_has_ns(node, DKVM_NS)) {
            dkvm_xml_remove(node);
        }
        node = next;
    }
}

void dkvm_marker_write(xmlNode *domain, const DkvmMarker *marker)
{
    xmlNode *old = find(domain);
    xmlNode *metadata = dkvm_xml_child(domain, "metadata");
    metadata = metadata ? metadata : make_metadata(domain);
    xmlNode *element = xmlNewDocNode(domain->doc, NULL, BAD_CAST "darwin", NULL);
    xmlNs *dkvm = xmlNewNs(element, BAD_CAST DKVM_NS, BAD_CAST "dkvm");
    xmlSetNs(element, dkvm);
    dkvm_xml_set(element, "model", marker->model);
    dkvm_xml_set(element, "macos", marker->macos);
    dkvm_xml_set(element, "controllers", marker->controllers);
    dkvm_xml_set(element, "made", marker->made);
    dkvm_xml_set(element, "disks", marker->disks);
    dkvm_xml_set(element, "state", marker->off ? "off" : NULL);
    dkvm_xml_set(element, "schema", marker->off ? NULL : SCHEMA);
    put_choices(element, marker->choices, dkvm);
    for (guint i = 0; i < marker->changes->list->len; i++) {
        put_change(element, g_ptr_array_index(marker->changes->list, i), dkvm);
    }
    if (old == NULL) {
        xmlAddChild(metadata, element);
        return;
    }
    xmlReplaceNode(old, element);
    xmlFreeNode(old);
    drop_further_markers(element);
}

void dkvm_marker_remove(xmlNode *domain)
{
    xmlNode *element = find(domain);
    if (element == NULL) {
        return;
    }
    xmlNode *metadata = element->parent;
    const char *made = dkvm_xml_get(element, "made");
    gboolean off = g_strcmp0(dkvm_xml_get(element, "state"), "off") == 0;
    gboolean ours = off || (made != NULL && strstr(made, "metadata") != NULL);
    drop_further_markers(element);
    dkvm_xml_remove(element);
    if (ours && metadata->children == NULL) {
        dkvm_xml_remove(metadata);
    }
}
