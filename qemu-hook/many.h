/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For steps that put one value into many numbered files of the kernel (interrupts, frequency
 * policies): those with the same former value are one action, with their numbers as its target, so
 * that hundreds of files are a few records.  Each file is compared before it is written, forth and
 * back: what is at another value is somebody else's and stays. */
#pragma once

#include "qemu-hook/step.h"

#include "lib/numbers.h"

typedef struct {
    const char *before, *after; /* the path around the number */
    /* The kernel may refuse it for some of them: those stay as they are. */
    gboolean some_refuse;
} DkvmMany;

/* One line of the file of NUMBER; NULL: it cannot be read, or is too long.  g_free. */
char *dkvm_many_read(const DkvmMany *many, guint number);

/* The actions of STEP that bring the files of NUMBERS to POST. */
void dkvm_many_plan(DkvmPlan *plan, const DkvmStep *step, const DkvmMany *many,
                    const DkvmNumbers *numbers, const char *post);
/* POST as long as one of them is at it, since then there is something to undo. */
char *dkvm_many_look(const DkvmMany *many, const DkvmAction *action);
/* If all refuse, action->over. */
gboolean dkvm_many_apply(const DkvmMany *many, DkvmHandover *handover, const DkvmAction *action,
                         GError **error);
gboolean dkvm_many_undo(const DkvmMany *many, DkvmHandover *handover, const DkvmAction *action,
                        GError **error);
