/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which processes have a device's nodes open: DRM, sound, frame buffer, I2C, NVMe, input ... and
 * /dev/vfio/GROUP.  Compared by device number, so a renamed or deleted node is found too. */
#pragma once

#include "udev/host.h"
#include "udev/mappings.h"

typedef struct {
    pid_t pid;
    char *command; /* from /proc/PID/comm */
    char *node;    /* what its file descriptor says, "/dev/dri/card0" */
    /* The node only hangs up when its device goes; it keeps no driver from being unbound. */
    gboolean hangs_up;
    gboolean mapped; /* in its memory, with no descriptor of it open */
} DkvmHolder;

/* A new array (of DkvmHolder, owned), by process.  Processes of others can only be looked into by
 * root: *COMPLETE (may be NULL) says whether all could be, and nothing failed. */
GPtrArray *dkvm_holders(const DkvmDevice *device, gboolean *complete);

/* The same, and those of MAPPINGS (NULL: none) that have a node mapped and not open. */
GPtrArray *dkvm_holders_with(const DkvmDevice *device, const DkvmMappings *mappings,
                             gboolean *complete);

/* "Xorg (812): /dev/dri/card0; pipewire (1034): /dev/snd/controlC0"; "" if there are none. */
char *dkvm_holders_text(const DkvmDevice *device);
