/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Would XNU boot with these vCPUs?  A model of what QEMU tells the guest and of what XNU's
 * published code does with it.  Sources are named at each rule in topology*.c. */
#pragma once

#include <json-glib/json-glib.h>

#include "xslt/models.h"

typedef struct {
    guint sockets, dies, modules, cores, threads; /* each at least 1; per level above */
} DkvmShape;

typedef struct {
    gulong qemu_version; /* major * 1000000 + minor * 1000 + micro; 0 if unknown: every encoding
                            must pass */
    gboolean kvm;        /* false: TCG */
    gboolean tsc_leaf;   /* CPUID 0x40000010 is there: KVM with kvm=on,vmware-cpuid-freq=on and
                          * +invtsc or tsc-frequency= */
    gboolean skip_tsc;   /* leave the TSC gate out (the recorded boots had a patched tsc_init) */
    const char *vendor;  /* the vendor string that the guest sees */
    guint family, model, stepping;
    DkvmMacos macos; /* 0: unknown, newest rules that every version shares */
    DkvmShape shape;
    const gboolean *present; /* one per vCPU in APIC order, or NULL: all present */
    guint present_count;     /* length of PRESENT */
    gboolean no_l3_cache;    /* l3-cache=off */
    gboolean no_msr35h;      /* boot-arg -nomsr35h */
} DkvmTopologyQuestion;

typedef enum {
    DKVM_TOPOLOGY_BOOTS,
    DKVM_TOPOLOGY_CPU_GATE, /* unsupported vendor, family, model or stepping: an early, silent hang
                             */
    DKVM_TOPOLOGY_TSC,      /* divide error in tsc_init: silent too */
    DKVM_TOPOLOGY_SHAPE, /* divide error or a panic of x86_validate_topology: seen on the screen */
} DkvmTopologyVerdict;

/* Asks.  *XNU (may be NULL) gets a new string: "ok" or the text of XNU's panic exactly as in
 * facts/xnu-boots.jsonl; *WHY (may be NULL) gets a new string of one or two sentences for a person:
 * what fails, where in XNU, what it looks like, what to do. */
DkvmTopologyVerdict dkvm_topology_ask(const DkvmTopologyQuestion *question, char **xnu, char **why);

/* What the choice of a shape depends on beside the question's CPU and QEMU. */
typedef struct {
    guint vcpus;             /* the user's number (maximum) */
    guint host_threads;      /* 0: unknown, no limit */
    gboolean smt;            /* prefer two threads per core */
    gboolean keep_count;     /* NUMA cells, per-vCPU settings or pins: only the shape may change */
    const gboolean *present; /* vCPUs present, or NULL: all */
    guint present_count;
} DkvmTopologyWish;

/* The shape for WISH under the CPU, QEMU and macOS of QUESTION (its shape and present are ignored).
 * Not keep_count and all present: the largest total that boots, not above vcpus nor host_threads,
 * sockets 1, threads 2 where smt and the total is even.  keep_count or absent vCPUs: exactly vcpus,
 * sockets may be above 1; absent vCPUs must leave whole sockets empty.  Returns TRUE with *SHAPE;
 * FALSE with *WHY (new string) naming the counts and shapes that would do. */
gboolean dkvm_topology_choose(const DkvmTopologyQuestion *question, const DkvmTopologyWish *wish,
                              DkvmShape *shape, char **why);

/* What `dkvm-patch --explain-topology` prints: the shape, the CPU as XNU sees it, what QEMU tells
 * the guest, the verdict in XNU's own words, what the screen shows, and if it fails the shapes
 * nearby that boot. A new string; *BOOTS (may be NULL) is the verdict. */
char *dkvm_topology_explain(const DkvmTopologyQuestion *question, gboolean *boots);

/* The same as members of the object that is open in B (dkvm-patch(1), JSON). */
void dkvm_topology_json(JsonBuilder *b, const DkvmTopologyQuestion *question, gboolean *boots);

/* "1x4x2" -> sockets, cores, threads (dies and modules 1); each 1 to 255, product at most 1024.
 * FALSE for anything else. */
gboolean dkvm_shape_parse(const char *text, DkvmShape *shape);
