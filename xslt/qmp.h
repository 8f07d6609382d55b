/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking a distribution's own QEMU what it can do, over QMP, without a machine.  A program that a
 * domain names is never run: only the paths listed in models.xml are (below the root prefix). */
#pragma once

#include "xslt/facts.h"

#define DKVM_QMP_DEADLINE 10000 /* milliseconds, from start to the last answer */

typedef struct {
    gulong version; /* as DkvmFacts.qemu_version */
    DkvmTristate applesmc, hotplug_off;
    GHashTable *missing; /* as DkvmFacts.missing_kvm, for the accelerator that was asked */
} DkvmQmpAnswer;

void dkvm_qmp_answer_free(DkvmQmpAnswer *answer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmQmpAnswer, dkvm_qmp_answer_free)

/* Is PATH one of the distribution paths of models.xml? */
gboolean dkvm_qmp_is_distribution(const char *path);
/* The first of them that can be run on this host (without the root prefix); NULL if there is none.
 */
const char *dkvm_qmp_emulator(void);

/* Starts EMULATOR with ACCEL ("kvm" or "tcg") and asks.  Returns NULL with DKVM_ERROR_HOST (what
 * the emulator said on stderr is in the message) if it does not start, answers with something else
 * than QMP, with too much, or not within DEADLINE milliseconds; it is killed and reaped in every
 * case. */
DkvmQmpAnswer *dkvm_qmp_ask(const char *emulator, const char *accel, guint deadline,
                            GError **error);
