/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* --set: what is accepted is harmless on QEMU's command line, and is accepted again from the
 * marker. */
#include "tests/fuzz/fuzz.h"
#include "xslt/choices.h"

#include <string.h>

/* "file" as a key of its own: after a comma that is not doubled. */
static gboolean has_file(const char *value)
{
    for (const char *p = value; *p != '\0'; p++) {
        if (p[0] == ',' && p[1] == ',') {
            p++;
        } else if (p[0] == ',' && g_str_has_prefix(p + 1, "file")) {
            return TRUE;
        }
    }
    return g_str_has_prefix(value, "file");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size), *key = NULL, *value = NULL;
    g_autoptr(GError) error = NULL;
    gboolean good = dkvm_choice_parse(text, &key, &value, &error);
    HOLDS(good == (error == NULL) && good == (key != NULL) && good == (value != NULL));
    if (!good || g_str_equal(value, "auto")) {
        return 0;
    }
    HOLDS(dkvm_choice_check(key, value, NULL));
    for (const char *p = value; *p != '\0'; p++) {
        HOLDS(g_ascii_isprint(*p) || g_str_equal(key, "macos") || g_str_equal(key, "model"));
    }
    HOLDS(!g_str_equal(key, "smbios") || !has_file(value));
    HOLDS(!g_str_equal(key, "osk") || (strlen(value) == 64 && strchr(value, ',') == NULL));
    return 0;
}
