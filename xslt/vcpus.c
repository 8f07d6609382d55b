/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/vcpus.h"

#include <string.h>

#include "lib/error.h"

#define MAX_VCPUS 4096

static gboolean parse_count(const char *text, guint *count)
{
    guint64 n = 0;
    g_autofree char *copy = g_strdup(text ? text : "");
    if (!g_ascii_string_to_unsigned(g_strstrip(copy), 10, 1, MAX_VCPUS, &n, NULL)) {
        return FALSE;
    }
    *count = (guint)n;
    return TRUE;
}

/* The number of vCPUs that the domain has; 1 if it does not say (libvirt's default). */
static gboolean maximum(const xmlNode *domain, guint *count, GError **error)
{
    const xmlNode *vcpu = dkvm_xml_child(domain, "vcpu");
    g_autofree char *text = dkvm_xml_text(vcpu);
    *count = 1;
    if (vcpu != NULL && !parse_count(text, count)) {
        g_set_error(
            error, DKVM_ERROR, DKVM_ERROR_INPUT,
            "cannot read <vcpu> of this domain: '%.32s' is no number from 1 to %d; correct it",
            text, MAX_VCPUS);
        return FALSE;
    }
    return TRUE;
}

/* ---- which vCPUs are there ---- */

/* <vcpu current='N'> and <vcpus>: NULL if all are present. */
static gboolean *present_vcpus(const xmlNode *domain, guint count)
{
    guint current = count, id = 0;
    parse_count(dkvm_xml_get(dkvm_xml_child(domain, "vcpu"), "current"), &current);
    g_autofree gboolean *present = g_new0(gboolean, count);
    for (guint i = 0; i < MIN(current, count); i++) {
        present[i] = TRUE;
    }
    const xmlNode *vcpus = dkvm_xml_child(domain, "vcpus");
    for (xmlNode *n = vcpus ? dkvm_xml_element(vcpus->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        const char *text = dkvm_xml_get(n, "id");
        guint64 value = 0;
        if (text && g_ascii_string_to_unsigned(text, 10, 0, count - 1, &value, NULL)) {
            present[value] = g_strcmp0(dkvm_xml_get(n, "enabled"), "no") != 0;
        }
    }
    while (id < count && present[id]) {
        id++;
    }
    return id == count ? NULL : g_steal_pointer(&present);
}

/* The highest number in a list such as "0-3,7,^2"; 0 for nonsense. */
static guint highest_in(const char *list)
{
    guint64 highest = 0;
    for (const char *p = list; p != NULL && *p != '\0';) {
        char *end = NULL;
        guint64 n = g_ascii_strtoull(p, &end, 10);
        highest = end != p && n <= MAX_VCPUS ? MAX(highest, n) : highest;
        p = end != p ? end : p + 1;
    }
    return (guint)highest;
}

/* Whether the domain speaks of a vCPU numbered COUNT or higher. */
static gboolean names_vcpu(const xmlNode *domain, guint count)
{
    const xmlNode *tune = dkvm_xml_child(domain, "cputune");
    for (xmlNode *n = tune ? dkvm_xml_element(tune->children) : NULL; n != NULL;
         n = dkvm_xml_element(n->next)) {
        guint one = highest_in(dkvm_xml_get(n, "vcpu"));
        guint many = highest_in(dkvm_xml_get(n, "vcpus"));
        if (MAX(one, many) >= count) {
            return TRUE;
        }
    }
    return FALSE;
}

/* NUMA cells and <vcpus> name every vCPU, so that the count cannot change under them. */
static gboolean must_keep_count(const xmlNode *domain)
{
    return dkvm_xml_child(dkvm_xml_child(domain, "cpu"), "numa") != NULL ||
           dkvm_xml_child(domain, "vcpus") != NULL;
}

/* ---- the domain's own shape ---- */

static gboolean own_shape(const xmlNode *domain, DkvmShape *shape)
{
    const xmlNode *topology = dkvm_xml_child(dkvm_xml_child(domain, "cpu"), "topology");
    const char *dies = dkvm_xml_get(topology, "dies");
    const char *clusters = dkvm_xml_get(topology, "clusters");
    *shape = (DkvmShape){.dies = 1, .modules = 1};
    if (topology == NULL || (clusters != NULL && !g_str_equal(clusters, "1"))) {
        return FALSE;
    }
    return parse_count(dkvm_xml_get(topology, "sockets"), &shape->sockets) &&
           parse_count(dkvm_xml_get(topology, "cores"), &shape->cores) &&
           parse_count(dkvm_xml_get(topology, "threads"), &shape->threads) &&
           (dies == NULL || parse_count(dies, &shape->dies));
}

static guint total(const DkvmShape *shape)
{
    return shape->sockets * shape->dies * shape->modules * shape->cores * shape->threads;
}

static gboolean boots(DkvmTopologyQuestion question, const DkvmShape *shape,
                      const gboolean *present, guint count, char **why)
{
    question.shape = *shape;
    question.present = present;
    question.present_count = present ? count : 0;
    return dkvm_topology_ask(&question, NULL, why) == DKVM_TOPOLOGY_BOOTS;
}

DkvmTopologyQuestion dkvm_vcpus_question(const DkvmFacts *facts, const DkvmCpuModel *cpu,
                                         DkvmMacos macos, gboolean kvm)
{
    return (DkvmTopologyQuestion){
        .qemu_version = facts->qemu_version,
        .kvm = kvm,
        .tsc_leaf = kvm, /* the -cpu option always has kvm=on,vmware-cpuid-freq=on,+invtsc then */
        .vendor = "GenuineIntel",
        .family = cpu->family,
        .model = cpu->model,
        .stepping = cpu->stepping,
        .macos = macos,
    };
}

static gboolean take(DkvmVcpus *vcpus, const DkvmShape *shape, gboolean leave)
{
    vcpus->vcpus = total(shape);
    vcpus->shape = *shape;
    vcpus->leave = leave;
    return TRUE;
}

static gboolean cannot(GError **error, const char *what, const char *why)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_HOST, "cannot give this domain %s: %s", what, why);
    return FALSE;
}

static gboolean take_choice(const xmlNode *domain, const DkvmTopologyQuestion *question,
                            const char *choice, guint count, DkvmVcpus *vcpus, GError **error)
{
    DkvmShape shape;
    g_autofree char *why = NULL;
    if (!dkvm_shape_parse(choice, &shape) || !boots(*question, &shape, NULL, 0, &why)) {
        g_autofree char *what = g_strdup_printf("the topology %s", choice);
        return cannot(error, what, why ? why : "it is not SxCxT");
    }
    if (total(&shape) != count && (must_keep_count(domain) || names_vcpu(domain, total(&shape)))) {
        return cannot(error, choice,
                      "its NUMA cells, <vcpus> or pins name other vCPUs; change those too");
    }
    return take(vcpus, &shape, FALSE);
}

/* Before 7.2 QEMU does not answer MSR 0x35, and before 10.15 XNU has no answer of its own to that.
 * OpenCore can give one (ProvideCurrentCpuInfo), so this is warned about (darwin.xsl), not refused.
 */
static gboolean no_msr35(const DkvmFacts *facts)
{
    return facts->qemu_version > 0 && facts->qemu_version < 7002000;
}

gboolean dkvm_vcpus_choose(const xmlNode *domain, const DkvmFacts *facts, const DkvmCpuModel *cpu,
                           DkvmMacos macos, const char *choice, gboolean edited, DkvmVcpus *vcpus,
                           GError **error)
{
    static const DkvmShape one_vcpu = {1, 1, 1, 1, 1};
    gboolean kvm = g_strcmp0(dkvm_xml_get(domain, "type"), "kvm") == 0;
    DkvmTopologyQuestion question = dkvm_vcpus_question(facts, cpu, macos, kvm);
    question.skip_tsc = TRUE; /* an emulated domain is warned about, not refused */
    guint count = 0;
    if (!maximum(domain, &count, error)) {
        return FALSE;
    }
    if (choice != NULL) {
        return take_choice(domain, &question, choice, count, vcpus, error);
    }
    g_autofree gboolean *present = present_vcpus(domain, count);
    gboolean keep = must_keep_count(domain);
    DkvmShape shape;
    if (own_shape(domain, &shape) && total(&shape) == count &&
        (shape.sockets == 1 || edited || keep || present) &&
        boots(question, &shape, present, count, NULL)) {
        return take(vcpus, &shape, TRUE);
    }
    DkvmTopologyWish wish = {.vcpus = count,
                             .host_threads = facts->threads,
                             .smt = facts->smt == DKVM_YES,
                             .keep_count = keep,
                             .present = present,
                             .present_count = present ? count : 0};
    g_autofree char *why = NULL;
    if (!dkvm_topology_choose(&question, &wish, &shape, &why)) {
        if (no_msr35(facts) && !keep && present == NULL) {
            return take(vcpus, &one_vcpu, FALSE);
        }
        return cannot(error, "a topology that XNU boots", why);
    }
    if (total(&shape) < count && names_vcpu(domain, total(&shape))) {
        g_clear_pointer(&why, g_free);
        wish.keep_count = TRUE;
        if (!dkvm_topology_choose(&question, &wish, &shape, &why)) {
            return cannot(error, "a topology that XNU boots without losing a pinned vCPU", why);
        }
    }
    return take(vcpus, &shape, FALSE);
}
