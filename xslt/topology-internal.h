/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the topology*.c files share; nothing else includes this. */
#pragma once

#include "xslt/topology.h"

/* XNU's MAX_CPUS (osfmk/i386/mp.h): it has no room for more. */
#define DKVM_XNU_MAX_CPUS 64U
/* The largest shape that is looked at, so that a domain's absurd number costs nothing. */
#define DKVM_SHAPE_MAX 1024U

/* What one QEMU tells its guest about one shape. */
typedef struct {
    const char *by;  /* "QEMU 7.2": whose encoding this is */
    guint32 cores;   /* CPUID leaf 4, EAX[31:26] + 1 */
    guint32 logical; /* CPUID leaf 1, EBX[23:16]; 1 without HTT */
    guint32 sharing; /* CPUID leaf 4, EAX[25:14] + 1 of the deepest cache */
    guint32 msr35;   /* MSR_CORE_THREAD_COUNT */
} DkvmEncoding;

#define DKVM_ENCODINGS_MAX 4

/* topology-qemu.c */

guint dkvm_shape_total(const DkvmShape *shape);
/* Fills ENCODINGS with what QUESTION's QEMU tells, or may tell where its version leaves it open;
 * the likeliest first.  Returns how many. */
guint dkvm_qemu_encodings(const DkvmTopologyQuestion *question,
                          DkvmEncoding encodings[DKVM_ENCODINGS_MAX]);
/* The APIC ids of the vCPUs that are present, in ascending order: guint32. */
GArray *dkvm_qemu_apic_ids(const DkvmTopologyQuestion *question);

/* topology-gate.c */

/* NULL if XNU takes this CPU, else the text of its panic; *WHY is set in that case. */
const char *dkvm_gate_cpu(const DkvmTopologyQuestion *question, char **why);
/* The same for tsc_init. */
const char *dkvm_gate_tsc(const DkvmTopologyQuestion *question, char **why);
/* What a person should know although the CPU passed dkvm_gate_cpu(), or NULL: a new string. */
char *dkvm_gate_note(const DkvmTopologyQuestion *question);
/* "macOS 10.15", "macOS 14", "every macOS" for 0: a new string. */
char *dkvm_gate_macos(DkvmMacos macos);

/* topology-xnu.c */

/* "ok" or the text of XNU's panic, a new string; *WHERE is the XNU function that fails, or NULL. */
char *dkvm_xnu_verdict(const DkvmTopologyQuestion *question, const DkvmEncoding *encoding,
                       const char **where);

/* topology.c */

gboolean dkvm_shape_valid(const DkvmShape *shape);

/* topology-choose.c */

/* The first shape of TOTAL vCPUs, all present, that boots: fewest sockets, then two threads if SMT.
 */
gboolean dkvm_choose_exact(const DkvmTopologyQuestion *question, guint total, gboolean smt,
                           DkvmShape *shape);
/* The nearest totals around TOTAL that boot and, if it does in another shape, TOTAL itself, in
 * ascending order.  Returns how many. */
#define DKVM_NEAR_MAX 3
guint dkvm_choose_near(const DkvmTopologyQuestion *question, guint total, gboolean smt,
                       DkvmShape shapes[DKVM_NEAR_MAX]);
/* The same as text: "4 as 1x2x2, 8 as 1x4x2"; NULL if none does.  A new string. */
char *dkvm_choose_nearby(const DkvmTopologyQuestion *question, guint total, gboolean smt);
