/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The JSON of --print-facts and --facts.  Every member may be missing: that fact is unknown (the
 * patcher says so, or refuses where it cannot do without).  A member that is not listed here is an
 * error, so that a misspelled one is not taken for an unknown fact.  "source" says in words where a
 * group comes from and is never interpreted.
 *
 *   host         source
 *                cpu-vendor   CPUID's 12 letters: "GenuineIntel", "AuthenticAMD"
 *                threads      host threads, 1 to 65536
 *                smt          true: two threads per core
 *                tsc-stable   true: the kernel's clocksource is tsc
 *                sse4.2, avx2, invtsc    true: the host CPU has it
 *   libvirt      source
 *                version      "9.0.0"
 *   emulator     source
 *                path         of the QEMU that domains use
 *                version      "7.2.22"
 *                kvm          true: domains of type kvm can run
 *                applesmc     true: it has the device isa-applesmc
 *                hotplug-off  true: it knows ICH9-LPC.acpi-pci-hotplug-with-bridge-support
 *   firmware     source
 *                autoselect   true: libvirt selects firmware by features (<os firmware='efi'>)
 *                nvram-dir    where libvirt keeps NVRAM files
 *                pairs        list, best first: code, code-format, vars, vars-format, source;
 *                             the formats are "raw" or "qcow2"; all but source must be there
 *   cpu-missing  source
 *                kvm, tcg     per accelerator: for each of QEMU's CPU models that is known the list
 * of QEMU's feature names that the model has and the host cannot give
 */
#include <string.h>

#include "lib/error.h"
#include "xslt/facts-private.h"
#include "xslt/json.h"

#define MAX_TEXT (1024 * 1024)
#define MAX_STRING 4096
#define MAX_THREADS 65536
#define MAX_ENTRIES 512 /* of a list or table */

/* One group while it is read: every getter takes its member out of REST, what stays is unknown. */
typedef struct {
    const char *name;
    JsonObject *object;
    GHashTable *rest;
    GError **error; /* of the caller; set at the first problem */
    gboolean failed;
} Group;

G_GNUC_PRINTF(3, 4)
static void problem(Group *group, const char *member, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list arguments;

    if (group->failed)
        return;
    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    group->failed = TRUE;
    g_set_error(group->error, DKVM_ERROR, DKVM_ERROR_INPUT,
                "reading the host facts failed: %s%s%s %s; see --print-facts for the form",
                group->name, *group->name ? "." : "", member, text);
}

/* A member's name comes from the file: shown without what would move a terminal's cursor. */
static void unknown_member(Group *group, const char *member)
{
    g_autofree char *shown = g_strescape(member, NULL);

    problem(group, shown, "is no fact that dkvm knows");
}

static void group_open(Group *group, const char *name, JsonObject *object, GError **error)
{
    g_autoptr(GList) members = json_object_get_members(object);

    *group = (Group){.name = name, .object = object, .error = error};
    group->rest = g_hash_table_new(g_str_hash, g_str_equal);
    for (GList *member = members; member; member = member->next)
        g_hash_table_add(group->rest, member->data);
}

/* FALSE if anything was wrong. */
static gboolean group_close(Group *group)
{
    g_autoptr(GList) members =
        g_list_sort(g_hash_table_get_keys(group->rest), (GCompareFunc)strcmp);

    if (members)
        unknown_member(group, members->data);
    g_hash_table_unref(group->rest);
    return !group->failed;
}

static JsonNode *take(Group *group, const char *member)
{
    g_hash_table_remove(group->rest, member);
    return json_object_get_member(group->object, member);
}

/* Printable text of one line: it ends up in XML, in messages and in paths. */
static gboolean text_ok(const char *text)
{
    if (strlen(text) > MAX_STRING)
        return FALSE;
    for (const char *c = text; *c; c = g_utf8_next_char(c))
        if (!g_unichar_isprint(g_utf8_get_char(c)))
            return FALSE;
    return TRUE;
}

static char *take_string(Group *group, const char *member)
{
    const char *text;

    if (!take(group, member))
        return NULL;
    text = dkvm_json_string(group->object, member);
    if (text && *text && text_ok(text))
        return g_strdup(text);
    problem(group, member, "must be a printable text of at most %d bytes", MAX_STRING);
    return NULL;
}

static char *take_path(Group *group, const char *member)
{
    g_autofree char *path = take_string(group, member);

    if (!path || g_path_is_absolute(path))
        return g_steal_pointer(&path);
    problem(group, member, "must be an absolute path");
    return NULL;
}

static DkvmTristate take_tristate(Group *group, const char *member)
{
    JsonNode *node = take(group, member);

    if (!node)
        return DKVM_UNKNOWN;
    if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_BOOLEAN)
        return json_node_get_boolean(node) ? DKVM_YES : DKVM_NO;
    problem(group, member, "must be true or false, or missing if it is unknown");
    return DKVM_UNKNOWN;
}

static gulong take_version(Group *group, const char *member)
{
    gulong version;

    if (!take(group, member))
        return 0;
    version = dkvm_version_parse(dkvm_json_string(group->object, member));
    if (version == 0)
        problem(group, member, "must be a version like \"9.0.0\"");
    return version;
}

static guint take_threads(Group *group, const char *member)
{
    JsonNode *node = take(group, member);
    gint64 value;

    if (!node)
        return 0;
    value = JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_INT64
                ? json_node_get_int(node)
                : 0;
    if (value >= 1 && value <= MAX_THREADS)
        return (guint)value;
    problem(group, member, "must be a whole number from 1 to %d", MAX_THREADS);
    return 0;
}

static char *take_vendor(Group *group, const char *member)
{
    g_autofree char *vendor = take_string(group, member);

    if (!vendor || (strlen(vendor) == 12 && g_str_is_ascii(vendor)))
        return g_steal_pointer(&vendor);
    problem(group, member, "must be CPUID's vendor of 12 letters, like \"GenuineIntel\"");
    return NULL;
}

static char *take_format(Group *group, const char *member)
{
    g_autofree char *format = take_string(group, member);

    if (!format || g_str_equal(format, "raw") || g_str_equal(format, "qcow2"))
        return g_steal_pointer(&format);
    problem(group, member, "must be \"raw\" or \"qcow2\"");
    return NULL;
}

static gboolean read_host(DkvmFacts *facts, JsonObject *object, GError **error)
{
    Group group;

    group_open(&group, "host", object, error);
    facts->host_source = take_string(&group, "source");
    facts->cpu_vendor = take_vendor(&group, "cpu-vendor");
    facts->threads = take_threads(&group, "threads");
    facts->smt = take_tristate(&group, "smt");
    facts->tsc_stable = take_tristate(&group, "tsc-stable");
    facts->sse42 = take_tristate(&group, "sse4.2");
    facts->avx2 = take_tristate(&group, "avx2");
    facts->invtsc = take_tristate(&group, "invtsc");
    return group_close(&group);
}

static gboolean read_libvirt(DkvmFacts *facts, JsonObject *object, GError **error)
{
    Group group;

    group_open(&group, "libvirt", object, error);
    facts->libvirt_source = take_string(&group, "source");
    facts->libvirt_version = take_version(&group, "version");
    return group_close(&group);
}

static gboolean read_emulator(DkvmFacts *facts, JsonObject *object, GError **error)
{
    Group group;

    group_open(&group, "emulator", object, error);
    facts->emulator_source = take_string(&group, "source");
    facts->emulator = take_path(&group, "path");
    facts->qemu_version = take_version(&group, "version");
    facts->kvm = take_tristate(&group, "kvm");
    facts->applesmc = take_tristate(&group, "applesmc");
    facts->hotplug_off = take_tristate(&group, "hotplug-off");
    return group_close(&group);
}

static DkvmFirmwarePair *read_pair(JsonObject *object, GError **error)
{
    DkvmFirmwarePair *pair = g_new0(DkvmFirmwarePair, 1);
    Group group;

    group_open(&group, "firmware.pairs", object, error);
    pair->code = take_path(&group, "code");
    pair->code_format = take_format(&group, "code-format");
    pair->vars = take_path(&group, "vars");
    pair->vars_format = take_format(&group, "vars-format");
    pair->source = take_string(&group, "source");
    if (!pair->code || !pair->code_format || !pair->vars || !pair->vars_format)
        problem(&group, "code, code-format, vars, vars-format", "must all be there");
    if (!pair->source)
        pair->source = g_strdup("recorded facts");
    if (group_close(&group))
        return pair;
    dkvm_firmware_pair_free(pair);
    return NULL;
}

static void read_pairs(Group *group, DkvmFacts *facts)
{
    JsonArray *list;

    if (!take(group, "pairs"))
        return;
    list = dkvm_json_array(group->object, "pairs");
    if (!list || json_array_get_length(list) > MAX_ENTRIES) {
        problem(group, "pairs", "must be a list of at most %d objects", MAX_ENTRIES);
        return;
    }
    for (guint i = 0; i < json_array_get_length(list) && !group->failed; i++) {
        JsonObject *object = dkvm_json_array_object(list, i);
        DkvmFirmwarePair *pair = object ? read_pair(object, group->error) : NULL;
        if (pair)
            g_ptr_array_add(facts->firmware, pair);
        else if (object)
            group->failed = TRUE;
        else
            problem(group, "pairs", "must be a list of objects");
    }
}

static gboolean read_firmware(DkvmFacts *facts, JsonObject *object, GError **error)
{
    Group group;

    group_open(&group, "firmware", object, error);
    facts->firmware_source = take_string(&group, "source");
    facts->autoselect = take_tristate(&group, "autoselect");
    facts->nvram_dir = take_path(&group, "nvram-dir");
    read_pairs(&group, facts);
    return group_close(&group);
}

GPtrArray *dkvm_facts_feature_names(JsonArray *list)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

    if (!list || json_array_get_length(list) > MAX_ENTRIES)
        return NULL;
    for (guint i = 0; i < json_array_get_length(list); i++) {
        const char *name = dkvm_json_array_string(list, i);
        if (!name || !dkvm_facts_name_ok(name))
            return NULL;
        g_ptr_array_add(names, g_strdup(name));
    }
    return g_steal_pointer(&names);
}

gboolean dkvm_facts_read_missing(JsonObject *object, GHashTable *missing)
{
    JsonObjectIter iterator;
    const char *model;
    JsonNode *node;

    if (json_object_get_size(object) > MAX_ENTRIES)
        return FALSE;
    json_object_iter_init(&iterator, object);
    while (json_object_iter_next(&iterator, &model, &node)) {
        GPtrArray *names = dkvm_facts_feature_names(dkvm_json_array(object, model));
        if (!names)
            return FALSE;
        if (!dkvm_facts_name_ok(model)) {
            g_ptr_array_unref(names);
            return FALSE;
        }
        dkvm_facts_set_missing(missing, model, names);
    }
    return TRUE;
}

static void take_missing(Group *group, const char *member, GHashTable *missing)
{
    JsonObject *object;

    if (!take(group, member))
        return;
    object = dkvm_json_child(group->object, member);
    if (!object || !dkvm_facts_read_missing(object, missing))
        problem(group, member,
                "must be an object: CPU model to list of feature names, of A-Z a-z 0-9 _ . -");
}

static gboolean read_missing(DkvmFacts *facts, JsonObject *object, GError **error)
{
    Group group;

    group_open(&group, "cpu-missing", object, error);
    facts->missing_source = take_string(&group, "source");
    take_missing(&group, "kvm", facts->missing_kvm);
    take_missing(&group, "tcg", facts->missing_tcg);
    return group_close(&group);
}

static const struct {
    const char *name;
    gboolean (*read)(DkvmFacts *facts, JsonObject *object, GError **error);
} groups[] = {
    {"host", read_host},         {"libvirt", read_libvirt},     {"emulator", read_emulator},
    {"firmware", read_firmware}, {"cpu-missing", read_missing},
};

DkvmFacts *dkvm_facts_from_json(const char *text, gsize length, GError **error)
{
    g_autoptr(DkvmFacts) facts = dkvm_facts_new();
    g_autoptr(JsonObject) root = NULL;
    Group group;

    if (length > MAX_TEXT) {
        g_set_error(
            error, DKVM_ERROR, DKVM_ERROR_INPUT,
            "reading the host facts failed: more than 1 MiB; see --print-facts for the form");
        return NULL;
    }
    root = dkvm_json_object(text, length, error);
    if (!root) {
        g_prefix_error(error, "reading the host facts failed: ");
        return NULL;
    }
    group_open(&group, "", root, error);
    for (guint i = 0; i < G_N_ELEMENTS(groups) && !group.failed; i++) {
        JsonObject *child = dkvm_json_child(root, groups[i].name);
        if (!take(&group, groups[i].name))
            continue;
        if (!child)
            problem(&group, groups[i].name, "must be an object");
        else if (!groups[i].read(facts, child, error))
            group.failed = TRUE;
    }
    return group_close(&group) ? g_steal_pointer(&facts) : NULL;
}

static void set_string(JsonObject *object, const char *member, const char *text)
{
    if (text)
        json_object_set_string_member(object, member, text);
}

void dkvm_facts_set_tristate(JsonObject *object, const char *member, DkvmTristate value)
{
    if (value != DKVM_UNKNOWN)
        json_object_set_boolean_member(object, member, value == DKVM_YES);
}

static void set_version(JsonObject *object, const char *member, gulong version)
{
    g_autofree char *text = version ? dkvm_version_text(version) : NULL;

    set_string(object, member, text);
}

static JsonObject *host_object(const DkvmFacts *facts)
{
    JsonObject *object = json_object_new();

    set_string(object, "source", facts->host_source);
    set_string(object, "cpu-vendor", facts->cpu_vendor);
    if (facts->threads)
        json_object_set_int_member(object, "threads", facts->threads);
    dkvm_facts_set_tristate(object, "smt", facts->smt);
    dkvm_facts_set_tristate(object, "tsc-stable", facts->tsc_stable);
    dkvm_facts_set_tristate(object, "sse4.2", facts->sse42);
    dkvm_facts_set_tristate(object, "avx2", facts->avx2);
    dkvm_facts_set_tristate(object, "invtsc", facts->invtsc);
    return object;
}

static JsonObject *libvirt_object(const DkvmFacts *facts)
{
    JsonObject *object = json_object_new();

    set_string(object, "source", facts->libvirt_source);
    set_version(object, "version", facts->libvirt_version);
    return object;
}

static JsonObject *emulator_object(const DkvmFacts *facts)
{
    JsonObject *object = json_object_new();

    set_string(object, "source", facts->emulator_source);
    set_string(object, "path", facts->emulator);
    set_version(object, "version", facts->qemu_version);
    dkvm_facts_set_tristate(object, "kvm", facts->kvm);
    dkvm_facts_set_tristate(object, "applesmc", facts->applesmc);
    dkvm_facts_set_tristate(object, "hotplug-off", facts->hotplug_off);
    return object;
}

static JsonObject *firmware_object(const DkvmFacts *facts)
{
    JsonObject *object = json_object_new();
    JsonArray *pairs = json_array_new();

    set_string(object, "source", facts->firmware_source);
    dkvm_facts_set_tristate(object, "autoselect", facts->autoselect);
    set_string(object, "nvram-dir", facts->nvram_dir);
    for (guint i = 0; i < facts->firmware->len; i++) {
        const DkvmFirmwarePair *pair = facts->firmware->pdata[i];
        JsonObject *item = json_object_new();
        set_string(item, "code", pair->code);
        set_string(item, "code-format", pair->code_format);
        set_string(item, "vars", pair->vars);
        set_string(item, "vars-format", pair->vars_format);
        set_string(item, "source", pair->source);
        json_array_add_object_element(pairs, item);
    }
    json_object_set_array_member(object, "pairs", pairs);
    return object;
}

JsonObject *dkvm_facts_missing_object(GHashTable *missing)
{
    JsonObject *object = json_object_new();
    g_autoptr(GList) models = g_list_sort(g_hash_table_get_keys(missing), (GCompareFunc)strcmp);

    for (GList *model = models; model; model = model->next) {
        JsonArray *list = json_array_new();
        for (char **name = g_hash_table_lookup(missing, model->data); *name; name++)
            json_array_add_string_element(list, *name);
        json_object_set_array_member(object, model->data, list);
    }
    return object;
}

static JsonObject *missing_object(const DkvmFacts *facts)
{
    JsonObject *object = json_object_new();

    set_string(object, "source", facts->missing_source);
    json_object_set_object_member(object, "kvm", dkvm_facts_missing_object(facts->missing_kvm));
    json_object_set_object_member(object, "tcg", dkvm_facts_missing_object(facts->missing_tcg));
    return object;
}

char *dkvm_facts_to_json(const DkvmFacts *facts)
{
    g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();

    json_object_set_object_member(object, "host", host_object(facts));
    json_object_set_object_member(object, "libvirt", libvirt_object(facts));
    json_object_set_object_member(object, "emulator", emulator_object(facts));
    json_object_set_object_member(object, "firmware", firmware_object(facts));
    json_object_set_object_member(object, "cpu-missing", missing_object(facts));
    json_node_take_object(root, object);
    return json_to_string(root, TRUE);
}
