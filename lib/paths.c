/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/paths.h"

#include <stdlib.h>
#include <string.h>

const char *dkvm_paths_root(void)
{
    static char *root;

    if (g_once_init_enter(&root)) {
        const char *set = secure_getenv("DKVM_ROOT");
        char *value = g_strdup(set ? set : "");
        gsize length = strlen(value);

        while (length > 0 && value[length - 1] == '/')
            value[--length] = '\0';
        g_once_init_leave(&root, value);
    }
    return root;
}

char *dkvm_path(const char *path)
{
    return g_strconcat(dkvm_paths_root(), path, NULL);
}
