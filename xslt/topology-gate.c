/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Would XNU take this CPU at all?  Both gates come before there is a console: a failure shows
 * nothing and looks like a hang after the firmware (facts/xnu.md 1.7). */
#include "xslt/topology-internal.h"

#define INTEL "GenuineIntel"
#define SILENT                                                                                     \
    "The screen shows nothing: it looks like a hang right after the boot loader (EXITBS or "       \
    "HANDOFF TO XNU)."

enum {
    PENRYN = 23,
    MEROM = 15, /* Conroe and Core 2 of 65 nm */
    HASWELL = 60,
    HASWELL_ULT = 69,
    CRYSTALWELL = 70,
    COMETLAKE = 165,
};

/* cpuid_set_cpufamily() in osfmk/i386/cpuid.c, by the tags that were read (facts/xnu.md 7).  UNTIL
 * 0: still in.  A family that came before 10.12 is not refused in older ones, which were not
 * compared with anything that ran. */
static const struct {
    DkvmMacos from, until;
    guint8 models[5];
} families[] = {
    {0, 1011, {MEROM}}, /* dropped in 3789 */
    {0, 0, {PENRYN}},
    {0, 0, {26, 30, 31, 46}},                        /* Nehalem */
    {0, 0, {37, 44, 47}},                            /* Westmere */
    {0, 0, {42, 45}},                                /* Sandy Bridge */
    {0, 0, {58, 62}},                                /* Ivy Bridge */
    {0, 0, {HASWELL, 63, HASWELL_ULT, CRYSTALWELL}}, /* Haswell */
    {0, 0, {61, 71}},                                /* Broadwell */
    {0, 0, {78, 94}},                                /* Skylake */
    {1013, 0, {85, 142, 158}},                       /* Skylake-W, Kaby Lake: 4570 */
    {1100, 0, {125, 126, 159}},                      /* Ice Lake: 7195.50 */
    {1400, 0, {COMETLAKE}},                          /* 10002; but see takes() */
};

/* "10.15" is 1015, "11" is 1100 (models.h). */
char *dkvm_gate_macos(DkvmMacos macos)
{
    if (macos == 0)
        return g_strdup("every macOS");
    if (macos < 1100)
        return g_strdup_printf("macOS %u.%u", macos / 100, macos % 100);
    return g_strdup_printf("macOS %u", macos / 100);
}

/* Index into families, or -1: no macOS knows this CPU. */
static int find_family(const DkvmTopologyQuestion *question)
{
    if (question->family != 6 || question->model == 0)
        return -1;
    for (guint i = 0; i < G_N_ELEMENTS(families); i++)
        for (guint j = 0; j < G_N_ELEMENTS(families[i].models); j++)
            if (families[i].models[j] == question->model)
                return (int)i;
    return -1;
}

/* Unknown macOS: only what every version refuses is refused.
 * Comet Lake is in the published source from macOS 14 only, but Apple's own kernels of 10.15 to 12
 * ran on Comet Lake Macs, so that the source understates it: never refused (facts/xnu.md 7). */
static gboolean takes(DkvmMacos macos, int i)
{
    if (macos == 0 || families[i].models[0] == COMETLAKE)
        return TRUE;
    return macos >= families[i].from && (families[i].until == 0 || macos <= families[i].until);
}

/* mca_get_availability() in osfmk/i386/machine_check.c, in every tag from 2422 to 11417. */
static gboolean haswell_too_early(const DkvmTopologyQuestion *question)
{
    if (question->model == HASWELL)
        return question->stepping < 3;
    if (question->model == HASWELL_ULT || question->model == CRYSTALWELL)
        return question->stepping < 1;
    return FALSE;
}

/* cpuid_set_info(): panic("Unsupported CPU"), because of WHAT; DO is the way out. */
static const char *unsupported(char **why, const char *what, const char *remedy)
{
    *why = g_strdup_printf(
        "XNU panics with \"Unsupported CPU\" in cpuid_set_info: %s. " SILENT " %s.", what, remedy);
    return "Unsupported CPU";
}

static const char *unsupported_vendor(const DkvmTopologyQuestion *question, char **why)
{
    g_autofree char *what = g_strdup_printf("the vendor is \"%s\", not \"" INTEL "\"",
                                            question->vendor ? question->vendor : "");

    return unsupported(why, what, "Add vendor=" INTEL " to the -cpu argument");
}

static const char *unsupported_model(const DkvmTopologyQuestion *question, char **why)
{
    g_autofree char *macos = dkvm_gate_macos(question->macos);
    g_autofree char *what =
        g_strdup_printf("%s refuses family %u model %u", macos, question->family, question->model);

    return unsupported(why, what, "Take the CPU model of the Mac model, or Penryn");
}

const char *dkvm_gate_cpu(const DkvmTopologyQuestion *question, char **why)
{
    int i = find_family(question);

    /* strncmp() over more bytes than the vendor has: an exact comparison. */
    if (g_strcmp0(question->vendor, INTEL) != 0)
        return unsupported_vendor(question, why);
    if (i < 0 || !takes(question->macos, i))
        return unsupported_model(question, why);
    if (!haswell_too_early(question))
        return NULL;
    *why = g_strdup_printf(
        "XNU panics in mca_get_availability: it refuses the first Haswell steppings, and model %u "
        "has stepping %u (QEMU's Haswell-noTSX has 1). " SILENT
        " Add stepping=4 to the -cpu argument, or take another CPU model.",
        question->model, question->stepping);
    return "Haswell pre-C0 steppings are not supported";
}

/* tsc_init() in osfmk/i386/tsc.c: Penryn's frequency comes from IA32_PERF_STATUS; the others divide
 * by MSR_PLATFORM_INFO or CPUID leaf 0x15, which are 0 under QEMU, unless the hypervisor's leaf
 * 0x40000010 gives it (facts/xnu.md 1.6).  QEMU has that leaf under KVM only.  That Merom goes
 * Penryn's way is read in the switch of 10.10, not seen. */
const char *dkvm_gate_tsc(const DkvmTopologyQuestion *question, char **why)
{
    if (question->skip_tsc || question->model == PENRYN || question->model == MEROM)
        return NULL;
    if (question->kvm && question->tsc_leaf)
        return NULL;
    *why = g_strdup_printf(
        "XNU divides by zero in tsc_init: nothing tells it the TSC frequency. " SILENT " %s.",
        question->kvm ? "Add kvm=on,vmware-cpuid-freq=on,+invtsc to the -cpu argument"
                      : "Without KVM only Penryn starts: take it, or use KVM");
    return "divide error";
}

char *dkvm_gate_note(const DkvmTopologyQuestion *question)
{
    int i = find_family(question);

    g_return_val_if_fail(i >= 0, NULL);
    if (question->model == COMETLAKE)
        return question->macos >= families[i].from
                   ? NULL
                   : g_strdup(
                         "Model 165 (Comet Lake) is in XNU's published source from macOS 14 only; "
                         "Apple's own kernels of 10.15 to 13 took it too, but this was not tried.");
    if (question->macos != 0 || (families[i].from == 0 && families[i].until == 0))
        return NULL;
    g_autofree char *limit =
        dkvm_gate_macos(families[i].until ? families[i].until : families[i].from);
    return g_strdup_printf(
        "Model %u passes only in %s and %s: tell dkvm the macOS version (--macos).",
        question->model, limit, families[i].until ? "older" : "newer");
}
