/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What QEMU tells the guest about its shape (QEMU target/i386/cpu.c, cpu_x86_cpuid() and
 * encode_cache_cpuid4(); include/hw/i386/topology.h).  Checked against 379 boots on 5.2, 7.2, 10.0
 * and 11.1 (facts/xnu.md 5).  The binary decides, not the machine type (facts/xnu.md 1.2). */
#include "xslt/topology-internal.h"

/* QEMU's apicid_bitwidth_for_count(): bits for COUNT values. */
static guint width(guint count)
{
    guint bits = 0;

    while ((1u << bits) < count)
        bits++;
    return bits;
}

static guint32 pow2(guint bits)
{
    return (guint32)1 << bits;
}

guint dkvm_shape_total(const DkvmShape *shape)
{
    return shape->sockets * shape->dies * shape->modules * shape->cores * shape->threads;
}

/* QEMU to 9.0: the plain counts of one die, published as if they were the package's.  Both fields
 * are narrower than the number that is put into them: 6 bits of cores - 1, 8 bits of threads. */
static DkvmEncoding encode_plain(const DkvmTopologyQuestion *question)
{
    const DkvmShape *shape = &question->shape;
    guint32 threads = shape->cores * shape->threads;

    return (DkvmEncoding){
        .by = "QEMU 7.2",
        .cores = ((shape->cores - 1) & 63) + 1,
        .logical = threads > 1 ? threads & 255 : 1,
        /* Without an L3 the deepest cache is the L2, which belongs to one core. */
        .sharing = question->no_l3_cache ? shape->threads
                                         : pow2(width(shape->threads) + width(shape->cores)),
        .msr35 = shape->cores << 16 | threads,
    };
}

/* Before commit 37656470 (7.2) QEMU did not answer MSR 0x35: 0 under TCG, and under KVM with
 * ignore_msrs (facts/xnu.md 4, domain.md B2). */
static DkvmEncoding encode_no_msr(const DkvmTopologyQuestion *question)
{
    DkvmEncoding encoding = encode_plain(question);

    encoding.by = "QEMU before 7.2";
    encoding.msr35 = 0;
    return encoding;
}

/* QEMU 10: leaf 4 and leaf 1 rounded up to powers of two, and limited to their fields; the MSR
 * keeps the true counts. */
static DkvmEncoding encode_rounded(const DkvmTopologyQuestion *question)
{
    const DkvmShape *shape = &question->shape;
    guint32 cores = shape->dies * shape->modules * shape->cores;
    guint thread_bits = width(shape->threads);
    guint module_bits = width(shape->cores) + width(shape->modules); /* of the cores in a die */
    guint core_bits = module_bits + width(shape->dies);

    return (DkvmEncoding){
        .by = "QEMU 10",
        .cores = MIN(64, pow2(core_bits)),
        /* One vCPU in the package: no HTT, XNU takes 1; the rounded number is 1 as well. */
        .logical = MIN(255, pow2(thread_bits + core_bits)),
        .sharing = question->no_l3_cache ? pow2(thread_bits) : pow2(thread_bits + module_bits),
        .msr35 = cores << 16 | (cores * shape->threads),
    };
}

/* QEMU 9.1 and 9.2, not seen: probably leaf 4 rounded and leaf 1 not (facts/xnu.md 5 [H]). */
static DkvmEncoding encode_half_rounded(const DkvmTopologyQuestion *question)
{
    DkvmEncoding encoding = encode_rounded(question);

    encoding.by = "QEMU 9.1";
    encoding.logical = encoding.msr35 & 255;
    return encoding;
}

guint dkvm_qemu_encodings(const DkvmTopologyQuestion *question,
                          DkvmEncoding encodings[DKVM_ENCODINGS_MAX])
{
    gulong version = question->qemu_version;
    guint count = 0;
    gboolean any = version == 0;
    /* 8.0 to 9.2 were not seen: every candidate has to pass (facts/xnu.md 8.3). */
    gboolean between = version >= 8000000 && version < 10000000;

    if (any || between || version >= 10000000)
        encodings[count++] = encode_rounded(question);
    if (any || between)
        encodings[count++] = encode_half_rounded(question);
    if (any || (version >= 7002000 && version < 10000000))
        encodings[count++] = encode_plain(question);
    if (version < 7002000)
        encodings[count++] = encode_no_msr(question);
    return count;
}

/* x86_apicid_from_topo_ids(): each level in a field as wide as its count needs. */
static guint32 apic_id(const DkvmShape *shape, guint cpu)
{
    guint32 thread = cpu % shape->threads, core, module, die;

    cpu /= shape->threads;
    core = cpu % shape->cores;
    cpu /= shape->cores;
    module = cpu % shape->modules;
    cpu /= shape->modules;
    die = cpu % shape->dies;
    cpu /= shape->dies;

    cpu = cpu << width(shape->dies) | die;
    cpu = cpu << width(shape->modules) | module;
    cpu = cpu << width(shape->cores) | core;
    return cpu << width(shape->threads) | thread;
}

GArray *dkvm_qemu_apic_ids(const DkvmTopologyQuestion *question)
{
    GArray *ids = g_array_new(FALSE, FALSE, sizeof(guint32));
    guint total = dkvm_shape_total(&question->shape);

    for (guint cpu = 0; cpu < total; cpu++) {
        guint32 id = apic_id(&question->shape, cpu);

        if (question->present && (cpu >= question->present_count || !question->present[cpu]))
            continue;
        g_array_append_val(ids, id);
    }
    return ids;
}
