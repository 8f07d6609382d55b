/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The oracle: gates first, as in XNU's own order, then the shape under every encoding that this
 * QEMU may have.  The rules are in topology-gate.c, topology-qemu.c and topology-xnu.c. */
#include "xslt/topology-internal.h"

gboolean dkvm_shape_valid(const DkvmShape *shape)
{
    const guint counts[] = {shape->sockets, shape->dies, shape->modules, shape->cores,
                            shape->threads};
    guint total = 1;

    for (guint i = 0; i < G_N_ELEMENTS(counts); i++) {
        if (counts[i] < 1 || counts[i] > DKVM_SHAPE_MAX)
            return FALSE;
        total *= counts[i];
        if (total > DKVM_SHAPE_MAX)
            return FALSE;
    }
    return TRUE;
}

/* One to three digits without a leading zero, up to END; moves *TEXT behind it. */
static gboolean parse_count(const char **text, char end, guint *count)
{
    const char *p = *text;

    if (*p == '0')
        return FALSE;
    for (*count = 0; g_ascii_isdigit(*p) && *count <= 255; p++)
        *count = *count * 10 + (guint)g_ascii_digit_value(*p);
    if (p == *text || *count > 255 || *p != end)
        return FALSE;
    *text = p + 1;
    return TRUE;
}

gboolean dkvm_shape_parse(const char *text, DkvmShape *shape)
{
    DkvmShape s = {.dies = 1, .modules = 1};

    if (!text || !parse_count(&text, 'x', &s.sockets) || !parse_count(&text, 'x', &s.cores) ||
        !parse_count(&text, '\0', &s.threads) || !dkvm_shape_valid(&s))
        return FALSE;
    *shape = s;
    return TRUE;
}

static char *shape_why(const DkvmTopologyQuestion *question, const DkvmEncoding *encoding,
                       const char *xnu, const char *where)
{
    const char *seen = "The screen shows the panic, or the Apple logo stays.";
    const char *remedy = "Take another shape (--explain-topology names those nearby that boot).";

    if (question->no_msr35h)
        remedy = "Remove the boot-arg -nomsr35h.";
    else if (encoding->msr35 == 0 && question->model != 23 && question->model != 15)
        remedy =
            "This QEMU does not answer MSR 0x35, from which XNU takes the cores: use QEMU 7.2 or "
            "newer, or the CPU model Penryn.";
    return g_strdup_printf(
        "XNU stops in %s: \"%s\". %s tells it of %u cores and %u threads per socket, "
        "%u threads per last-level cache and MSR 0x35 = 0x%x. %s %s",
        where, xnu, encoding->by, encoding->cores, encoding->logical, encoding->sharing,
        encoding->msr35, seen, remedy);
}

static DkvmTopologyVerdict ask_shape(const DkvmTopologyQuestion *question, char **xnu, char **why)
{
    DkvmEncoding encodings[DKVM_ENCODINGS_MAX];
    guint count = dkvm_qemu_encodings(question, encodings);
    g_autofree char *note = NULL;

    for (guint i = 0; i < count; i++) {
        const char *where;
        g_autofree char *verdict = dkvm_xnu_verdict(question, &encodings[i], &where);

        if (!where)
            continue;
        *why = shape_why(question, &encodings[i], verdict, where);
        *xnu = g_steal_pointer(&verdict);
        return DKVM_TOPOLOGY_SHAPE;
    }
    *xnu = g_strdup("ok");
    note = dkvm_gate_note(question);
    *why = g_strconcat("XNU starts with this shape.", note ? " " : NULL, note, NULL);
    return DKVM_TOPOLOGY_BOOTS;
}

static DkvmTopologyVerdict ask(const DkvmTopologyQuestion *question, char **xnu, char **why)
{
    const char *panic = dkvm_gate_cpu(question, why);

    if (panic) {
        *xnu = g_strdup(panic);
        return DKVM_TOPOLOGY_CPU_GATE;
    }
    panic = dkvm_gate_tsc(question, why);
    if (panic) {
        *xnu = g_strdup(panic);
        return DKVM_TOPOLOGY_TSC;
    }
    if (dkvm_shape_valid(&question->shape))
        return ask_shape(question, xnu, why);
    *xnu = g_strdup("no such shape");
    *why = g_strdup_printf("A shape needs at least 1 of everything and at most %u vCPUs.",
                           DKVM_SHAPE_MAX);
    return DKVM_TOPOLOGY_SHAPE;
}

DkvmTopologyVerdict dkvm_topology_ask(const DkvmTopologyQuestion *question, char **xnu, char **why)
{
    g_autofree char *text = NULL;
    g_autofree char *reason = NULL;
    DkvmTopologyVerdict verdict = ask(question, &text, &reason);

    if (xnu)
        *xnu = g_steal_pointer(&text);
    if (why)
        *why = g_steal_pointer(&reason);
    return verdict;
}

static void explain_shape(GString *out, const DkvmTopologyQuestion *question)
{
    const DkvmShape *s = &question->shape;
    g_autoptr(GArray) ids = dkvm_qemu_apic_ids(question);

    g_string_append_printf(out, "shape:   %u socket%s", s->sockets, s->sockets == 1 ? "" : "s");
    if (s->dies > 1)
        g_string_append_printf(out, ", %u dies", s->dies);
    if (s->modules > 1)
        g_string_append_printf(out, ", %u modules", s->modules);
    g_string_append_printf(out, ", %u core%s, %u thread%s: %u vCPUs, %u present\n", s->cores,
                           s->cores == 1 ? "" : "s", s->threads, s->threads == 1 ? "" : "s",
                           dkvm_shape_total(s), ids->len);
}

static void explain_cpu(GString *out, const DkvmTopologyQuestion *question)
{
    g_autofree char *macos = dkvm_gate_macos(question->macos);

    g_string_append_printf(out, "CPU:     %s family %u model %u stepping %u, %s, %s\n",
                           question->vendor ? question->vendor : "(no vendor)", question->family,
                           question->model, question->stepping,
                           question->macos ? macos : "macOS unknown",
                           question->kvm ? "KVM" : "TCG");
}

static void explain_qemu(GString *out, const DkvmTopologyQuestion *question)
{
    DkvmEncoding encodings[DKVM_ENCODINGS_MAX];
    guint count = dkvm_qemu_encodings(question, encodings);
    gulong version = question->qemu_version;

    if (version == 0)
        g_string_append(out, "QEMU:    version unknown: each of these has to pass\n");
    else
        g_string_append_printf(out, "QEMU:    %lu.%lu.%lu%s\n", version / 1000000,
                               version / 1000 % 1000, version % 1000,
                               count > 1 ? ", not tried: each of these has to pass" : "");
    for (guint i = 0; i < count; i++) {
        const DkvmEncoding *e = &encodings[i];
        const char *where;
        g_autofree char *verdict = dkvm_xnu_verdict(question, e, &where);

        g_string_append_printf(
            out,
            "         like %s: %u cores and %u threads per package, %u threads share "
            "the last cache, MSR 0x35 = 0x%x -> %s\n",
            e->by, e->cores, e->logical, e->sharing, e->msr35, verdict);
    }
}

static void explain_nearby(GString *out, const DkvmTopologyQuestion *question)
{
    const DkvmShape *shape = &question->shape;
    g_autofree char *nearby =
        dkvm_choose_nearby(question, dkvm_shape_total(shape), shape->threads > 1);

    g_string_append_printf(out, "nearby:  %s\n",
                           nearby ? nearby : "no shape boots with this CPU and QEMU");
}

char *dkvm_topology_explain(const DkvmTopologyQuestion *question, gboolean *boots)
{
    g_autofree char *xnu = NULL;
    g_autofree char *why = NULL;
    DkvmTopologyVerdict verdict = dkvm_topology_ask(question, &xnu, &why);
    GString *out = g_string_new(NULL);

    if (boots)
        *boots = verdict == DKVM_TOPOLOGY_BOOTS;
    if (dkvm_shape_valid(&question->shape))
        explain_shape(out, question);
    explain_cpu(out, question);
    if (dkvm_shape_valid(&question->shape))
        explain_qemu(out, question);
    g_string_append_printf(out, "XNU:     %s\n%s %s\n", xnu,
                           verdict == DKVM_TOPOLOGY_BOOTS ? "boots:  " : "fails:  ", why);
    if (verdict == DKVM_TOPOLOGY_SHAPE && dkvm_shape_valid(&question->shape))
        explain_nearby(out, question);
    return g_string_free(out, FALSE);
}
