/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/models.h"

#include <libxml/parser.h>
#include <string.h>

#include "xslt/data.h"

/* More than any spelling needs ("Mac OS X Mountain Lion" has 22). */
#define TEXT_MAX 32

xmlDoc *dkvm_models_document(void)
{
    static xmlDoc *document;

    if (g_once_init_enter(&document)) {
        xmlDoc *parsed = xmlReadMemory(dkvm_data_models, (int)dkvm_data_models_size, "models.xml",
                                       NULL, XML_PARSE_NONET | XML_PARSE_NOBLANKS);

        g_assert(parsed); /* compiled in, and test-models reads it */
        g_once_init_leave(&document, parsed);
    }
    return document;
}

/* ---- the tree ----------------------------------------------------------------------------- */

/* Points into the tree, which is never freed, so that what we return lives as long as we do. */
static const char *attribute(xmlNode *node, const char *name)
{
    const xmlAttr *found = xmlHasProp(node, BAD_CAST name);

    return found && found->children ? (const char *)found->children->content : NULL;
}

static xmlNode *next_named(xmlNode *node, const char *name)
{
    while (node && !(node->type == XML_ELEMENT_NODE && xmlStrEqual(node->name, BAD_CAST name)))
        node = node->next;
    return node;
}

static xmlNode *root_child(const char *name)
{
    return next_named(xmlDocGetRootElement(dkvm_models_document())->children, name);
}

#define FOR_EACH(node, parent, name)                                                               \
    for (xmlNode *node = next_named((parent)->children, name); node;                               \
         node = next_named(node->next, name))

/* ---- versions ----------------------------------------------------------------------------- */

/* A number of one or two digits without a leading zero.  Moves *TEXT behind it. */
static gboolean take_number(const char **text, guint *number)
{
    const char *p = *text;
    guint digits = 0;

    for (*number = 0; g_ascii_isdigit(p[digits]); digits++)
        *number = *number * 10 + (guint)(p[digits] - '0');
    *text = p + digits;
    return digits == 1 || (digits == 2 && *p != '0');
}

/* "10.15", "10.15.7", "14", "14.2" -> version, known or not; 0 if it is not of this form.  Since 11
 * the first number alone names the version, before it the first two. */
static DkvmMacos number_to_version(const char *text)
{
    guint part[3] = {0};
    guint count = 0;

    do {
        if (count == G_N_ELEMENTS(part) || !take_number(&text, &part[count]))
            return 0;
        count++;
    } while (*text++ == '.');
    if (text[-1] != '\0')
        return 0;
    return part[0] == 10 ? 1000 + part[1] : part[0] * 100;
}

/* The row of a version; NULL if it has none. */
static xmlNode *version_row(DkvmMacos version)
{
    FOR_EACH(row, root_child("versions"), "macos")
    {
        const char *text = attribute(row, "version");

        if (version && number_to_version(text) == version)
            return row;
    }
    return NULL;
}

static gboolean has_name(xmlNode *row, const char *name)
{
    const char *names = attribute(row, "names");
    g_auto(GStrv) list = g_strsplit(names ? names : "", " ", -1);

    return *name && g_strv_contains((const char *const *)list, name);
}

static DkvmMacos name_to_version(const char *name)
{
    FOR_EACH(row, root_child("versions"), "macos")
    {
        if (has_name(row, name))
            return number_to_version(attribute(row, "version"));
    }
    return 0;
}

/* Lower case; blanks and dashes behind a letter go: "High-Sierra" -> "highsierra", but "-14" and
 * "1 4" stay what they are, no version. */
static char *normalize(const char *text)
{
    GString *plain = g_string_new(NULL);
    g_autofree char *trimmed = g_strstrip(g_ascii_strdown(text, -1));

    for (const char *p = trimmed; *p; p++) {
        gboolean separator = *p == ' ' || *p == '-' || *p == '_';

        if (!separator || plain->len == 0 || !g_ascii_isalpha(plain->str[plain->len - 1]))
            g_string_append_c(plain, *p);
    }
    return g_string_free(plain, FALSE);
}

/* What people write before the name or number. */
static const char *skip_product(const char *text)
{
    static const char *const products[] = {"macosx", "macos", "osx"};

    for (gsize i = 0; i < G_N_ELEMENTS(products); i++) {
        if (g_str_has_prefix(text, products[i]))
            return text + strlen(products[i]);
    }
    return text;
}

DkvmMacos dkvm_macos_parse(const char *text)
{
    g_autofree char *plain = NULL;
    const char *wanted;
    DkvmMacos version;

    if (!text || strlen(text) > TEXT_MAX)
        return 0;
    plain = normalize(text);
    wanted = skip_product(plain);
    version = number_to_version(wanted);
    if (version)
        return version_row(version) ? version : 0;
    return name_to_version(wanted);
}

DkvmMacos dkvm_macos_from_osinfo(const char *id)
{
    /* osinfo-db says macosx up to 10.7 and has nothing newer; ours and newer ones say macos. */
    static const char *const prefixes[] = {
        "http://apple.com/macos/",
        "https://apple.com/macos/",
        "http://apple.com/macosx/",
        "https://apple.com/macosx/",
    };

    for (gsize i = 0; id && i < G_N_ELEMENTS(prefixes); i++) {
        if (g_str_has_prefix(id, prefixes[i]))
            return dkvm_macos_parse(id + strlen(prefixes[i]));
    }
    return 0;
}

char *dkvm_macos_text(DkvmMacos version)
{
    if (version == 0)
        return g_strdup("unknown");
    if (version / 100 == 10)
        return g_strdup_printf("10.%u", version % 100);
    return g_strdup_printf("%u", version / 100);
}

/* ---- models ------------------------------------------------------------------------------- */

static xmlNode *model_node(const char *name)
{
    FOR_EACH(model, xmlDocGetRootElement(dkvm_models_document()), "model")
    {
        if (name && g_ascii_strcasecmp(attribute(model, "name"), name) == 0)
            return model;
    }
    return NULL;
}

const char *dkvm_models_find(const char *name)
{
    xmlNode *model = model_node(name);

    return model ? attribute(model, "name") : NULL;
}

const char *dkvm_models_default(DkvmMacos version)
{
    xmlNode *row = version_row(version);

    if (row)
        return attribute(row, "model");
    FOR_EACH(unknown, root_child("versions"), "macos")
    {
        if (strcmp(attribute(unknown, "version"), "unknown") == 0)
            return attribute(unknown, "model");
    }
    g_assert_not_reached(); /* test-models looks for that row */
}

/* The name of the CPU that MODEL uses for VERSION: the last one whose from is not above it; for an
 * unknown version the default. */
static const char *used_cpu(xmlNode *model, DkvmMacos version)
{
    const char *cpu = NULL;

    FOR_EACH(use, model, "use")
    {
        const char *from = attribute(use, "from");
        gboolean holds = version ? !from || number_to_version(from) <= version
                                 : g_strcmp0(attribute(use, "default"), "yes") == 0;

        cpu = holds ? attribute(use, "cpu") : cpu;
    }
    return cpu;
}

static const DkvmCpuModel *find_cpu(const char *name)
{
    const DkvmCpuModel *const *cpus = dkvm_models_cpus();

    for (gsize i = 0; name && cpus[i]; i++) {
        if (strcmp(cpus[i]->name, name) == 0)
            return cpus[i];
    }
    return NULL;
}

const DkvmCpuModel *dkvm_models_cpu(const char *model, DkvmMacos version)
{
    xmlNode *node = model_node(model);

    return node ? find_cpu(used_cpu(node, version)) : NULL;
}

/* ---- CPUs --------------------------------------------------------------------------------- */

static guint number_attribute(xmlNode *node, const char *name)
{
    const char *text = attribute(node, name);

    return text ? (guint)g_ascii_strtoull(text, NULL, 10) : 0;
}

static DkvmCpuModel *cpu_new(xmlNode *node)
{
    DkvmCpuModel *cpu = g_new0(DkvmCpuModel, 1);

    cpu->name = attribute(node, "name");
    cpu->libvirt = attribute(node, "libvirt");
    cpu->family = number_attribute(node, "family");
    cpu->model = number_attribute(node, "model");
    cpu->stepping = number_attribute(node, "stepping");
    return cpu;
}

const DkvmCpuModel *const *dkvm_models_cpus(void)
{
    static gpointer *all;

    if (g_once_init_enter(&all)) {
        GPtrArray *cpus = g_ptr_array_new();

        FOR_EACH(node, root_child("cpus"), "cpu")
        g_ptr_array_add(cpus, cpu_new(node));
        g_ptr_array_add(cpus, NULL);
        g_once_init_leave(&all, g_ptr_array_free(cpus, FALSE));
    }
    return (const DkvmCpuModel *const *)all;
}

static void list_model(GString *text, xmlNode *model)
{
    g_string_append_printf(text, "  %s\n", attribute(model, "name"));
    FOR_EACH(use, model, "use")
    {
        const char *from = attribute(use, "from");
        const DkvmCpuModel *cpu = find_cpu(attribute(use, "cpu"));

        if (cpu)
            g_string_append_printf(text, "    macOS %s and newer: %s (libvirt: %s)\n",
                                   from ? from : "10.4", cpu->name, cpu->libvirt);
    }
}

static void list_version(GString *text, xmlNode *version)
{
    const char *names = attribute(version, "names");

    g_string_append_printf(text, "  %-8s %-14s %s\n", attribute(version, "version"),
                           names ? names : "", attribute(version, "model"));
}

char *dkvm_models_list(void)
{
    GString *text = g_string_new("models and their CPUs:\n");

    FOR_EACH(model, xmlDocGetRootElement(dkvm_models_document()), "model")
    list_model(text, model);
    g_string_append(text, "macOS versions (name, model by default):\n");
    FOR_EACH(version, root_child("versions"), "macos")
    list_version(text, version);
    return g_string_free(text, FALSE);
}

static void add_text(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, value);
}

static void add_model(JsonBuilder *b, xmlNode *model)
{
    json_builder_begin_object(b);
    add_text(b, "name", attribute(model, "name"));
    json_builder_set_member_name(b, "cpus");
    json_builder_begin_array(b);
    FOR_EACH(use, model, "use")
    {
        const char *from = attribute(use, "from");
        const DkvmCpuModel *cpu = find_cpu(attribute(use, "cpu"));

        if (!cpu)
            continue;
        json_builder_begin_object(b);
        add_text(b, "from", from ? from : "10.4");
        add_text(b, "name", cpu->name);
        add_text(b, "libvirt", cpu->libvirt);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    json_builder_end_object(b);
}

static void add_version(JsonBuilder *b, xmlNode *version)
{
    const char *names = attribute(version, "names");
    g_auto(GStrv) words = g_strsplit(names ? names : "", " ", -1);

    json_builder_begin_object(b);
    add_text(b, "version", attribute(version, "version"));
    json_builder_set_member_name(b, "names");
    json_builder_begin_array(b);
    for (char **word = words; *word; word++)
        json_builder_add_string_value(b, *word);
    json_builder_end_array(b);
    add_text(b, "model", attribute(version, "model"));
    json_builder_end_object(b);
}

JsonNode *dkvm_models_json(void)
{
    g_autoptr(JsonBuilder) b = json_builder_new();

    json_builder_begin_object(b);
    json_builder_set_member_name(b, "models");
    json_builder_begin_array(b);
    FOR_EACH(model, xmlDocGetRootElement(dkvm_models_document()), "model")
    add_model(b, model);
    json_builder_end_array(b);
    json_builder_set_member_name(b, "macos");
    json_builder_begin_array(b);
    FOR_EACH(version, root_child("versions"), "macos")
    add_version(b, version);
    json_builder_end_array(b);
    json_builder_end_object(b);
    return json_builder_get_root(b);
}
