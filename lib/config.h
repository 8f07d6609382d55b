/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /etc/dkvm/dkvm.conf and /etc/dkvm/dkvm.conf.d/ *.conf (strcmp order; a later file overrides
 * single keys), as GKeyFile, with strict keys: an unknown group or key is an error that names file,
 * group and key.  Missing files mean the defaults. */
#pragma once

#include <glib.h>

#include "lib/numbers.h"

typedef enum {
    DKVM_MATCH_MACOS,  /* libosinfo id under apple.com, or our marker (default) */
    DKVM_MATCH_MARKED, /* our marker only */
    DKVM_MATCH_ALL,
} DkvmMatch;

typedef enum {
    DKVM_HANDOFF_DARWIN, /* our marker, or a libosinfo id under apple.com (default) */
    DKVM_HANDOFF_MARKED, /* our marker only */
    DKVM_HANDOFF_ALL,
} DkvmHandoffDomains;

typedef enum {
    DKVM_BAR_KEEP, /* default */
    DKVM_BAR_LARGEST,
    DKVM_BAR_SMALLEST,
} DkvmBarSize;

typedef struct {
    DkvmMatch match;             /* [define] match */
    char **names;                /* [define] names: globs; empty list: every name */
    gboolean first_boot_restart; /* [define] first-boot = restart (default) or leave */
    char *model;                 /* [define] model, or NULL: by macOS version */
    double settle_seconds;       /* [define] settle-seconds, 0 to 60; default 1.5 */
    char *osk;                   /* [smc] osk: 64 printable ASCII characters, no comma; unset: the
                                  * key that packaging/dkvm.conf ships */
    DkvmHandoffDomains handoff_domains; /* [handoff] domains */
    gboolean desktop_stop;              /* [handoff] desktop = stop; default refuse */
    gboolean holders_terminate;         /* [handoff] holders = terminate; default refuse */
    char **handoff_services;            /* [handoff] services: unit names; empty list: none */
    gboolean hugepages_allocate;        /* [handoff] hugepages = allocate; default refuse */
    DkvmBarSize bar_size;               /* [handoff] bar-size */
    const char *reset_method; /* [handoff] reset-method: a name of the kernel's; NULL: keep */
    char *governor;           /* [handoff] governor, or NULL: keep (default) */
    DkvmNumbers *host_cpus;   /* [handoff] host-cpus, never empty; NULL (default): all */
    gboolean irqs_move;       /* [handoff] irqs = move; default leave */
    gboolean suspend_rescue;  /* [handoff] suspend = rescue; default never */
    gboolean reboot_rescue;   /* [handoff] reboot = rescue; default never */
} DkvmConfig;

/* Reads the configuration below the root prefix.  Returns a new object or NULL with
 * DKVM_ERROR_INPUT (unknown key, value out of its grammar; names file, group, key, allowed values)
 * or DKVM_ERROR_FILE (there, but unreadable). */
DkvmConfig *dkvm_config_load(GError **error);
void dkvm_config_free(DkvmConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmConfig, dkvm_config_free)
