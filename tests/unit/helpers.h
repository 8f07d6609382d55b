/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What several unit tests need: hosts made up in C, the golden inputs, patching in one line. */
#pragma once

#include <glib.h>
#include <string.h>

#include "lib/error.h"
#include "lib/xml.h"
#include "xslt/patch.h"

#define GOLDEN_IN "tests/golden/in"
#define TEST_OSK "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789ABCDEF"
#define MAY_BE_UNUSED G_GNUC_UNUSED static

/* ---- hosts ---- */

typedef struct {
    const char *name, *vendor;
    gulong libvirt, qemu;
    DkvmTristate autoselect;
    const char *format; /* of the first firmware pair */
} Host;

static const Host hosts[] = {
    {"intel-9.0-7.2", "GenuineIntel", 9000000, 7002022, DKVM_NO, "raw"},
    {"amd-9.0-7.2", "AuthenticAMD", 9000000, 7002022, DKVM_YES, "raw"},
    {"intel-11.3-10.0", "GenuineIntel", 11003000, 10000000, DKVM_YES, "raw"},
    {"amd-11.3-10.0", "AuthenticAMD", 11003000, 10000000, DKVM_NO, "qcow2"},
};

static void add_pair(DkvmFacts *facts, const char *stem, const char *format)
{
    DkvmFirmwarePair *pair = g_new0(DkvmFirmwarePair, 1);
    const char *end = g_str_equal(format, "raw") ? "fd" : "qcow2";
    pair->code = g_strdup_printf("/usr/share/OVMF/%s_CODE.%s", stem, end);
    pair->vars = g_strdup_printf("/usr/share/OVMF/%s_VARS.%s", stem, end);
    pair->code_format = g_strdup(format);
    pair->vars_format = g_strdup(format);
    pair->source = g_strdup("test");
    g_ptr_array_add(facts->firmware, pair);
}

static void add_missing(GHashTable *table, gboolean amd)
{
    static const char *const intel_lacks[] = {"hle", "rtm", NULL};
    static const char *const amd_lacks[] = {"avx512f", "hle", "pcid", "rtm", NULL};
    static const char *const none[] = {NULL};
    static const char *const cpus[] = {"Westmere-v2", "Penryn", "Conroe-v1"};
    const char *const *lacks = amd ? amd_lacks : intel_lacks;
    g_hash_table_insert(table, g_strdup("Cascadelake-Server"), g_strdupv((char **)lacks));
    for (gsize i = 0; i < G_N_ELEMENTS(cpus); i++) {
        g_hash_table_insert(table, g_strdup(cpus[i]), g_strdupv((char **)none));
    }
}

MAY_BE_UNUSED DkvmFacts *host_facts(const Host *host)
{
    DkvmFacts *facts = dkvm_facts_new();
    gboolean amd = g_str_equal(host->vendor, "AuthenticAMD");
    facts->cpu_vendor = g_strdup(host->vendor);
    facts->threads = 24;
    facts->smt = facts->tsc_stable = facts->sse42 = facts->avx2 = facts->invtsc = DKVM_YES;
    facts->kvm = facts->applesmc = facts->hotplug_off = DKVM_YES;
    facts->libvirt_version = host->libvirt;
    facts->qemu_version = host->qemu;
    facts->emulator = g_strdup("/usr/bin/qemu-system-x86_64");
    facts->autoselect = host->autoselect;
    facts->nvram_dir = g_strdup("/var/lib/libvirt/qemu/nvram");
    add_pair(facts, "OVMF", host->format);
    add_pair(facts, "OVMF_4M", "raw");
    add_missing(facts->missing_kvm, amd);
    add_missing(facts->missing_tcg, TRUE);
    return facts;
}

/* ---- patching ---- */

static const DkvmDomainState as_file = {TRUE, DKVM_UNKNOWN, DKVM_UNKNOWN};
static const DkvmDomainState as_empty = {FALSE, DKVM_YES, DKVM_YES};
static const DkvmDomainState as_installed = {FALSE, DKVM_NO, DKVM_YES};
static const DkvmDomainState *const states[] = {&as_file, &as_empty, &as_installed};

typedef struct {
    DkvmFacts *facts;
    DkvmPatcher *patcher;
} Bench;

MAY_BE_UNUSED Bench bench_new(const Host *host)
{
    GError *error = NULL;
    Bench bench = {.facts = host_facts(host)};
    bench.patcher = dkvm_patcher_new(bench.facts, TEST_OSK, NULL, NULL, &error);
    g_assert_no_error(error);
    return bench;
}

MAY_BE_UNUSED void bench_clear(Bench *bench)
{
    g_clear_pointer(&bench->patcher, dkvm_patcher_free);
    g_clear_pointer(&bench->facts, dkvm_facts_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Bench, bench_clear)

typedef struct {
    char *macos, *model, *key, *value;
} Options;

MAY_BE_UNUSED void options_clear(Options *options)
{
    g_free(options->macos);
    g_free(options->model);
    g_free(options->key);
    g_free(options->value);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

MAY_BE_UNUSED DkvmWishes wish(const Options *options)
{
    DkvmWishes wishes = {.model = options->model,
                         .macos = options->macos ? dkvm_macos_parse(options->macos) : 0};
    if (options->key != NULL) {
        wishes.set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        g_hash_table_insert(wishes.set, g_strdup(options->key), g_strdup(options->value));
    }
    return wishes;
}

/* NULL with ERROR if it cannot be patched. */
MAY_BE_UNUSED char *try_patch(Bench *bench, const char *text, const DkvmDomainState *state,
                              const Options *options, GError **error)
{
    static const Options none = {0};
    DkvmWishes wishes = wish(options ? options : &none);
    g_autoptr(DkvmPatched) patched =
        dkvm_patch(bench->patcher, text, strlen(text), "test", state, &wishes, error);
    g_clear_pointer(&wishes.set, g_hash_table_unref);
    return patched ? g_steal_pointer(&patched->xml) : NULL;
}

/* Says and counts ERROR, so that one failure does not end a program with other tests in it. */
static gboolean failed(GError *error)
{
    if (error == NULL) {
        return FALSE;
    }
    g_test_message("%s", error->message);
    g_test_fail();
    g_error_free(error);
    return TRUE;
}

/* These return something to go on with in every case. */
MAY_BE_UNUSED char *must_patch(Bench *bench, const char *text, const DkvmDomainState *state,
                               const Options *options)
{
    GError *error = NULL;
    char *xml = try_patch(bench, text, state, options, &error);
    return failed(error) ? g_strdup(text) : xml;
}

MAY_BE_UNUSED char *must_revert(const char *text)
{
    GError *error = NULL;
    g_autoptr(DkvmPatched) patched = dkvm_revert(text, strlen(text), "test", FALSE, &error);
    return failed(error) ? g_strdup(text) : g_steal_pointer(&patched->xml);
}

/* ---- XML ---- */

MAY_BE_UNUSED DkvmDoc *must_parse(const char *text)
{
    GError *error = NULL;
    DkvmDoc *doc = dkvm_xml_parse(text, strlen(text), "test", &error);
    return failed(error) ? dkvm_xml_parse("<none/>", strlen("<none/>"), "none", NULL) : doc;
}

MAY_BE_UNUSED char *canonical(const char *text)
{
    g_autoptr(DkvmDoc) doc = must_parse(text);
    return dkvm_xml_serialize(doc);
}

static char *node_text(xmlNode *node)
{
    g_autoptr(DkvmDoc) doc = xmlNewDoc(BAD_CAST "1.0");
    xmlDocSetRootElement(doc, xmlDocCopyNode(node, doc, 1));
    return dkvm_xml_serialize(doc);
}

static gint by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void put_sorted(GString *out, xmlNode *parent)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    for (xmlNode *n = parent ? dkvm_xml_element(parent->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        g_ptr_array_add(lines, node_text(n));
    }
    g_ptr_array_sort(lines, by_text);
    for (guint i = 0; i < lines->len; i++) {
        g_string_append(out, lines->pdata[i]);
    }
    while (parent != NULL && parent->children != NULL) {
        dkvm_xml_remove(parent->children);
    }
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    const xmlAttr *const *x = a, *const *y = b;
    return xmlStrcmp((*x)->name, (*y)->name);
}

static void sort_attributes(xmlNode *node)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    for (xmlAttr *a = node->properties; a != NULL; a = a->next) {
        g_ptr_array_add(all, a);
    }
    g_ptr_array_sort(all, by_name);
    xmlAttr **link = &node->properties, *prev = NULL;
    for (guint i = 0; i < all->len; i++) {
        *link = all->pdata[i];
        (*link)->prev = prev;
        (*link)->next = NULL;
        prev = *link;
        link = &prev->next;
    }
    for (xmlNode *n = dkvm_xml_element(node->children); n != NULL; n = dkvm_xml_element(n->next)) {
        sort_attributes(n);
    }
}

/* Equal for two domains that differ only in the order of attributes and in that of the children of
 * <devices> and <os>, both of which libvirt brings into an order of its own. */
MAY_BE_UNUSED char *without_order(const char *text)
{
    g_autoptr(DkvmDoc) doc = must_parse(text);
    xmlNode *domain = xmlDocGetRootElement(doc);
    sort_attributes(domain);
    GString *out = g_string_new(NULL);
    xmlNode *metadata = dkvm_xml_child(domain, "metadata");
    put_sorted(out, dkvm_xml_child_ns(metadata, "darwin", DKVM_NS));
    put_sorted(out, dkvm_xml_child_ns(domain, "commandline", DKVM_NS_QEMU));
    put_sorted(out, dkvm_xml_child(domain, "os"));
    put_sorted(out, dkvm_xml_child(domain, "devices"));
    g_autofree char *rest = dkvm_xml_serialize(doc);
    g_string_prepend(out, rest);
    return g_string_free(out, FALSE);
}

/* TEXT with the first FROM behind <metadata> (so not in the marker) changed to TO. */
MAY_BE_UNUSED char *replaced(const char *text, const char *from, const char *to)
{
    const char *body = strstr(text, "</metadata>");
    const char *at = strstr(body ? body : text, from);
    if (at == NULL) {
        g_error("nothing to edit: '%s' is not in:\n%s", from, text);
    }
    return g_strdup_printf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

MAY_BE_UNUSED void assert_contains(const char *text, const char *what)
{
    if (strstr(text, what) == NULL) {
        g_test_message("'%s' is not in:\n%s", what, text);
        g_test_fail();
    }
}

MAY_BE_UNUSED void assert_lacks(const char *text, const char *what)
{
    if (strstr(text, what) != NULL) {
        g_test_message("'%s' is in:\n%s", what, text);
        g_test_fail();
    }
}

/* As virt-manager makes it and libvirt prints it; every edit of the tests is done to this one. */
static const char plain_domain[] =
    "<domain type='kvm'>\n"
    "  <name>mac</name>\n"
    "  <uuid>4e013e70-48ce-5f56-8fd3-aaff52ec246e</uuid>\n"
    "  <metadata>\n"
    "    <libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'>\n"
    "      <libosinfo:os id='http://apple.com/macos/14'/>\n"
    "    </libosinfo:libosinfo>\n"
    "  </metadata>\n"
    "  <memory unit='KiB'>8388608</memory>\n"
    "  <currentMemory unit='KiB'>4194304</currentMemory>\n"
    "  <vcpu placement='static'>4</vcpu>\n"
    "  <os>\n"
    "    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>\n"
    "    <boot dev='hd'/>\n"
    "  </os>\n"
    "  <features>\n"
    "    <acpi/>\n"
    "    <apic/>\n"
    "    <vmport state='off'/>\n"
    "  </features>\n"
    "  <cpu mode='host-model' check='partial'/>\n"
    "  <clock offset='utc'>\n"
    "    <timer name='rtc' tickpolicy='catchup'/>\n"
    "    <timer name='hpet' present='no'/>\n"
    "  </clock>\n"
    "  <devices>\n"
    "    <emulator>/usr/bin/qemu-system-x86_64</emulator>\n"
    "    <disk type='file' device='disk'>\n"
    "      <driver name='qemu' type='qcow2'/>\n"
    "      <source file='/var/lib/libvirt/images/mac.qcow2'/>\n"
    "      <target dev='sda' bus='sata'/>\n"
    "      <address type='drive' controller='0' bus='0' target='0' unit='0'/>\n"
    "    </disk>\n"
    "    <controller type='usb' index='0' model='qemu-xhci'>\n"
    "      <address type='pci' domain='0x0000' bus='0x00' slot='0x1d' function='0x0'/>\n"
    "    </controller>\n"
    "    <controller type='sata' index='0'>\n"
    "      <address type='pci' domain='0x0000' bus='0x00' slot='0x1f' function='0x2'/>\n"
    "    </controller>\n"
    "    <controller type='pci' index='0' model='pcie-root'/>\n"
    "    <interface type='network'>\n"
    "      <mac address='52:54:00:dc:71:00'/>\n"
    "      <source network='default'/>\n"
    "      <model type='e1000e'/>\n"
    "      <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>\n"
    "    </interface>\n"
    "    <graphics type='vnc' port='-1' autoport='yes' passwd='secret'/>\n"
    "    <sound model='ich6'>\n"
    "      <address type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'/>\n"
    "    </sound>\n"
    "    <video>\n"
    "      <model type='qxl' ram='65536' vram='65536' vgamem='16384' heads='1' primary='yes'/>\n"
    "      <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/>\n"
    "    </video>\n"
    "    <memballoon model='virtio'>\n"
    "      <address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/>\n"
    "    </memballoon>\n"
    "  </devices>\n"
    "</domain>\n";

/* ---- golden inputs ---- */

typedef struct {
    char *name, *text;
    Options options;
} Golden;

static void golden_free(gpointer data)
{
    Golden *golden = data;
    g_free(golden->name);
    g_free(golden->text);
    options_clear(&golden->options);
    g_free(golden);
}

static void read_option(Options *options, const char *word)
{
    if (g_str_has_prefix(word, "macos=")) {
        options->macos = g_strdup(word + strlen("macos="));
    } else if (g_str_has_prefix(word, "model=")) {
        options->model = g_strdup(word + strlen("model="));
    } else if (g_str_has_prefix(word, "set=") && options->key == NULL) {
        g_auto(GStrv) halves = g_strsplit(word + strlen("set="), "=", 2);
        options->key = g_strdup(halves[0]);
        options->value = g_strdup(halves[1]);
    }
}

static void read_options(Golden *golden)
{
    g_autofree char *line = g_strndup(golden->text, strcspn(golden->text, "\n"));
    g_auto(GStrv) words = g_strsplit_set(line, " ", -1);
    for (char **word = words; *word != NULL; word++) {
        read_option(&golden->options, *word);
    }
}

/* Every input, in order; the tests run in the top folder. */
MAY_BE_UNUSED GPtrArray *golden_inputs(void)
{
    g_autoptr(GDir) dir = g_dir_open(GOLDEN_IN, 0, NULL);
    g_assert_nonnull(dir);
    GPtrArray *inputs = g_ptr_array_new_with_free_func(golden_free);
    const char *name;
    while ((name = g_dir_read_name(dir)) != NULL) {
        if (!g_str_has_suffix(name, ".xml")) {
            continue;
        }
        g_autofree char *path = g_build_filename(GOLDEN_IN, name, NULL);
        Golden *golden = g_new0(Golden, 1);
        golden->name = g_strdup(name);
        g_assert_true(g_file_get_contents(path, &golden->text, NULL, NULL));
        read_options(golden);
        g_ptr_array_add(inputs, golden);
    }
    g_assert_cmpuint(inputs->len, >=, 120);
    g_ptr_array_sort(inputs, by_text); /* the name is the first member */
    return inputs;
}
