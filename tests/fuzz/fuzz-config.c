/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dkvm.conf: what is accepted is within the grammar. */
#include "lib/config.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static char *path;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    g_autofree char *root = fuzz_root("etc/dkvm");
    path = g_build_filename(root, "etc/dkvm/dkvm.conf", NULL);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    HOLDS(g_file_set_contents_full(path, (const char *)data, (gssize)size, G_FILE_SET_CONTENTS_NONE,
                                   0644, NULL));
    g_autoptr(DkvmConfig) config = dkvm_config_load(&error);
    HOLDS((config == NULL) == (error != NULL));
    if (config == NULL) {
        return 0;
    }
    HOLDS(config->settle_seconds >= 0 && config->settle_seconds <= 60);
    HOLDS(config->osk == NULL || (strlen(config->osk) == 64 && strchr(config->osk, ',') == NULL));
    return 0;
}
