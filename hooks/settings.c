/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/settings.h"

#include "lib/error.h"
#include "xslt/models.h"

static GMutex lock;
static DkvmSettings *current;

static gboolean check_model(const DkvmConfig *config, GError **error)
{
    if (config->model == NULL || dkvm_models_find(config->model) != NULL) {
        return TRUE;
    }
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                "cannot use the configuration: [define] model: there is no model '%s'; dkvm-patch "
                "--list-models shows them",
                config->model);
    return FALSE;
}

gboolean dkvm_settings_load(GError **error)
{
    g_autoptr(DkvmConfig) config = dkvm_config_load(error);
    if (config == NULL || !check_model(config, error)) {
        return FALSE;
    }
    DkvmSettings *settings = g_new0(DkvmSettings, 1);
    g_atomic_ref_count_init(&settings->users);
    settings->config = g_steal_pointer(&config);
    g_mutex_lock(&lock);
    DkvmSettings *old = current;
    current = settings;
    g_mutex_unlock(&lock);
    g_clear_pointer(&old, dkvm_settings_unref);
    return TRUE;
}

DkvmSettings *dkvm_settings_get(void)
{
    g_mutex_lock(&lock);
    DkvmSettings *settings = current;
    if (settings != NULL) {
        g_atomic_ref_count_inc(&settings->users);
    }
    g_mutex_unlock(&lock);
    return settings;
}

void dkvm_settings_unref(DkvmSettings *settings)
{
    if (g_atomic_ref_count_dec(&settings->users)) {
        dkvm_config_free(settings->config);
        g_free(settings);
    }
}
