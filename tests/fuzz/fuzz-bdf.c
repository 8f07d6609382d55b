/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any text as an address, a number, a slot path: what is taken comes back the same. */
#include "tests/fuzz/fuzz.h"
#include "udev/identity.h"
#include "udev/sysfs.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    char canonical[DKVM_BDF_SIZE], path[DKVM_SLOT_PATH_SIZE];
    DkvmBdf bdf, again;
    guint64 value;

    if (dkvm_bdf_parse(text, &bdf)) {
        dkvm_bdf_format(&bdf, canonical);
        HOLDS(dkvm_bdf_parse(canonical, &again) && dkvm_bdf_compare(&bdf, &again) == 0);
        HOLDS(bdf.slot <= 0x1f && bdf.function <= 7);
        HOLDS(strlen(text) <= strlen("ffffffff:ff:1f.7"));
    }
    if (dkvm_parse_hex(text, 0xffff, &value))
        HOLDS(value <= 0xffff);
    if (dkvm_slot_path(text, path))
        HOLDS(strlen(path) < sizeof path);
    (void)dkvm_slot_path_is_valid(text);
    return 0;
}
