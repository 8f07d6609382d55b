/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether the guest's memory fits into the host: figures for preflight and for the step that makes
 * huge pages.  Reads only. */
#pragma once

#include "qemu-hook/hugepages.h"
#include "qemu-hook/plan.h"

/* What a VM takes from one pool. */
typedef struct {
    DkvmPool pool;
    guint64 need;      /* pages */
    guint64 available; /* of them free, and promised to nobody else */
    guint64 spare;     /* bytes of the node that nobody uses, if pages have to be made of them */
} DkvmPages;

/* Of DkvmPages, each pool once; g_array_unref. */
GArray *dkvm_memory_pages(const DkvmPlan *plan);

/* Refuses what cannot fit. */
void dkvm_memory_check(DkvmPlan *plan);
