/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line of dkvm-watchd. */
#pragma once

#include <glib.h>

typedef struct {
    char **connect; /* URIs to watch, at least one, each once */
    gboolean session, status, json, version;
} DkvmWatchdOptions;

/* Errors: DKVM_ERROR_USAGE.  --help prints and exits 0. */
gboolean dkvm_watchd_options_parse(DkvmWatchdOptions *options, int *argc, char ***argv,
                                   GError **error);
