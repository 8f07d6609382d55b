/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* models.xml as C sees it: Mac models, their CPUs, macOS versions.  The stylesheets read the same
 * tree; nothing of these tables is in code. */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>
#include <libxml/tree.h>

/* A macOS version as one number that sorts: 10.4 is 1004, 10.15 is 1015, 11 is 1100, 26 is 2600.
 * 0 means unknown. */
typedef guint DkvmMacos;

/* A QEMU CPU model as XNU will see it in CPUID leaf 1 (from QEMU's target/i386/cpu.c, in
 * models.xml). */
typedef struct {
    const char *name;    /* QEMU's name: "Cascadelake-Server", "Westmere-v2" */
    const char *libvirt; /* the name in libvirt's CPU map: "Westmere-IBRS" */
    guint family, model, stepping;
} DkvmCpuModel;

/* The embedded table, parsed once; owned by the library, never freed, must not be changed. */
xmlDoc *dkvm_models_document(void);

/* "14", "10.15", "sonoma", "high sierra" (case, blanks and dashes do not matter) -> version; 0 if
 * it is none that we know. */
DkvmMacos dkvm_macos_parse(const char *text);
/* A libosinfo id ("http://apple.com/macos/14", "http://apple.com/macosx/10.7") -> version; 0 if
 * it is not Apple's or unknown. */
DkvmMacos dkvm_macos_from_osinfo(const char *id);
/* "10.15", "14"; "unknown" for 0.  Returns a new string. */
char *dkvm_macos_text(DkvmMacos version);

/* The model's own spelling if NAME is one of ours (case does not matter), else NULL. */
const char *dkvm_models_find(const char *name);
/* The default model of a macOS version; MacPro7,1 for 0. */
const char *dkvm_models_default(DkvmMacos version);
/* The CPU that MODEL gets for VERSION.  Never NULL for a model of ours; owned by the library. */
const DkvmCpuModel *dkvm_models_cpu(const char *model, DkvmMacos version);
/* All CPUs of the table (for asking a host about each); NULL-terminated, owned by the library. */
const DkvmCpuModel *const *dkvm_models_cpus(void);

/* The table for people (--list-models).  Returns a new string. */
char *dkvm_models_list(void);
/* The same as JSON (dkvm-patch(1), JSON).  Returns a new node. */
JsonNode *dkvm_models_json(void);
