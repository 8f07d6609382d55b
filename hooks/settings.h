/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration in force.  Read again on request; one that is not valid changes nothing.  Any
 * thread. */
#pragma once

#include "lib/config.h"

typedef struct {
    gatomicrefcount users;
    DkvmConfig *config;
} DkvmSettings;

/* Reads the configuration and puts it in force.  On error (as dkvm_config_load(), and
 * DKVM_ERROR_INPUT for a model that does not exist) the one before stays. */
gboolean dkvm_settings_load(GError **error);

/* The configuration in force; NULL before the first successful load. */
DkvmSettings *dkvm_settings_get(void);
void dkvm_settings_unref(DkvmSettings *settings);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmSettings, dkvm_settings_unref)
