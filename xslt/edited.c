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

/* "devices/video" and 0, or "devices/video" and 2 for "devices/video#2". */
static char *split_unit(const char *unit, guint *index)
{
    const char *mark = strchr(unit, '#');
    *index = mark ? (guint)g_ascii_strtoull(mark + 1, NULL, 10) : 0;
    return mark ? g_strndup(unit, (gsize)(mark - unit)) : g_strdup(unit);
}

static char *join_unit(const char *kind, guint index)
{
    return index == 0 ? g_strdup(kind) : g_strdup_printf("%s#%u", kind, index);
}

static gboolean is_counted_device(const DkvmChange *change)
{
    return change->kind != DKVM_CHANGE_REMOVE && g_str_has_prefix(change->unit, "devices/") &&
           strchr(change->unit, '[') == NULL;
}

static gint by_number(gconstpointer a, gconstpointer b)
{
    const guint *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* The numbers of the devices of KIND that changes are about, in order, each once. */
static GArray *numbers_of(const DkvmChanges *changes, const char *kind)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    GArray *numbers = g_array_new(FALSE, FALSE, sizeof(guint));
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        guint number = 0;
        g_autofree char *own = split_unit(change->unit, &number);
        if (is_counted_device(change) && g_str_equal(own, kind) &&
            g_hash_table_add(seen, GUINT_TO_POINTER(number + 1))) {
            g_array_append_val(numbers, number);
        }
    }
    g_array_sort(numbers, by_number);
    return numbers;
}

static guint count_devices(const xmlNode *domain, const char *kind)
{
    const xmlNode *devices = dkvm_xml_child(domain, "devices");
    guint count = 0;
    for (const xmlNode *n = devices ? dkvm_xml_element(devices->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        count += dkvm_xml_is(n, kind + strlen("devices/")) ? 1 : 0;
    }
    return count;
}

/* One kind of devices: which of those that are there now are which of those that we changed.  In
 * their order, as many as possible that are as we left them, in their old places where there is a
 * choice. */
typedef struct {
    xmlNode *domain;
    DkvmChanges *changes;
    const char *kind;
    GArray *numbers; /* of those that we changed */
    guint present;   /* how many there are */
    guint *worth;    /* of the best pairs from [number][device] on */
    guint *pair;     /* of a pair itself, 0: does not fit */
} Alignment;

#define MOST_PAIRS 4096
#define FITS 4096
#define IN_PLACE 1

static guint at(const Alignment *a, guint number, guint device)
{
    return number * (a->present + 1) + device;
}

static void weigh(Alignment *a)
{
    guint count = a->numbers->len;
    a->worth = g_new0(guint, (count + 1) * (a->present + 1));
    a->pair = g_new0(guint, (count + 1) * (a->present + 1));
    for (guint i = count; i-- > 0;) {
        guint number = g_array_index(a->numbers, guint, i);
        g_autofree char *from = join_unit(a->kind, number);
        for (guint j = a->present; j-- > 0;) {
            g_autofree char *to = join_unit(a->kind, j);
            guint pair =
                fits(a->domain, a->changes, from, to) ? FITS + (number == j) * IN_PLACE : 0;
            guint with = pair ? pair + a->worth[at(a, i + 1, j + 1)] : 0;
            guint without = MAX(a->worth[at(a, i + 1, j)], a->worth[at(a, i, j + 1)]);
            a->pair[at(a, i, j)] = pair;
            a->worth[at(a, i, j)] = MAX(with, without);
        }
    }
}

/* Where each is now: its place, or G_MAXUINT where nothing fits. */
static guint *read_places(const Alignment *a)
{
    guint *places = g_new(guint, a->numbers->len + 1);
    guint i = 0, j = 0;
    while (i < a->numbers->len) {
        guint pair = j < a->present ? a->pair[at(a, i, j)] : 0;
        if (pair && a->worth[at(a, i, j)] == pair + a->worth[at(a, i + 1, j + 1)]) {
            places[i++] = j++;
        } else if (j < a->present && a->worth[at(a, i, j)] == a->worth[at(a, i, j + 1)]) {
            j++;
        } else {
            places[i++] = G_MAXUINT;
        }
    }
    return places;
}

/* What fits nowhere was edited and keeps its place, or was removed where another has that place. */
static void settle_rest(const Alignment *a, guint *places)
{
    guint missing = a->present;
    for (guint i = 0; i < a->numbers->len; i++) {
        guint own = g_array_index(a->numbers, guint, i);
        gboolean taken = FALSE;
        for (guint k = 0; k < a->numbers->len; k++) {
            taken |= k != i && places[k] == own;
        }
        if (places[i] == G_MAXUINT) {
            places[i] = taken ? MAX(missing, own) : own;
            missing += taken;
        }
    }
}

static void rename_change(const Alignment *a, const guint *places, DkvmChange *change)
{
    for (guint i = 0; i < a->numbers->len; i++) {
        g_autofree char *from = join_unit(a->kind, g_array_index(a->numbers, guint, i));
        g_autofree char *to = join_unit(a->kind, places[i]);
        char *renamed = called(change->at, from, to);
        if (renamed != NULL) {
            g_free(change->at);
            change->at = renamed;
            g_free(change->unit);
            change->unit = g_steal_pointer(&to);
            return;
        }
    }
}

static void align_kind(xmlNode *domain, DkvmChanges *changes, const char *kind)
{
    g_autoptr(GArray) numbers = numbers_of(changes, kind);
    Alignment a = {domain, changes, kind, numbers, count_devices(domain, kind), NULL, NULL};
    if (numbers->len * a.present > MOST_PAIRS) {
        return; /* no machine has as many */
    }
    weigh(&a);
    g_autofree guint *places = read_places(&a);
    settle_rest(&a, places);
    for (guint i = 0; i < changes->list->len; i++) {
        rename_change(&a, places, g_ptr_array_index(changes->list, i));
    }
    g_free(a.worth);
    g_free(a.pair);
}

static void align(xmlNode *domain, DkvmChanges *changes)
{
    g_autoptr(GHashTable) kinds =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL); /* of those not in place */
    GHashTableIter iter;
    gpointer kind;
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = g_ptr_array_index(changes->list, i);
        guint number = 0;
        if (is_counted_device(change) && !fits(domain, changes, change->unit, change->unit)) {
            g_hash_table_add(kinds, split_unit(change->unit, &number));
        }
    }
    g_hash_table_iter_init(&iter, kinds);
    while (g_hash_table_iter_next(&iter, &kind, NULL)) {
        align_kind(domain, changes, kind);
    }
}

/* ---- all ---- */

/* A second "-cpu" after ours: QEMU takes the last one. */
static gboolean is_doubled(xmlNode *domain, const DkvmChanges *changes, const DkvmChange *change)
{
    if (change->kind != DKVM_CHANGE_ADD || change->node == NULL ||
        !g_str_has_prefix(change->at, "qemu:commandline/option[") || strchr(change->at, '#')) {
        return FALSE;
    }
    g_autofree char *second = g_strconcat(change->at, "#1", NULL);
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *other = g_ptr_array_index(changes->list, i);
        if (g_str_equal(other->at, second)) {
            return FALSE; /* there were two before */
        }
    }
    return dkvm_locator_find(domain, second) != NULL;
}

void dkvm_edited_look(xmlNode *domain, DkvmChanges *changes)
{
    align(domain, changes);
    g_autoptr(GHashTable) edited = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < changes->list->len; i++) {
        DkvmChange *change = g_ptr_array_index(changes->list, i);
        change->node = dkvm_locator_find(domain, change->at);
        change->touched = is_edited(change);
        change->doubled = !change->touched && is_doubled(domain, changes, change);
        change->touched |= change->doubled;
        if (change->touched) {
            g_hash_table_add(edited, change->unit);
        }
    }
    for (guint i = 0; i < changes->list->len; i++) {
        DkvmChange *change = g_ptr_array_index(changes->list, i);
        change->edited = g_hash_table_contains(edited, change->unit);
    }
}
