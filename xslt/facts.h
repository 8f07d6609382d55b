/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a host can do: the only knowledge about a host that the patcher uses.  Gathered from a
 * connection (facts-connection.c), from this machine (facts-local.c) or from a file (facts-json.c).
 */
#pragma once

#include <gio/gio.h>
#include <glib.h>

typedef enum { DKVM_UNKNOWN = -1, DKVM_NO = 0, DKVM_YES = 1 } DkvmTristate;

/* A matched pair of UEFI images, without Secure Boot, enrolled keys or SMM. */
typedef struct {
    char *code, *code_format; /* path; "raw" or "qcow2" */
    char *vars, *vars_format; /* the template */
    char *source;             /* descriptor file, or "known path" */
} DkvmFirmwarePair;

typedef struct {
    /* host */
    char *cpu_vendor;        /* "GenuineIntel", "AuthenticAMD", ...; NULL if unknown */
    guint threads;           /* host threads; 0 if unknown */
    DkvmTristate smt;        /* two threads per core */
    DkvmTristate tsc_stable; /* the kernel's clocksource is tsc */
    DkvmTristate sse42, avx2, invtsc;
    char *host_source;
    /* libvirt */
    gulong libvirt_version; /* major * 1000000 + minor * 1000 + release; 0 if unknown */
    char *libvirt_source;
    /* emulator */
    char *emulator;           /* path; NULL if there is none */
    gulong qemu_version;      /* as libvirt_version */
    DkvmTristate kvm;         /* domains of type kvm can run */
    DkvmTristate applesmc;    /* this QEMU has isa-applesmc */
    DkvmTristate hotplug_off; /* it knows ICH9-LPC.acpi-pci-hotplug-with-bridge-support */
    char *emulator_source;
    /* firmware */
    DkvmTristate autoselect; /* libvirt's own firmware selection with features works here */
    GPtrArray *firmware;     /* DkvmFirmwarePair*, best first */
    char *nvram_dir;         /* where libvirt keeps NVRAM files; NULL if unknown */
    char *firmware_source;
    /* CPU features that QEMU's model has and this host lacks: QEMU model name -> GStrv of QEMU
     * feature names, sorted.  A model without an entry is unknown on this host. */
    GHashTable *missing_kvm, *missing_tcg;
    char *missing_source;
} DkvmFacts;

DkvmFacts *dkvm_facts_new(void); /* everything unknown */
void dkvm_facts_free(DkvmFacts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmFacts, dkvm_facts_free)
void dkvm_firmware_pair_free(DkvmFirmwarePair *pair);

/* JSON as --print-facts prints and --facts reads it (schema in dkvm-patch(1)).  Unknown members are
 * errors; a missing member is "unknown".  Errors: DKVM_ERROR_INPUT naming the member. */
char *dkvm_facts_to_json(const DkvmFacts *facts);
DkvmFacts *dkvm_facts_from_json(const char *text, gsize length, GError **error);

/* "9.0.0" <-> 9000000.  Parse returns 0 for what is not a version. */
gulong dkvm_version_parse(const char *text);
char *dkvm_version_text(gulong version);

/* This machine: firmware descriptors, /proc/cpuinfo, /sys clocksource, the libvirt library, and the
 * distribution's own QEMU at fixed paths asked once over QMP with a deadline, cached in
 * $XDG_CACHE_HOME/dkvm by path, size and mtime.  All host paths go through dkvm_path().
 * Errors: DKVM_ERROR_HOST if there is no QEMU (names --facts). */
DkvmFacts *dkvm_facts_local(GError **error);
