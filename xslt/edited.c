/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/edited.h"

#include "xslt/locator.h"

#include <string.h>

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

/* ---- devices without a name of their own ---- */

/* A second display or sound card has only its place among its like to be told by.  What LOCATOR,
 * inside the device FROM, is called when that device is called TO; NULL if it is not inside. */
static char *called(const char *locator, const char *from, const char *to)
{
    gsize length = strlen(from);
    gboolean inside =
        g_str_has_prefix(locator, from) && (locator[length] == '\0' || locator[length] == '/');
    return inside ? g_strconcat(to, locator + length, NULL) : NULL;
}

/* Whether the device that is called TO now is as we left the one that was called FROM. */
static gboolean fits(xmlNode *domain, const DkvmChanges *changes, const char *from, const char *to)
{
    for (guint i = 0; i < changes->list->len; i++) {
        DkvmChange *change = g_ptr_array_index(changes->list, i);
        g_autofree char *at = called(change->at, from, to);
        if (at == NULL) {
            continue;
        }
        change->node = dkvm_locator_find(domain, at);
        if (is_edited(change)) {
            return FALSE;
        }
    }
    return TRUE;
}

static void rename_unit(DkvmChanges *changes, const char *from, const char *to)
{
    for (guint i = 0; i < changes->list->len; i++) {
        DkvmChange *change = g_ptr_array_index(changes->list, i);
        char *at = called(change->at, from, to);
        if (at != NULL) {
            g_free(change->at);
            change->at = at;
            g_free(change->unit);
            change->unit = g_strdup(to);
        }
    }
}

static gboolean is_unit(const DkvmChanges *changes, const char *unit)
{
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        if (g_str_equal(change->unit, unit)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* The user put another one before it or took one away: the one that is as we left it is ours. */
static void find_moved(xmlNode *domain, DkvmChanges *changes, const char *unit)
{
    g_autofree char *plain = g_strndup(unit, strcspn(unit, "#"));
    g_autofree char *to = g_strdup(plain);
    for (guint n = 1; dkvm_locator_find(domain, to) != NULL; n++) {
        if (!is_unit(changes, to) && fits(domain, changes, unit, to)) {
            rename_unit(changes, unit, to);
            return;
        }
        g_free(to);
        to = g_strdup_printf("%s#%u", plain, n);
    }
}

static gboolean is_counted_device(const DkvmChange *change)
{
    return change->kind != DKVM_CHANGE_REMOVE && g_str_has_prefix(change->unit, "devices/") &&
           strchr(change->unit, '[') == NULL;
}

/* From the last to the first: what was put in before shifts all that follow to where the next was.
 */
static void align(xmlNode *domain, DkvmChanges *changes)
{
    for (guint i = changes->list->len; i > 0; i--) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i - 1);
        g_autofree char *unit = g_strdup(change->unit);
        if (is_counted_device(change) && !fits(domain, changes, unit, unit)) {
            find_moved(domain, changes, unit);
        }
    }
}

/* ---- all ---- */

void dkvm_edited_look(xmlNode *domain, DkvmChanges *changes)
{
    align(domain, changes);
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
