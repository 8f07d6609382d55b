/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domain XML -> patch -> patch -> revert.  Inputs are domains; a mutator of our own changes the
 * tree, so that most of them still are. */
#include <libxml/parser.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/helpers.h"
#include "xslt/change.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

/* ---- properties ---- */

static char *child_text(const DkvmDoc *doc, const char *name)
{
    return dkvm_xml_text(dkvm_xml_child(xmlDocGetRootElement(doc), name));
}

static gboolean same_child(const char *a, const char *b, const char *name)
{
    g_autoptr(DkvmDoc) x = must_parse(a), y = must_parse(b);
    g_autofree char *s = child_text(x, name), *t = child_text(y, name);
    return g_str_equal(s, t);
}

static guint count(const xmlNode *parent, const char *name)
{
    guint n = 0;
    for (xmlNode *e = dkvm_xml_element(parent->children); e != NULL;
         e = dkvm_xml_element(e->next)) {
        n += dkvm_xml_is(e, name) ? 1 : 0;
    }
    return n;
}

/* No attribute or element in a namespace (metadata and commandline aside), no text beside elements,
 * no comment inside what may be taken away. */
static gboolean is_plain(const xmlNode *node)
{
    gboolean text = FALSE, elements = FALSE;
    for (const xmlAttr *a = node->properties; a != NULL; a = a->next) {
        if (a->ns != NULL) {
            return FALSE;
        }
    }
    for (const xmlNode *n = node->children; n != NULL; n = n->next) {
        text |= n->type == XML_TEXT_NODE;
        elements |= n->type == XML_ELEMENT_NODE;
        gboolean element = n->type == XML_ELEMENT_NODE;
        gboolean leaf = element && dkvm_xml_has_ns(n, DKVM_NS_QEMU) && dkvm_xml_get(n, "value");
        if ((n->type != XML_TEXT_NODE && !element) || (leaf && n->children != NULL) ||
            (element && !dkvm_xml_is(n, "metadata") && !is_plain(n)) ||
            (element && n->ns != NULL && !dkvm_xml_has_ns(n, DKVM_NS_QEMU))) {
            return FALSE;
        }
    }
    return !(text && elements);
}

/* Whether no two devices have the same place or name: libvirt refuses that. */
static gboolean is_each_in_its_place(const xmlNode *domain)
{
    static const char *const inside[] = {"address", "target"};
    const xmlNode *devices = dkvm_xml_child(domain, "devices");
    xmlNode *first = devices ? dkvm_xml_element(devices->children) : NULL;
    for (xmlNode *a = first; a != NULL; a = dkvm_xml_element(a->next)) {
        for (xmlNode *b = dkvm_xml_element(a->next); b != NULL; b = dkvm_xml_element(b->next)) {
            for (gsize i = 0; i < G_N_ELEMENTS(inside); i++) {
                const xmlNode *x = dkvm_xml_child(a, inside[i]), *y = dkvm_xml_child(b, inside[i]);
                const char *dev = dkvm_xml_get(x, "dev");
                gboolean named = dev != NULL && g_strcmp0(dev, dkvm_xml_get(y, "dev")) == 0;
                gboolean placed = i == 0 && x != NULL && y != NULL && dkvm_node_values_equal(x, y);
                if (named || placed) {
                    return FALSE;
                }
            }
        }
    }
    return TRUE;
}

/* What a device has once is there once. */
static gboolean is_each_whole(const xmlNode *domain)
{
    static const char *const once[] = {"address", "alias", "boot",   "driver",
                                       "master",  "model", "source", "target"};
    const xmlNode *devices = dkvm_xml_child(domain, "devices");
    for (const xmlNode *n = devices ? dkvm_xml_element(devices->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        for (gsize i = 0; i < G_N_ELEMENTS(once); i++) {
            if (count(n, once[i]) > 1) {
                return FALSE;
            }
        }
    }
    return TRUE;
}

/* As libvirt prints domains: nothing of ours in it yet, and what there is once is there once. */
static gboolean is_ordinary(const DkvmDoc *doc)
{
    static const char *const once[] = {
        "name",  "uuid", "metadata", "os",     "cpu",           "features",     "pm",
        "clock", "vcpu", "devices",  "memory", "currentMemory", "memoryBacking"};
    const xmlNode *domain = xmlDocGetRootElement(doc);
    for (gsize i = 0; i < G_N_ELEMENTS(once); i++) {
        if (count(domain, once[i]) > 1) {
            return FALSE;
        }
    }
    return is_plain(domain) && is_each_in_its_place(domain) && is_each_whole(domain) &&
           dkvm_xml_child_ns(dkvm_xml_child(domain, "metadata"), "darwin", DKVM_NS) == NULL;
}

static void check_error(const GError *error)
{
    HOLDS(error != NULL && error->code >= DKVM_ERROR_INPUT && error->code <= DKVM_ERROR_REFUSED);
    HOLDS(g_utf8_validate(error->message, -1, NULL));
}

/* TEXT in its order, without declarations of namespaces that are declared above already: a domain
 * that was taken apart and put together has none. */
static char *comparable(const char *text)
{
    g_autoptr(DkvmDoc) doc =
        xmlReadMemory(text, (int)strlen(text), NULL, NULL,
                      XML_PARSE_NSCLEAN | XML_PARSE_NOBLANKS | XML_PARSE_NONET);
    HOLDS(doc != NULL);
    g_autofree char *plain = dkvm_xml_serialize(doc);
    return without_order(plain);
}

static void check_revert(const DkvmDoc *before, const char *text, const char *patched)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmPatched) back = dkvm_revert(patched, strlen(patched), "x", FALSE, &error);
    if (back == NULL) {
        check_error(error);
        HOLDS(FALSE);
    }
    if (is_ordinary(before)) {
        g_autofree char *is = comparable(back->xml), *was = comparable(text);
        HOLDS(g_str_equal(is, was));
    }
}

static void check(Bench *bench, const char *text, gsize size, const DkvmDomainState *state)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmPatched) once = dkvm_patch(bench->patcher, text, size, "x", state, NULL, &error);
    if (once == NULL) {
        check_error(error);
        return;
    }
    g_autoptr(DkvmPatched) twice =
        dkvm_patch(bench->patcher, once->xml, strlen(once->xml), "x", state, NULL, &error);
    HOLDS(twice != NULL && g_str_equal(twice->xml, once->xml) && twice->up_to_date);
    g_autoptr(DkvmDoc) before = dkvm_xml_parse(text, size, "x", NULL);
    g_autofree char *was = dkvm_xml_serialize(before);
    HOLDS(same_child(was, once->xml, "name") && same_child(was, once->xml, "uuid"));
    check_revert(before, was, once->xml);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Bench benches[G_N_ELEMENTS(hosts)];
    guint sum = 0;
    for (size_t i = 0; i < size; i++) {
        sum = sum * 31 + data[i];
    }
    gsize h = sum % G_N_ELEMENTS(hosts);
    if (benches[h].patcher == NULL) {
        benches[h] = bench_new(&hosts[h]);
    }
    check(&benches[h], (const char *)data, size, states[(sum / 7) % G_N_ELEMENTS(states)]);
    return 0;
}

/* ---- the mutator ---- */

static void collect(xmlNode *node, GPtrArray *all)
{
    g_ptr_array_add(all, node);
    for (xmlNode *n = dkvm_xml_element(node->children); n != NULL; n = dkvm_xml_element(n->next)) {
        collect(n, all);
    }
}

static xmlNode *any(GPtrArray *all, GRand *rand)
{
    return all->pdata[g_rand_int_range(rand, 0, (gint)all->len)];
}

static xmlAttr *any_attribute(xmlNode *node, GRand *rand)
{
    gint skip = g_rand_int_range(rand, 0, 4);
    xmlAttr *a = node->properties;
    for (; a != NULL && a->next != NULL && skip > 0; skip--) {
        a = a->next;
    }
    return a;
}

static void change_value(xmlNode *node, xmlNode *other, GRand *rand)
{
    static const char *const words[] = {
        "0",    "-1",      "",      "yes",    "no",         "on",      "off",          "none",
        "q35",  "pci",     "usb",   "virtio", "4294967296", "0x10",    "isa-applesmc", "-cpu",
        "-usb", "-device", "dkvm:", "efi",    "pflash",     "/a'\"&<>"};
    xmlAttr *a = any_attribute(node, rand), *b = any_attribute(other, rand);
    if (a == NULL || a->ns != NULL) {
        return;
    }
    gboolean word = b == NULL || b->children == NULL || g_rand_boolean(rand);
    g_autofree char *name = g_strdup((const char *)a->name);
    g_autofree char *value = g_strdup(word ? words[g_rand_int_range(rand, 0, G_N_ELEMENTS(words))]
                                           : (const char *)b->children->content);
    dkvm_xml_set(node, name, value);
}

static void mutate(GPtrArray *all, GRand *rand)
{
    xmlNode *root = all->pdata[0], *node = any(all, rand), *other = any(all, rand);
    switch (g_rand_int_range(rand, 0, 6)) {
    case 0:
        if (node != root) {
            dkvm_xml_remove(node);
        }
        break;
    case 1: /* again, beside itself */
        if (node != root) {
            xmlAddNextSibling(node, xmlDocCopyNode(node, node->doc, 1));
        }
        break;
    case 2: /* a copy somewhere else */
        if (node != root) {
            xmlAddChild(other, xmlDocCopyNode(node, node->doc, 1));
        }
        break;
    case 3: {
        xmlAttr *a = any_attribute(node, rand);
        if (a != NULL) {
            xmlRemoveProp(a);
        }
        break;
    }
    case 4: /* last among its siblings */
        if (node != root) {
            xmlAddChild(node->parent, node);
        }
        break;
    default:
        change_value(node, other, rand);
        break;
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    g_autoptr(DkvmDoc) doc =
        g_rand_int_range(rand, 0, 8) ? dkvm_xml_parse((char *)data, size, "x", NULL) : NULL;
    if (doc == NULL) {
        return LLVMFuzzerMutate(data, size, max);
    }
    for (gint times = g_rand_int_range(rand, 1, 4); times > 0; times--) {
        g_autoptr(GPtrArray) all = g_ptr_array_new();
        collect(xmlDocGetRootElement(doc), all);
        mutate(all, rand);
    }
    g_autofree char *text = dkvm_xml_serialize(doc);
    gsize length = strlen(text);
    if (length > max) {
        return LLVMFuzzerMutate(data, size, max);
    }
    memcpy(data, text, length);
    return length;
}
