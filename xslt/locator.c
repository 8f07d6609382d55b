/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/locator.h"

#include <string.h>

#define MAX_STEPS 16
#define MAX_LENGTH 2048
#define PLAIN "-_.:=,+@"

/* name of element -> where its identity is: attributes of the element itself, or of a child. */
static const struct {
    const char *name, *child;
    const char *attributes[4];
} identities[] = {
    {"disk", "target", {"dev"}},      {"interface", "mac", {"address"}},
    {"input", NULL, {"type", "bus"}}, {"graphics", NULL, {"type"}},
    {"timer", NULL, {"name"}},        {"feature", NULL, {"name"}},
    {"boot", NULL, {"dev"}},          {"vcpupin", NULL, {"vcpu"}},
    {"env", NULL, {"name"}},
};

static char *join_attributes(const xmlNode *node, const char *const *names)
{
    GString *key = g_string_new(NULL);
    for (; *names != NULL; names++) {
        const char *value = dkvm_xml_get(node, *names);
        if (value != NULL) {
            g_string_append_printf(key, "%s%s", key->len ? "-" : "", value);
        }
    }
    return g_string_free(key, FALSE);
}

/* Type and index, which libvirt takes for 0 when it is not said; the companions of an EHCI
 * controller share both and differ in model. */
static char *controller_key(const xmlNode *node)
{
    const char *type = dkvm_xml_get(node, "type"), *index = dkvm_xml_get(node, "index");
    const char *model = g_strcmp0(type, "usb") == 0 ? dkvm_xml_get(node, "model") : NULL;
    return g_strdup_printf("%s-%s%s%s", type ? type : "", index ? index : "0", model ? "-" : "",
                           model ? model : "");
}

/* "-device isa-applesmc", "-global ICH9-LPC.x", "-smbios type=1", "-cpu"; whole value otherwise. */
static char *option_key(const xmlNode *node)
{
    const char *name = dkvm_xml_get(node, "name"), *value = dkvm_xml_get(node, "value");
    if (name == NULL || value == NULL) {
        return g_strdup(name ? name : value);
    }
    if (g_str_equal(name, "-cpu")) {
        return g_strdup(name);
    }
    if (g_str_equal(name, "-device") && strstr(value, "isa-applesmc") != NULL) {
        return g_strdup("-device isa-applesmc"); /* plain and JSON form alike */
    }
    const char *end = g_str_equal(name, "-global") ? "=" : ",";
    g_autofree char *head = g_strndup(value, strcspn(value, end));
    return g_strdup_printf("%s %s", name, head);
}

static gboolean is_keyed(const xmlNode *node)
{
    const char *name = (const char *)node->name;
    gboolean keyed = g_str_equal(name, "option") || g_str_equal(name, "controller");
    for (gsize i = 0; i < G_N_ELEMENTS(identities) && !keyed; i++) {
        keyed = g_str_equal(name, identities[i].name);
    }
    return keyed;
}

static char *element_key(const xmlNode *node)
{
    const char *name = (const char *)node->name;
    if (g_str_equal(name, "option")) {
        return option_key(node);
    }
    if (g_str_equal(name, "controller")) {
        return controller_key(node);
    }
    gsize i = 0;
    while (!g_str_equal(name, identities[i].name)) {
        i++;
    }
    const xmlNode *at = identities[i].child ? dkvm_xml_child(node, identities[i].child) : node;
    return at ? join_attributes(at, identities[i].attributes) : NULL;
}

static char *escape(const char *key)
{
    GString *out = g_string_new(NULL);
    for (; key != NULL && *key != '\0'; key++) {
        if (g_ascii_isalnum(*key) || strchr(PLAIN, *key) != NULL) {
            g_string_append_c(out, *key);
        } else {
            g_string_append_printf(out, "%%%02X", (guchar)*key);
        }
    }
    return g_string_free(out, FALSE);
}

static const char *prefix(const xmlNode *node)
{
    if (node->ns == NULL) {
        return "";
    }
    return dkvm_xml_has_ns(node, DKVM_NS_QEMU) ? "qemu:" : "*:";
}

/* The step without a count. */
static char *plain_step(const xmlNode *node)
{
    g_autofree char *key = is_keyed(node) ? element_key(node) : NULL;
    g_autofree char *safe = key ? escape(key) : NULL;
    if (safe == NULL || *safe == '\0') {
        return g_strconcat(prefix(node), (const char *)node->name, NULL);
    }
    return g_strconcat(prefix(node), (const char *)node->name, "[", safe, "]", NULL);
}

/* How many siblings before ELEMENT have the same plain step. */
static guint count_before(const xmlNode *element, const char *step)
{
    guint before = 0;
    gboolean keyed = is_keyed(element);
    for (const xmlNode *n = element->prev; n != NULL; n = n->prev) {
        if (n->type != XML_ELEMENT_NODE || !xmlStrEqual(n->name, element->name)) {
            continue;
        }
        g_autofree char *other = keyed || n->ns != element->ns ? plain_step(n) : NULL;
        before += other == NULL || g_str_equal(other, step) ? 1 : 0;
    }
    return before;
}

char *dkvm_locator_step(const xmlNode *element)
{
    g_autofree char *step = plain_step(element);
    guint before = count_before(element, step);
    return before == 0 ? g_steal_pointer(&step) : g_strdup_printf("%s#%u", step, before);
}

char *dkvm_locator(const xmlNode *domain, const xmlNode *element)
{
    char *path = g_strdup("");
    for (const xmlNode *n = element; n != NULL && n != domain; n = n->parent) {
        g_autofree char *rest = path;
        g_autofree char *step = dkvm_locator_step(n);
        path = *rest ? g_strconcat(step, "/", rest, NULL) : g_steal_pointer(&step);
    }
    return path;
}

/* The local name in a step, without prefix, key and count. */
static char *step_name(const char *step)
{
    const char *start = g_str_has_prefix(step, "*:") ? step + 2 : step;
    start = g_str_has_prefix(start, "qemu:") ? start + 5 : start;
    return g_strndup(start, strcspn(start, "[#"));
}

static xmlNode *find_step(xmlNode *parent, const char *step)
{
    g_autofree char *name = step_name(step);
    const char *mark = strrchr(step, '#');
    g_autofree char *plain = mark ? g_strndup(step, mark - step) : g_strdup(step);
    guint64 skip = mark ? g_ascii_strtoull(mark + 1, NULL, 10) : 0;
    for (xmlNode *n = dkvm_xml_element(parent->children); n != NULL;
         n = dkvm_xml_element(n->next)) {
        if (!xmlStrEqual(n->name, BAD_CAST name)) {
            continue;
        }
        g_autofree char *own = plain_step(n);
        if (g_str_equal(own, plain) && skip-- == 0) {
            return n;
        }
    }
    return NULL;
}

xmlNode *dkvm_locator_find(xmlNode *domain, const char *locator)
{
    xmlNode *node = domain;
    g_auto(GStrv) steps = g_strsplit(locator, "/", MAX_STEPS);
    for (char **step = steps; *step != NULL && **step != '\0' && node != NULL; step++) {
        node = find_step(node, *step);
    }
    return node;
}

gboolean dkvm_locator_is_valid(const char *text)
{
    if (text == NULL || strlen(text) > MAX_LENGTH) {
        return FALSE;
    }
    guint steps = 1;
    for (const char *p = text; *p != '\0'; p++) {
        if (!g_ascii_isalnum(*p) && strchr(PLAIN "/[]#%*", *p) == NULL) {
            return FALSE;
        }
        gboolean starts = p == text || p[-1] == '/';
        if (starts && !g_ascii_isalpha(*p) && *p != '*' && *text != '\0') {
            return FALSE; /* "..", "//", a step that is only a key */
        }
        if (*p == '/' && p[1] == '\0') {
            return FALSE;
        }
        steps += *p == '/' ? 1 : 0;
    }
    return steps < MAX_STEPS;
}
