/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A firmware descriptor: whatever is found is a pair of files that are there. */
#include "tests/fuzz/fuzz.h"
#include "xslt/firmware.h"

#include <string.h>

#define FOLDER "usr/share/qemu/firmware"
#define IMAGES "usr/share/OVMF"

static char *root;

static char *below(const char *path)
{
    return g_build_filename(root, path, NULL);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const images[] = {IMAGES "/OVMF_CODE_4M.fd", IMAGES "/OVMF_VARS_4M.fd"};
    root = fuzz_root(FOLDER);
    g_autofree char *folder = below(IMAGES);
    HOLDS(g_mkdir_with_parents(folder, 0755) == 0);
    for (gsize i = 0; i < G_N_ELEMENTS(images); i++) {
        g_autofree char *path = below(images[i]);
        HOLDS(g_file_set_contents(path, "x", 1, NULL));
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *path = below(FOLDER "/50-x.json");
    g_autoptr(GPtrArray) pairs =
        g_ptr_array_new_with_free_func((GDestroyNotify)dkvm_firmware_pair_free);
    HOLDS(g_file_set_contents_full(path, (const char *)data, (gssize)size, G_FILE_SET_CONTENTS_NONE,
                                   0644, NULL));
    dkvm_firmware_find(pairs, NULL);
    for (guint i = 0; i < pairs->len; i++) {
        const DkvmFirmwarePair *pair = pairs->pdata[i];
        g_autofree char *code = below(pair->code), *vars = below(pair->vars);
        HOLDS(g_file_test(code, G_FILE_TEST_IS_REGULAR) &&
              g_file_test(vars, G_FILE_TEST_IS_REGULAR));
        HOLDS(g_path_is_absolute(pair->code) && g_path_is_absolute(pair->vars));
    }
    return 0;
}
