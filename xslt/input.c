/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/input.h"

#include <stdlib.h>

static xmlNode *replace_child(xmlNode *root, const char *name)
{
    xmlNode *old = dkvm_xml_child(root, name);
    xmlNode *node = xmlNewDocNode(root->doc, NULL, BAD_CAST name, NULL);
    if (old != NULL) {
        xmlReplaceNode(old, node);
        xmlFreeNode(old);
        return node;
    }
    return xmlAddChild(root, node);
}

static xmlNode *add(xmlNode *parent, const char *name)
{
    return xmlNewChild(parent, NULL, BAD_CAST name, NULL);
}

static void set_number(xmlNode *node, const char *name, gulong number)
{
    char text[24];
    g_snprintf(text, sizeof text, "%lu", number);
    dkvm_xml_set(node, name, text);
}

/* Unknown is left out, so that a stylesheet asks for the answer that it needs. */
static void set_tristate(xmlNode *node, const char *name, DkvmTristate value)
{
    if (value != DKVM_UNKNOWN) {
        dkvm_xml_set(node, name, value == DKVM_YES ? "yes" : "no");
    }
}

/* Versions as numbers, once, since stylesheets compare them for each domain. */
static void number_versions(xmlNode *node)
{
    for (xmlNode *n = dkvm_xml_element(node->children); n != NULL; n = dkvm_xml_element(n->next)) {
        const char *from = dkvm_xml_get(n, "from");
        if (from != NULL) {
            set_number(n, "number", dkvm_macos_parse(from));
        }
        number_versions(n);
    }
}

DkvmDoc *dkvm_input_new(void)
{
    DkvmDoc *doc = xmlNewDoc(BAD_CAST "1.0");
    xmlNode *root = xmlNewDocNode(doc, NULL, BAD_CAST "input", NULL);
    xmlSetNs(root, xmlNewNs(root, BAD_CAST DKVM_NS, BAD_CAST "dkvm"));
    xmlDocSetRootElement(doc, root);
    xmlNode *models = xmlDocCopyNode(xmlDocGetRootElement(dkvm_models_document()), doc, 1);
    number_versions(models);
    xmlAddChild(root, models);
    return doc;
}

xmlNode *dkvm_input_set_domain(DkvmDoc *doc, xmlNode *domain)
{
    xmlNode *root = xmlDocGetRootElement(doc);
    xmlNode *old = dkvm_xml_child(root, "domain");
    if (old != NULL && old != domain) {
        dkvm_xml_remove(old);
    }
    if (domain->doc == doc) {
        return domain;
    }
    xmlNode *copy = xmlDocCopyNode(domain, doc, 1);
    return xmlAddPrevSibling(root->children, copy);
}

/* ---- facts ---- */

static void fill_host(xmlNode *facts, const DkvmFacts *f)
{
    xmlNode *host = add(facts, "host");
    const struct {
        const char *name;
        DkvmTristate value;
    } features[] = {{"sse4.2", f->sse42}, {"avx2", f->avx2}, {"invtsc", f->invtsc}};
    dkvm_xml_set(host, "vendor", f->cpu_vendor);
    set_tristate(host, "tsc-stable", f->tsc_stable);
    for (gsize i = 0; i < G_N_ELEMENTS(features); i++) {
        xmlNode *feature = add(host, "feature");
        dkvm_xml_set(feature, "name", features[i].name);
        set_tristate(feature, "present", features[i].value);
    }
}

static void fill_emulator(xmlNode *facts, const DkvmInput *input)
{
    const DkvmFacts *f = input->facts;
    set_number(add(facts, "libvirt"), "version", f->libvirt_version);
    xmlNode *emulator = add(facts, "emulator");
    dkvm_xml_set(emulator, "path", f->emulator);
    set_number(emulator, "version", f->qemu_version);
    set_tristate(emulator, "applesmc", f->applesmc);
    set_tristate(emulator, "hotplug-off", f->hotplug_off);
    if (input->state->own_emulator == DKVM_YES) {
        dkvm_xml_set(emulator, "own", "works");
    }
}

/* A file of our own: the one that libvirt made for another firmware survives a change of firmware
 * (facts/define.md 3).  Named by UUID, or by a digest of the name, never by the name. */
static char *nvram_path(const xmlNode *domain, const DkvmFacts *f)
{
    g_autofree char *uuid = dkvm_xml_text(dkvm_xml_child(domain, "uuid"));
    g_autofree char *name = dkvm_xml_text(dkvm_xml_child(domain, "name"));
    if (f->nvram_dir == NULL) {
        return NULL;
    }
    if (g_uuid_string_is_valid(g_strstrip(uuid))) {
        return g_strdup_printf("%s/dkvm-%s_VARS.fd", f->nvram_dir, uuid);
    }
    g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, name, -1);
    return g_strdup_printf("%s/dkvm-%.16s_VARS.fd", f->nvram_dir, digest);
}

static void fill_firmware(xmlNode *facts, const DkvmFacts *f, const xmlNode *domain)
{
    xmlNode *firmware = add(facts, "firmware");
    g_autofree char *nvram = nvram_path(domain, f);
    set_tristate(firmware, "autoselect", f->autoselect);
    dkvm_xml_set(firmware, "nvram", nvram);
    for (guint i = 0; i < f->firmware->len; i++) {
        const DkvmFirmwarePair *pair = g_ptr_array_index(f->firmware, i);
        xmlNode *node = add(firmware, "pair");
        dkvm_xml_set(node, "code", pair->code);
        dkvm_xml_set(node, "code-format", pair->code_format);
        dkvm_xml_set(node, "vars", pair->vars);
        dkvm_xml_set(node, "vars-format", pair->vars_format);
    }
}

static void fill_cpu(xmlNode *facts, const DkvmInput *input, gboolean kvm)
{
    xmlNode *cpu = add(facts, "cpu");
    GHashTable *table = kvm ? input->facts->missing_kvm : input->facts->missing_tcg;
    char **missing = g_hash_table_lookup(table, input->cpu->name);
    dkvm_xml_set(cpu, "name", input->cpu->name);
    dkvm_xml_set(cpu, "known", missing ? "yes" : "no");
    for (; missing != NULL && *missing != NULL; missing++) {
        dkvm_xml_set(add(cpu, "missing"), "name", *missing);
    }
}

static void fill_topology(xmlNode *facts, const DkvmVcpus *vcpus)
{
    xmlNode *topology = add(facts, "topology");
    set_number(topology, "vcpus", vcpus->vcpus);
    set_number(topology, "sockets", vcpus->shape.sockets);
    set_number(topology, "cores", vcpus->shape.cores);
    set_number(topology, "threads", vcpus->shape.threads);
    dkvm_xml_set(topology, "leave", vcpus->leave ? "yes" : "no");
}

/* The highest PCI bus that a device is on; libvirt writes it in hexadecimal. */
static gulong highest_bus(const xmlNode *domain)
{
    gulong highest = 0;
    const xmlNode *devices = dkvm_xml_child(domain, "devices");
    for (xmlNode *n = devices ? dkvm_xml_element(devices->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        const xmlNode *address = dkvm_xml_child(n, "address");
        const char *bus = dkvm_xml_get(address, "bus");
        if (bus != NULL && g_strcmp0(dkvm_xml_get(address, "type"), "pci") == 0) {
            highest = MAX(highest, strtoul(bus, NULL, 0));
        }
    }
    return highest;
}

static void fill_state(xmlNode *facts, const DkvmInput *input, const xmlNode *domain)
{
    xmlNode *state = add(facts, "state");
    dkvm_xml_set(state, "source", input->state->from_file ? "file" : "connection");
    set_tristate(state, "disks-empty", input->state->disks_empty);
    dkvm_xml_set(state, "original", input->original ? "yes" : "no");
    set_number(state, "highest-bus", highest_bus(domain));
}

/* ---- choices ---- */

static void fill_choices(xmlNode *choices, const DkvmInput *input)
{
    g_autofree char *macos = dkvm_macos_text(input->macos);
    GHashTableIter i;
    gpointer key, value;
    dkvm_xml_set(choices, "osk", input->osk);
    g_hash_table_iter_init(&i, input->choices);
    while (g_hash_table_iter_next(&i, &key, &value)) {
        dkvm_xml_set(choices, key, value);
    }
    if (g_hash_table_contains(input->choices, "osk")) {
        dkvm_xml_set(choices, "osk-set", "yes");
    }
    dkvm_xml_set(choices, "model", input->model);
    dkvm_xml_set(choices, "macos", macos);
    set_number(choices, "number", input->macos);
}

void dkvm_input_fill(DkvmDoc *doc, const DkvmInput *input)
{
    xmlNode *root = xmlDocGetRootElement(doc);
    const xmlNode *domain = dkvm_xml_child(root, "domain");
    gboolean kvm = g_strcmp0(dkvm_xml_get(domain, "type"), "kvm") == 0;
    xmlNode *facts = replace_child(root, "facts");
    fill_host(facts, input->facts);
    fill_emulator(facts, input);
    fill_firmware(facts, input->facts, domain);
    fill_cpu(facts, input, kvm);
    fill_topology(facts, input->vcpus);
    fill_state(facts, input, domain);
    fill_choices(replace_child(root, "choices"), input);
}
