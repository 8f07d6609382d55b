/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/facts-connection.h"

#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "lib/log.h"
#include "lib/xml.h"
#include "xslt/facts-private.h"
#include "xslt/firmware.h"
#include "xslt/models.h"
#include "xslt/qmp.h"

#define ARCH "x86_64"
#define MACHINE "q35"
#define FEATURE_AUTOSELECT 7002000 /* <os firmware><firmware><feature>: libvirt 7.2.0, NEWS */
#define HOTPLUG_OFF 6001000        /* ICH9-LPC.acpi-pci-hotplug-with-bridge-support: QEMU 6.1 */
#define MAX_THREADS 65536

/* libvirt's strings come from malloc(3). */
typedef char LibvirtText;
static void libvirt_text_free(LibvirtText *text)
{
    free(text);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LibvirtText, libvirt_text_free)

typedef struct {
    virConnectPtr conn;
    char *uri;
    gboolean local, session;
    DkvmDoc *capabilities; /* virConnectGetCapabilities */
    DkvmDoc *domain;       /* virConnectGetDomainCapabilities of the best virt type */
    DkvmFacts *facts;
} Gather;

static gboolean fail(Gather *gather, const char *call, GError **error)
{
    const char *cause = virGetLastErrorMessage();

    g_set_error(error, DKVM_ERROR, DKVM_ERROR_LIBVIRT,
                "%s on %s failed: %s; check that its libvirt daemon runs and that you may use it",
                call, gather->uri ? gather->uri : "the connection", cause);
    return FALSE;
}

/* Does the URI mean this machine?  A host part does not, and a named socket may lead anywhere. */
static void judge_uri(Gather *gather)
{
    g_autoptr(GUri) uri = g_uri_parse(gather->uri, G_URI_FLAGS_NON_DNS, NULL);
    const char *host, *query;

    if (!uri || !(g_str_equal(g_uri_get_scheme(uri), "qemu") ||
                  g_str_equal(g_uri_get_scheme(uri), "qemu+unix")))
        return;
    host = g_uri_get_host(uri);
    query = g_uri_get_query(uri);
    if ((host && *host) || (query && strstr(query, "socket=")))
        return;
    gather->session = g_str_equal(g_uri_get_path(uri), "/session");
    gather->local = gather->session || g_str_equal(g_uri_get_path(uri), "/system");
}

static gboolean open_uri(Gather *gather, GError **error)
{
    g_autoptr(LibvirtText) uri = virConnectGetURI(gather->conn);

    if (!uri)
        return fail(gather, "virConnectGetURI", error);
    gather->uri = g_strdup(uri);
    judge_uri(gather);
    return TRUE;
}

static gboolean ask_versions(Gather *gather, GError **error)
{
    DkvmFacts *facts = gather->facts;

    if (virConnectGetLibVersion(gather->conn, &facts->libvirt_version) < 0)
        return fail(gather, "virConnectGetLibVersion", error);
    if (virConnectGetVersion(gather->conn, &facts->qemu_version) < 0)
        facts->qemu_version = 0; /* no default emulator; QMP may know */
    return TRUE;
}

static DkvmDoc *domain_capabilities(Gather *gather, const char *type, GError **error)
{
    g_autoptr(LibvirtText) text =
        virConnectGetDomainCapabilities(gather->conn, NULL, ARCH, MACHINE, type, 0);

    return text ? dkvm_xml_parse(text, strlen(text), "the domain capabilities", error) : NULL;
}

/* KVM if libvirt offers it, else emulation.  libvirt refuses the question for a virt type that the
 * emulator cannot do, which is how we learn that there is no KVM. */
static gboolean ask_domain_capabilities(Gather *gather, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autofree char *said = NULL;

    gather->domain = domain_capabilities(gather, "kvm", &cause);
    gather->facts->kvm = gather->domain ? DKVM_YES : DKVM_NO;
    if (!gather->domain && !cause)
        gather->domain = domain_capabilities(gather, "qemu", &cause);
    if (gather->domain)
        return TRUE;
    if (cause) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return FALSE;
    }
    said = g_strdup(virGetLastErrorMessage());
    if (virConnectIsAlive(gather->conn) != 1)
        g_set_error(
            error, DKVM_ERROR, DKVM_ERROR_LIBVIRT,
            "virConnectGetDomainCapabilities on %s failed: %s; check that its libvirt daemon "
            "runs",
            gather->uri, said);
    else
        g_set_error(
            error, DKVM_ERROR, DKVM_ERROR_HOST,
            "virConnectGetDomainCapabilities on %s failed: %s; install qemu-system-x86 there, "
            "or connect to a host that has it",
            gather->uri, said);
    return FALSE;
}

static void ask_emulator_path(Gather *gather)
{
    xmlNode *path = dkvm_xml_child(xmlDocGetRootElement(gather->domain), "path");
    g_autofree char *text = path ? dkvm_xml_text(path) : NULL;

    if (text && *text)
        gather->facts->emulator = g_steal_pointer(&text);
}

/* ---- host CPU ----------------------------------------------------------------------------- */

static xmlNode *host_cpu(Gather *gather)
{
    xmlNode *host = dkvm_xml_child(xmlDocGetRootElement(gather->capabilities), "host");

    return dkvm_xml_child(host, "cpu");
}

/* libvirt's vendor names (src/cpu_map/x86_vendors.xml) as CPUID spells them. */
static const char *vendor_cpuid(const char *vendor)
{
    static const char *const names[][2] = {
        {"Intel", "GenuineIntel"}, {"AMD", "AuthenticAMD"}, {"Hygon", "HygonGenuine"}};

    for (guint i = 0; i < G_N_ELEMENTS(names); i++)
        if (g_str_equal(names[i][0], vendor))
            return names[i][1];
    return NULL;
}

/* All features of the host's CPU: libvirt lists only what its model does not imply, so let it
 * expand the model.  Returns the names, or NULL if it would not. */
static GHashTable *host_features(Gather *gather, xmlNode *cpu)
{
    g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(DkvmDoc) doc = xmlNewDoc(BAD_CAST "1.0");
    g_autofree char *text = NULL;
    g_autoptr(LibvirtText) expanded = NULL;
    g_autoptr(DkvmDoc) answer = NULL;

    xmlDocSetRootElement(doc, xmlDocCopyNode(cpu, doc, 1));
    text = dkvm_xml_serialize(doc);
    expanded = virConnectBaselineCPU(gather->conn, (const char **)&text, 1,
                                     VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES);
    if (!expanded)
        return NULL;
    answer = dkvm_xml_parse(expanded, strlen(expanded), "the host CPU", NULL);
    if (!answer)
        return NULL;
    for (xmlNode *node = dkvm_xml_element(xmlDocGetRootElement(answer)->children); node;
         node = dkvm_xml_element(node->next))
        if (dkvm_xml_is(node, "feature") && g_strcmp0(dkvm_xml_get(node, "policy"), "disable") != 0)
            g_hash_table_add(names, g_strdup(dkvm_xml_get(node, "name")));
    return g_steal_pointer(&names);
}

static DkvmTristate has(GHashTable *names, const char *name)
{
    return g_hash_table_contains(names, name) ? DKVM_YES : DKVM_NO;
}

static void ask_host_cpu(Gather *gather)
{
    DkvmFacts *facts = gather->facts;
    xmlNode *cpu = host_cpu(gather);
    xmlNode *vendor = dkvm_xml_child(cpu, "vendor");
    const char *threads = dkvm_xml_child(cpu, "topology")
                              ? dkvm_xml_get(dkvm_xml_child(cpu, "topology"), "threads")
                              : NULL;
    g_autofree char *name = vendor ? dkvm_xml_text(vendor) : NULL;
    g_autoptr(GHashTable) features = NULL;

    if (name)
        facts->cpu_vendor = g_strdup(vendor_cpuid(name));
    if (threads)
        facts->smt = g_str_equal(threads, "1") ? DKVM_NO : DKVM_YES;
    if (!cpu || !dkvm_xml_child(cpu, "model"))
        return;
    features = host_features(gather, cpu);
    if (!features)
        return;
    facts->sse42 = has(features, "sse4.2");
    facts->avx2 = has(features, "avx2");
    facts->invtsc = has(features, "invtsc");
}

static gboolean ask_host(Gather *gather, GError **error)
{
    g_autoptr(LibvirtText) text = virConnectGetCapabilities(gather->conn);
    virNodeInfo node;

    if (!text)
        return fail(gather, "virConnectGetCapabilities", error);
    gather->capabilities = dkvm_xml_parse(text, strlen(text), "the capabilities", error);
    if (!gather->capabilities)
        return FALSE;
    if (virNodeGetInfo(gather->conn, &node) < 0)
        return fail(gather, "virNodeGetInfo", error);
    if (node.cpus >= 1 && node.cpus <= MAX_THREADS)
        gather->facts->threads = node.cpus;
    ask_host_cpu(gather);
    return TRUE;
}

/* ---- what a CPU model lacks here ---------------------------------------------------------- */

/* libvirt's name of a feature as QEMU spells it: libvirt's table virQEMUCapsCPUFeaturesX86
 * (src/qemu/qemu_capabilities.c, virQEMUCapsCPUFeatureTranslate) has pclmuldq, and else only names
 * that differ by '_' for '-'.  NULL for what QEMU has no property for and libvirt never passes on
 * (virQEMUCapsCPUFilterFeatures there). */
static char *qemu_feature(const char *name)
{
    static const char *const never[] = {"cmt", "mbm_total", "mbm_local", "osxsave", "ospke", NULL};

    if (!name || !dkvm_facts_name_ok(name) || g_strv_contains(never, name))
        return NULL;
    if (g_str_equal(name, "pclmuldq"))
        return g_strdup("pclmulqdq");
    return g_strdelimit(g_strdup(name), "_", '-');
}

static xmlNode *model_node(const char *model)
{
    xmlNode *cpus = dkvm_xml_child(xmlDocGetRootElement(dkvm_models_document()), "cpus");

    for (xmlNode *node = cpus ? dkvm_xml_element(cpus->children) : NULL; node;
         node = dkvm_xml_element(node->next))
        if (g_strcmp0(dkvm_xml_get(node, "name"), model) == 0)
            return node;
    return NULL;
}

/* models.xml: <cpu ...><unmapped name="feature" accel="tcg"/></cpu>, any accelerator without accel.
 */
static void add_unmapped(GPtrArray *names, const char *model, const char *accel)
{
    xmlNode *cpu = model_node(model);

    for (xmlNode *node = cpu ? dkvm_xml_element(cpu->children) : NULL; node;
         node = dkvm_xml_element(node->next)) {
        const char *only = dkvm_xml_get(node, "accel");
        if (dkvm_xml_is(node, "unmapped") && (!only || g_str_equal(only, accel)))
            g_ptr_array_add(names, g_strdup(dkvm_xml_get(node, "name")));
    }
}

/* The features that ANSWER (a <cpu>) switches off; NULL if it is about another model. */
static GPtrArray *disabled(DkvmDoc *answer, const char *libvirt_model)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    xmlNode *cpu = xmlDocGetRootElement(answer);
    xmlNode *model = dkvm_xml_child(cpu, "model");
    g_autofree char *name = model ? dkvm_xml_text(model) : NULL;

    if (g_strcmp0(name, libvirt_model) != 0)
        return NULL;
    for (xmlNode *node = dkvm_xml_element(cpu->children); node;
         node = dkvm_xml_element(node->next)) {
        char *feature;
        if (!dkvm_xml_is(node, "feature") ||
            g_strcmp0(dkvm_xml_get(node, "policy"), "disable") != 0)
            continue;
        feature = qemu_feature(dkvm_xml_get(node, "name"));
        if (feature)
            g_ptr_array_add(names, feature);
    }
    return g_steal_pointer(&names);
}

/* The baseline of a single model is that model with what the hypervisor cannot give switched off.
 */
static void ask_model(Gather *gather, const DkvmCpuModel *model, const char *type,
                      const char *accel, GHashTable *missing)
{
    g_autofree char *cpu =
        g_strdup_printf("<cpu mode='custom' match='exact'><model>%s</model></cpu>", model->libvirt);
    g_autoptr(LibvirtText) text = virConnectBaselineHypervisorCPU(
        gather->conn, gather->facts->emulator, ARCH, MACHINE, type, (const char **)&cpu, 1,
        VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES);
    g_autoptr(DkvmDoc) answer = text ? dkvm_xml_parse(text, strlen(text), "the CPU", NULL) : NULL;
    GPtrArray *names = answer ? disabled(answer, model->libvirt) : NULL;

    if (!names)
        return; /* this libvirt does not know the model: unknown */
    add_unmapped(names, model->name, accel);
    dkvm_facts_set_missing(missing, model->name, names);
}

static void ask_models(Gather *gather)
{
    DkvmFacts *facts = gather->facts;

    for (const DkvmCpuModel *const *model = dkvm_models_cpus(); *model; model++) {
        if (facts->kvm == DKVM_YES)
            ask_model(gather, *model, "kvm", "kvm", facts->missing_kvm);
        ask_model(gather, *model, "qemu", "tcg", facts->missing_tcg);
    }
}

/* ---- firmware ----------------------------------------------------------------------------- */

/* Does <enum name=ENUM> of PARENT offer VALUE? */
static gboolean offers(const xmlNode *parent, const char *name, const char *value)
{
    for (xmlNode *node = parent ? dkvm_xml_element(parent->children) : NULL; node;
         node = dkvm_xml_element(node->next)) {
        if (!dkvm_xml_is(node, "enum") || g_strcmp0(dkvm_xml_get(node, "name"), name) != 0)
            continue;
        for (xmlNode *item = dkvm_xml_element(node->children); item;
             item = dkvm_xml_element(item->next)) {
            g_autofree char *text = dkvm_xml_text(item);
            if (g_str_equal(text, value))
                return TRUE;
        }
    }
    return FALSE;
}

/* Of a remote host we know only the CODE images' paths; the table knows their VARS. */
static void remote_firmware(Gather *gather, xmlNode *loader)
{
    for (xmlNode *node = loader ? dkvm_xml_element(loader->children) : NULL; node;
         node = dkvm_xml_element(node->next)) {
        g_autofree char *path = dkvm_xml_is(node, "value") ? dkvm_xml_text(node) : NULL;
        DkvmFirmwarePair *pair = path ? dkvm_firmware_known(path) : NULL;
        if (pair)
            g_ptr_array_add(gather->facts->firmware, pair);
    }
}

static void ask_firmware(Gather *gather)
{
    DkvmFacts *facts = gather->facts;
    xmlNode *os = dkvm_xml_child(xmlDocGetRootElement(gather->domain), "os");
    xmlNode *loader = dkvm_xml_child(os, "loader");
    const char *config = g_get_user_config_dir();

    facts->autoselect = facts->libvirt_version >= FEATURE_AUTOSELECT &&
                                offers(os, "firmware", "efi") && offers(loader, "secure", "no")
                            ? DKVM_YES
                            : DKVM_NO;
    if (!gather->local) {
        remote_firmware(gather, loader);
        facts->firmware_source = g_strdup_printf("domain capabilities of %s", gather->uri);
        return;
    }
    dkvm_firmware_find(facts->firmware, gather->session ? config : NULL);
    facts->nvram_dir = gather->session ? g_build_filename(config, "libvirt/qemu/nvram", NULL)
                                       : g_strdup("/var/lib/libvirt/qemu/nvram");
    facts->firmware_source = g_strdup_printf(
        "domain capabilities of %s, descriptors and known paths of this machine", gather->uri);
}

/* ---- all ---------------------------------------------------------------------------------- */

/* What libvirt does not tell.  Its QEMU at a distribution's path on this machine is asked; any
 * other one is not run. */
static void ask_this_machine(Gather *gather, gboolean *asked)
{
    DkvmFacts *facts = gather->facts;
    g_autoptr(GError) error = NULL;

    *asked = FALSE;
    if (!gather->local)
        return;
    dkvm_facts_read_cpu(facts);
    if (!facts->emulator || !dkvm_qmp_is_distribution(facts->emulator))
        return;
    *asked = dkvm_facts_ask_emulator(facts, facts->emulator, &error);
    if (!*asked)
        dkvm_log_warning("%s", error->message);
}

static void name_sources(Gather *gather, gboolean asked)
{
    DkvmFacts *facts = gather->facts;
    const char *qmp = asked ? ", QMP" : "";

    facts->host_source = g_strdup_printf("capabilities of %s%s", gather->uri,
                                         gather->local ? ", /proc/cpuinfo and /sys" : "");
    facts->libvirt_source = g_strdup_printf("virConnectGetLibVersion of %s", gather->uri);
    facts->emulator_source = g_strdup_printf("domain capabilities of %s%s", gather->uri, qmp);
    facts->missing_source =
        g_strdup_printf("virConnectBaselineHypervisorCPU of %s%s", gather->uri, qmp);
}

static gboolean gather_all(Gather *gather, GError **error)
{
    gboolean asked;

    if (!open_uri(gather, error) || !ask_versions(gather, error) || !ask_host(gather, error) ||
        !ask_domain_capabilities(gather, error))
        return FALSE;
    ask_emulator_path(gather);
    ask_models(gather);
    ask_firmware(gather);
    ask_this_machine(gather, &asked);
    if (gather->facts->hotplug_off == DKVM_UNKNOWN && gather->facts->qemu_version != 0)
        gather->facts->hotplug_off =
            gather->facts->qemu_version >= HOTPLUG_OFF ? DKVM_YES : DKVM_NO;
    name_sources(gather, asked);
    return TRUE;
}

DkvmFacts *dkvm_facts_connection(virConnectPtr conn, GError **error)
{
    Gather gather = {.conn = conn, .facts = dkvm_facts_new()};
    gboolean complete = gather_all(&gather, error);

    g_clear_pointer(&gather.capabilities, xmlFreeDoc);
    g_clear_pointer(&gather.domain, xmlFreeDoc);
    g_free(gather.uri);
    if (complete)
        return gather.facts;
    dkvm_facts_free(gather.facts);
    return NULL;
}
