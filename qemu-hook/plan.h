/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a domain's start would do to this host, and all that stands in the way.  Reads only. */
#pragma once

#include "lib/config.h"
#include "qemu-hook/handover.h"
#include "qemu-hook/wants.h"
#include "udev/mappings.h"

typedef struct {
    char *text; /* a sentence */
    char *todo; /* what to do about it, a sentence; NULL: nothing */
} DkvmRefusal;

typedef struct DkvmPlan {
    const DkvmWants *wants;
    const DkvmConfig *config;
    DkvmHost *host;
    DkvmMappings *mappings; /* of all processes, when the plan was made */
    GPtrArray *targets;     /* of DkvmDevice, in the order in which they leave: GPUs last */
    GPtrArray *devices;     /* of DkvmTaken, the same */
    GPtrArray *actions;     /* of DkvmAction */
    GPtrArray *refusals;    /* of DkvmRefusal; empty: it can be done */
    GPtrArray *notes;       /* sentences (char *) worth knowing */
} DkvmPlan;

/* The whole plan: devices, preflight, actions of every step.  WANTS and CONFIG must outlive it.
 * Errors: DKVM_ERROR_FILE (no sysfs), DKVM_ERROR_HOST (a device is stuck in the kernel). */
DkvmPlan *dkvm_plan_new(const DkvmWants *wants, const DkvmConfig *config, GError **error);
void dkvm_plan_free(DkvmPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmPlan, dkvm_plan_free)

/* TODO may be NULL. */
void dkvm_plan_refuse(DkvmPlan *plan, const char *todo, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
void dkvm_plan_note(DkvmPlan *plan, const char *format, ...) G_GNUC_PRINTF(2, 3);
void dkvm_plan_add(DkvmPlan *plan, const DkvmStep *step, const char *target, const char *pre,
                   const char *post);

/* The domain's marker turns STEP off, and may. */
/* DEVICE is a network function or an NVMe disk of the domain, which libvirt takes by itself. */
gboolean dkvm_plan_leaves_device(const DkvmPlan *plan, const DkvmDevice *device);
gboolean dkvm_plan_leaves_out(const DkvmPlan *plan, const DkvmStep *step);

/* preflight.c: everything that is no single step's business. */
void dkvm_preflight(DkvmPlan *plan);

/* All reasons in one paragraph, "cannot hand over to VM x: ..."; g_free. */
char *dkvm_plan_reasons(const DkvmPlan *plan);
/* The checklist of 'dkvm-gpu plan'; g_free. */
char *dkvm_plan_text(const DkvmPlan *plan);
