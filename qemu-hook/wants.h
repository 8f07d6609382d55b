/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a domain's XML wants of this host.  Nothing in it is trusted. */
#pragma once

#include <glib.h>

#include "lib/config.h"
#include "lib/numbers.h"
#include "udev/bdf.h"

#define DKVM_MAX_HOSTDEVS 64

typedef struct {
    DkvmBdf bdf;
    gboolean managed; /* of <hostdev> only */
    gboolean left;    /* SR-IOV interface or NVMe disk: libvirt's own business */
} DkvmWanted;

#define DKVM_PAGE_NORMAL 0
#define DKVM_PAGE_DEFAULT 1 /* the host's default size of huge pages */

/* A part of the guest's memory. */
typedef struct {
    guint64 bytes;
    guint64 page_kb; /* size of the pages that it is made of, in KiB; or one of the above */
    guint64 nodes;   /* bit N: node N of the host may give it; 0: any may */
} DkvmMemoryPart;

typedef struct {
    char *uuid, *name;
    GArray *devices;    /* of DkvmWanted, each address once */
    gboolean marked;    /* has our marker, not state="off" */
    gboolean apple;     /* libosinfo id under apple.com */
    gboolean patchable; /* [define] of dkvm.conf matches it, but it has no marker */
    GArray *memory;     /* of DkvmMemoryPart: all that QEMU has at its start */
    GPtrArray *off;     /* steps that the marker turns off (handoff.STEP=off): names that are short
                         * words, which may be none of ours */
    DkvmNumbers pinned; /* the CPUs that its vCPUs are pinned to; empty: none is */
} DkvmWants;

/* Reads LENGTH bytes of domain XML; CONFIG (may be NULL: patchable stays FALSE) is for its define
 * policy.  Errors: DKVM_ERROR_INPUT. */
DkvmWants *dkvm_wants_parse(const char *xml, gsize length, const DkvmConfig *config,
                            GError **error);
gboolean dkvm_wants_turns_off(const DkvmWants *wants, const char *step);
void dkvm_wants_free(DkvmWants *wants);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmWants, dkvm_wants_free)

/* Has a <hostdev type='pci'> and is one of the domains that [handoff] domains means. */
gboolean dkvm_wants_concerns(const DkvmWants *wants, const DkvmConfig *config);

/* The domain is persistently defined: one of /etc/libvirt/qemu/ *.xml has its UUID, whatever its
 * file is called.  libvirt itself cannot be asked while a hook runs. */
gboolean dkvm_is_defined(const DkvmWants *wants);
