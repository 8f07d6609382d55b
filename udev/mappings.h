/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which processes have mapped a device into their memory: they use it on when the descriptor is
 * closed.  For dkvm_holders_with(). */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
    pid_t pid;
    guint major_number, minor_number; /* of the device */
    gboolean block;
    char *node; /* as the kernel names it, "/dev/dri/card0" */
} DkvmMapping;

typedef struct {
    GPtrArray *all;    /* of DkvmMapping */
    gboolean complete; /* all processes could be looked into */
    pid_t stuck;       /* whom it hung at, so the rest is not known; 0: nobody */
} DkvmMappings;

/* Looks at all processes, for at most some seconds.  Those of others can only be looked into by
 * root. */
DkvmMappings *dkvm_mappings_read(void);
void dkvm_mappings_free(DkvmMappings *mappings);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmMappings, dkvm_mappings_free)
