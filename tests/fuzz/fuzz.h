/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the libFuzzer targets share. */
#pragma once

#include <glib.h>
#include <glib/gstdio.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* A property that does not hold is a finding. */
#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            g_printerr("does not hold: %s (%s:%d)\n", #condition, __FILE__, __LINE__);             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* A root prefix of this process's own, before anything asks for it; $FUZZ_ROOT names one that is
 * the same in each run. */
G_GNUC_UNUSED static char *fuzz_root(const char *folder)
{
    const char *named = g_getenv("FUZZ_ROOT");
    char *root = named ? g_strdup(named) : g_dir_make_tmp("dkvm-fuzz-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(root, folder, NULL);
    HOLDS(root != NULL && g_mkdir_with_parents(path, 0755) == 0);
    HOLDS(g_setenv("DKVM_ROOT", root, TRUE));
    return root;
}
