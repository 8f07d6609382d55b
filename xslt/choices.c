/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/choices.h"

#include "lib/error.h"
#include "xslt/models.h"
#include "xslt/parts.h"
#include "xslt/topology.h"

#include <string.h>

#define HANDOFF "handoff."

static gboolean is_topology(const char *value)
{
    DkvmShape shape;
    return dkvm_shape_parse(value, &shape);
}

/* One SMC key pair of 32 bytes each; a comma would end QEMU's option. */
static gboolean is_osk(const char *value)
{
    gsize n = 0;
    for (; g_ascii_isprint(value[n]) && value[n] != ','; n++) {
        ;
    }
    return value[n] == '\0' && n == 64;
}

static gboolean is_flag(const char *flag)
{
    gsize n = strlen(flag);
    return (flag[0] == '+' || flag[0] == '-') && n >= 2 && n <= 33 &&
           strspn(flag + 1, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == n - 1;
}

static gboolean is_cpu_flags(const char *value)
{
    g_auto(GStrv) flags = g_strsplit(value, ",", 65);
    guint n = g_strv_length(flags);
    gboolean good = n >= 1 && n <= 64;
    for (guint i = 0; good && i < n; i++) {
        good = is_flag(flags[i]);
    }
    return good;
}

/* QEMU's own syntax (-smbios type=N,key=value), "," inside a value doubled; file= would read a file
 * of the host. */
static gboolean is_smbios_pair(const char *pair)
{
    static const char *const keys[] = {"manufacturer", "product", "version",  "serial", "uuid",
                                       "sku",          "family",  "location", "asset",  NULL};
    g_auto(GStrv) halves = g_strsplit(pair, "=", 2);
    if (g_strv_length(halves) != 2 || !g_strv_contains((const char *const *)halves, halves[0]) ||
        !g_strv_contains(keys, halves[0])) {
        return FALSE;
    }
    for (const char *p = halves[1]; *p != '\0'; p++) {
        if (!g_ascii_isprint(*p)) {
            return FALSE;
        }
    }
    return *halves[1] != '\0' && strlen(halves[1]) <= 64;
}

static gboolean is_smbios(const char *value)
{
    static const char *const types[] = {"type=0", "type=1", "type=2", "type=3", "type=4", NULL};
    g_auto(GStrv) halves_by_comma = g_strsplit(value, ",,", -1);
    g_autofree char *joined =
        g_strjoinv("\x01", halves_by_comma); /* an escaped comma is no separator */
    for (const char *p = value; *p != '\0'; p++) {
        if (!g_ascii_isprint(*p)) {
            return FALSE;
        }
    }
    g_auto(GStrv) pairs = g_strsplit(joined, ",", 17);
    guint n = g_strv_length(pairs);
    gboolean good = n >= 1 && n <= 16 && g_strv_contains(types, pairs[0]);
    for (guint i = 1; good && i < n; i++) {
        g_strdelimit(pairs[i], "\x01", '.');
        good = is_smbios_pair(pairs[i]);
    }
    return good;
}

static gboolean is_model(const char *value)
{
    return dkvm_models_find(value) != NULL;
}

static gboolean is_macos(const char *value)
{
    return dkvm_macos_parse(value) != 0;
}

/* A key has either a list of values or a grammar. */
static const struct {
    const char *key, *values, *grammar;
    gboolean (*check)(const char *value);
} keys[] = {
    {"model", NULL, "one of --list-models", is_model},
    {"macos", NULL, "a macOS version (10.4 to 26) or its name", is_macos},
    {"topology", NULL, "SxCxT (sockets, cores, threads), such as 1x4x2", is_topology},
    {"machine", "q35", NULL, NULL},
    {"input", "native commandline", NULL, NULL},
    {"video", "vga vmvga qxl virtio bochs none", NULL, NULL},
    {"nic", "virtio vmxnet3 e1000 e1000e e1000-82545em", NULL, NULL},
    {"disk", "sata virtio", NULL, NULL},
    {"usb", "qemu-xhci nec-xhci ich9-ehci1", NULL, NULL},
    {"sound", "ich9 ich6 usb virtio none", NULL, NULL},
    {"hpet", "yes no", NULL, NULL},
    {"smbios", NULL, "type=0..4[,KEY=VALUE...] as QEMU's -smbios takes it; no file=", is_smbios},
    {"osk", NULL, "64 printable ASCII characters without a comma", is_osk},
    {"cpu-flags", NULL, "+name or -name, comma-separated; name of a-z 0-9 _ . -", is_cpu_flags},
};

/* The steps of the hand-over that a domain may switch off (design: a marker may only turn a step
 * off). */
static gboolean is_handoff(const char *key)
{
    if (!g_str_has_prefix(key, HANDOFF)) {
        return FALSE;
    }
    const char *step = key + strlen(HANDOFF);
    gsize n = strlen(step);
    return n >= 1 && n <= 32 && strspn(step, "abcdefghijklmnopqrstuvwxyz-") == n;
}

static gboolean in_list(const char *values, const char *value)
{
    g_auto(GStrv) list = g_strsplit(values, " ", -1);
    return g_strv_contains((const char *const *)list, value);
}

static char *all_keys(void)
{
    GString *text = g_string_new(NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_string_append_printf(text, "%s ", keys[i].key);
    }
    g_string_append(text, HANDOFF "STEP");
    return g_string_free(text, FALSE);
}

static gboolean refuse(const char *key, const char *takes, GError **error)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT, "cannot set %s: it takes %s, or auto", key,
                takes);
    return FALSE;
}

gboolean dkvm_choice_check(const char *key, const char *value, GError **error)
{
    if (is_handoff(key)) {
        return g_str_equal(value, "off") ||
               refuse(key, "off (a domain can only turn a step off)", error);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (!g_str_equal(key, keys[i].key)) {
            continue;
        }
        gboolean good = keys[i].values ? in_list(keys[i].values, value) : keys[i].check(value);
        return good || refuse(key, keys[i].values ? keys[i].values : keys[i].grammar, error);
    }
    g_autofree char *known = all_keys();
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                "cannot set %s: there is no such key; keys: %s", strlen(key) <= 20 ? key : "that",
                known);
    return FALSE;
}

gboolean dkvm_choice_parse(const char *text, char **key, char **value, GError **error)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text) {
        /* Not repeated: it may be a key of the SMC that stands where KEY= was forgotten. */
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "cannot set a choice: write KEY=VALUE, or KEY=auto to forget a choice");
        return FALSE;
    }
    g_autofree char *name = g_strndup(text, equals - text);
    gboolean forget =
        g_str_equal(equals + 1, "auto") && (dkvm_part_exists(name) || is_handoff(name));
    for (gsize i = 0; i < G_N_ELEMENTS(keys) && g_str_equal(equals + 1, "auto"); i++) {
        forget |= g_str_equal(name, keys[i].key);
    }
    if (!forget && !dkvm_choice_check(name, equals + 1, error)) {
        return FALSE;
    }
    *key = g_steal_pointer(&name);
    *value = g_strdup(equals + 1);
    return TRUE;
}
