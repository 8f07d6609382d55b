/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* XNU's own arithmetic about the shape: cpuid_set_info() in osfmk/i386/cpuid.c, and x86_LLC_info(),
 * initTopoParms() and x86_validate_topology() in osfmk/i386/cpu_threads.c.  It is the same text
 * from 4903 (10.14) to 11417 (15); agrees with 144 recorded boots of 7195.121.3 (facts/xnu.md). */
#include "xslt/topology-internal.h"

enum { MACOS_10_12 = 1012, MACOS_10_15 = 1015 };

/* topoParms: L as counted by XNU ("logical"), P as CPUID says ("physical"). */
typedef struct {
    guint32 lthreads_per_core, lcores_per_die, ldies_per_package;
    guint32 lthreads_per_die, lthreads_per_package;
    guint32 pthreads_per_core, pthreads_per_die, pthreads_per_package;
    const char *zero; /* the XNU function that divided by zero first, or NULL */
} Parms;

/* DIVISOR_GUARD() only prints: a zero divisor is a divide error, and the first one ends it. */
static guint32 divide(Parms *parms, const char *function, guint32 number, guint32 by)
{
    if (by != 0)
        return number / by;
    if (!parms->zero)
        parms->zero = function;
    return 0;
}

/* From 10.15 XNU knows of hypervisors without MSR 0x35 (6153: 0 counts as one core with one thread,
 * and the boot-arg).  An unknown macOS is taken for a new one. */
static gboolean knows_no_msr(DkvmMacos macos)
{
    return macos == 0 || macos >= MACOS_10_15;
}

static gboolean is_westmere(guint model)
{
    return model == 37 || model == 44 || model == 47;
}

/* The end of cpuid_set_info(): Penryn (and Merom, while it was in) counts by CPUID, Westmere by
 * four bits of the MSR, the others by sixteen. Zero before 10.15 is taken for a divide error.  This
 * is on the safe side: 3248 (10.11) and older fall back to CPUID, and 4570 (10.13) has the default
 * of one for all but Westmere; neither was run. */
static void count_cores(const DkvmTopologyQuestion *question, const DkvmEncoding *encoding,
                        guint32 *cores, guint32 *threads)
{
    guint32 msr = encoding->msr35;

    *cores = *threads = 1;
    if (question->no_msr35h && knows_no_msr(question->macos))
        return;
    if (question->model == 23 || question->model == 15) {
        *cores = encoding->cores;
        *threads = encoding->logical;
        return;
    }
    if (msr == 0 && knows_no_msr(question->macos))
        return;
    *cores = msr >> 16 & (is_westmere(question->model) ? 0xf : 0xffff);
    *threads = msr & 0xffff;
}

static Parms init_topo_parms(const DkvmEncoding *encoding, guint32 cores, guint32 threads)
{
    static const char llc[] = "x86_LLC_info", init[] = "initTopoParms";
    Parms p = {0};
    guint32 sharing = encoding->sharing; /* maxSharingLLC */
    guint32 cores_sharing, pcores_per_die, pdies_per_package;

    /* x86_LLC_info(): the correction comes after the division that may fail. */
    cores_sharing = divide(&p, llc, sharing, divide(&p, llc, threads, cores));
    if (sharing > cores)
        cores_sharing = cores;

    p.lthreads_per_core = divide(&p, init, threads, cores);
    p.pthreads_per_core = divide(&p, init, encoding->logical, encoding->cores);
    p.ldies_per_package = divide(&p, init, cores, cores_sharing);
    pcores_per_die = divide(&p, init, sharing, p.pthreads_per_core);
    pdies_per_package = divide(&p, init, encoding->cores, pcores_per_die);

    p.lcores_per_die = cores_sharing;
    p.lthreads_per_die = p.lthreads_per_core * p.lcores_per_die;
    p.lthreads_per_package = p.lthreads_per_die * p.ldies_per_package;
    p.pthreads_per_die = p.pthreads_per_core * pcores_per_die;
    p.pthreads_per_package = p.pthreads_per_die * pdies_per_package;

    /* x86_package_find(), x86_die_find() and x86_core_alloc() divide each APIC id by these. */
    divide(&p, "x86_package_find", 0, p.pthreads_per_package);
    divide(&p, "x86_die_find", 0, p.pthreads_per_die);
    divide(&p, "x86_core_alloc", 0, pcores_per_die * pdies_per_package);
    return p;
}

/* The tree that cpu_thread_alloc() grows: where one CPU belongs, and how much is in there. */
typedef struct {
    guint32 package, die, core;
    guint32 dies, cores, die_threads, core_threads;
    guint32 odd_core; /* threads of the first core that has the wrong number; 0: none */
} Branch;

/* XNU's text goes on with the number of the core, die or package, which is left out. */
static char *should_have(guint32 want, const char *what, guint32 found, const char *where)
{
    if (want == found)
        return NULL;
    return g_strdup_printf("Should have %u %s, but only found %u for %s", want, what, found, where);
}

static void close_core(const Parms *p, Branch *b)
{
    if (b->core_threads != p->lthreads_per_core && b->odd_core == 0)
        b->odd_core = b->core_threads;
}

static char *close_die(const Parms *p, const Branch *b)
{
    char *bad = should_have(p->lcores_per_die, "Cores", b->cores, "Die");

    return bad ? bad : should_have(p->lthreads_per_die, "Threads", b->die_threads, "Die");
}

/* The counts of cores and threads per package, which XNU compares too, follow from these. */
static char *close_package(const Parms *p, const Branch *b)
{
    char *bad = should_have(p->ldies_per_package, "Dies", b->dies, "package");

    if (bad || b->odd_core == 0)
        return bad;
    return should_have(p->lthreads_per_core, "Threads", b->odd_core, "Core");
}

/* Puts the CPU ID into the tree; the ids ascend, so that what it does not belong to is complete. */
static char *add_cpu(const Parms *p, Branch *b, guint32 id)
{
    Branch at = {.package = id / p->pthreads_per_package,
                 .die = id / p->pthreads_per_die,
                 .core = id / p->pthreads_per_core};
    gboolean new_package = b->dies == 0 || at.package != b->package;
    gboolean new_die = new_package || at.die != b->die;
    gboolean new_core = new_die || at.core != b->core;
    g_autofree char *bad = NULL;

    if (new_core && b->dies)
        close_core(p, b);
    if (new_die && b->dies)
        bad = close_die(p, b);
    if (!bad && new_package && b->dies)
        bad = close_package(p, b);
    if (bad)
        return g_steal_pointer(&bad);

    at.dies = (new_package ? 0 : b->dies) + new_die;
    at.cores = (new_die ? 0 : b->cores) + new_core;
    at.die_threads = (new_die ? 0 : b->die_threads) + 1;
    at.core_threads = (new_core ? 0 : b->core_threads) + 1;
    at.odd_core = new_package ? 0 : b->odd_core;
    *b = at;
    return NULL;
}

static guint32 count_packages(const Parms *p, GArray *ids)
{
    guint32 packages = 0;

    for (guint i = 0; i < ids->len; i++) {
        guint32 package = g_array_index(ids, guint32, i) / p->pthreads_per_package;

        if (i == 0 || package != g_array_index(ids, guint32, i - 1) / p->pthreads_per_package)
            packages++;
    }
    return packages;
}

/* The loops of x86_validate_topology().  That they are in the kernels before 10.13.4 as well is
 * from memory, not read: keeping them is the safe side. */
static char *validate_tree(const Parms *p, GArray *ids)
{
    Branch branch = {0};
    char *bad = NULL;

    for (guint i = 0; i < ids->len && !bad; i++)
        bad = add_cpu(p, &branch, g_array_index(ids, guint32, i));
    if (bad)
        return bad;
    close_core(p, &branch);
    bad = close_die(p, &branch);
    return bad ? bad : close_package(p, &branch);
}

/* The total is compared from 4570.51.1 (10.13.4) on; a 10.13 is taken for one that is up to date.
 */
static gboolean compares_total(DkvmMacos macos)
{
    return macos == 0 || macos > MACOS_10_12;
}

char *dkvm_xnu_verdict(const DkvmTopologyQuestion *question, const DkvmEncoding *encoding,
                       const char **where)
{
    g_autoptr(GArray) ids = dkvm_qemu_apic_ids(question);
    guint32 cores, threads, total;
    Parms parms;
    char *bad;

    count_cores(question, encoding, &cores, &threads);
    parms = init_topo_parms(encoding, cores, threads);
    *where = parms.zero;
    if (parms.zero)
        return g_strdup("divide error");

    *where = "x86_validate_topology";
    total = count_packages(&parms, ids) * parms.lthreads_per_package;
    if (compares_total(question->macos) && total != ids->len)
        return g_strdup_printf("x86_validate_topology() %u threads but %u registered from MADT",
                               total, ids->len);
    bad = validate_tree(&parms, ids);
    if (bad)
        return bad;

    /* Not XNU's words: what it does with the 65th was not seen (ml_processor_register() has no
     * place for it).  Last, so that the verdicts above can be compared with the model. */
    *where = "ml_processor_register";
    if (ids->len > DKVM_XNU_MAX_CPUS)
        return g_strdup_printf("MAX_CPUS is %u but %u vCPUs are present", DKVM_XNU_MAX_CPUS,
                               ids->len);
    *where = NULL;
    return g_strdup("ok");
}
