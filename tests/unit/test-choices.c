/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The grammar of --set, which is also that of the marker. */
#include "tests/unit/helpers.h"
#include "xslt/choices.h"

#define A32 "abcdefghijklmnopqrstuvwxyz012345"
#define A64 A32 A32

static const struct {
    const char *key, *value;
    gboolean good;
} rows[] = {
    {"model", "MacPro7,1", TRUE},
    {"model", "macpro5,1", TRUE},
    {"model", "MacPro6,1", FALSE},
    {"macos", "14", TRUE},
    {"macos", "sonoma", TRUE},
    {"macos", "10.3", FALSE},
    {"macos", "", FALSE},
    {"topology", "1x4x2", TRUE},
    {"topology", "0x4x2", FALSE},
    {"topology", "1x4", FALSE},
    {"topology", "1x4x2x1", FALSE},
    {"topology", " 1x4x2", FALSE},
    {"topology", "256x1x1", FALSE},
    {"machine", "q35", TRUE},
    {"machine", "pc", FALSE},
    {"input", "native", TRUE},
    {"input", "commandline", TRUE},
    {"input", "native commandline", FALSE},
    {"video", "none", TRUE},
    {"video", "", FALSE},
    {"nic", "e1000-82545em", TRUE},
    {"nic", "rtl8139", FALSE},
    {"disk", "sata", TRUE},
    {"disk", "ide", FALSE},
    {"usb", "ich9-ehci1", TRUE},
    {"usb", "piix3-uhci", FALSE},
    {"sound", "none", TRUE},
    {"sound", "ac97", FALSE},
    {"hpet", "yes", TRUE},
    {"hpet", "true", FALSE},
    {"osk", A64, TRUE},
    {"osk", A32 "abcdefghijklmnopqrstuvwxyz01234", FALSE},
    {"osk", A64 "x", FALSE},
    {"osk", A32 "abcdefghijklmnopqrstuvwxyz0123,5", FALSE},
    {"osk", A32 "abcdefghijklmnopqrstuvwxyz0123\n5", FALSE},
    {"osk", A32 "abcdefghijklmnopqrstuvwxyz0123\xc3\xa4", FALSE},
    {"osk", A32 "abcdefghijklmnopqrstuvwxyz 12345", TRUE},
    {"cpu-flags", "+ssse3", TRUE},
    {"cpu-flags", "+ssse3,-pcid", TRUE},
    {"cpu-flags", "+avx512-vpopcntdq,-sse4.1,+a_b", TRUE},
    {"cpu-flags", "", FALSE},
    {"cpu-flags", "+", FALSE},
    {"cpu-flags", "ssse3", FALSE},
    {"cpu-flags", "+SSSE3", FALSE},
    {"cpu-flags", "+a,,+b", FALSE},
    {"cpu-flags", "+a,", FALSE},
    {"cpu-flags", "+a=on", FALSE},
    {"cpu-flags", "+" A32, TRUE},
    {"cpu-flags", "+" A32 "x", FALSE},
    {"smbios", "type=0", TRUE},
    {"smbios", "type=4", TRUE},
    {"smbios", "type=5", FALSE},
    {"smbios", "type=1,manufacturer=Apple,product=MacPro7", TRUE},
    {"smbios", "type=1,product=MacPro7,,1", TRUE},
    {"smbios", "type=1,product=a,,file=/etc/passwd", TRUE}, /* one value: "a,file=/etc/passwd" */
    {"smbios", "type=1,product=a,,,file=/etc/passwd", FALSE},
    {"smbios", "type=1,file=/etc/passwd", FALSE},
    {"smbios", "file=/etc/passwd", FALSE},
    {"smbios", "type=1,type=2", FALSE},
    {"smbios", "type=1,product", FALSE},
    {"smbios", "type=1,product=", FALSE},
    {"smbios", "type=1,=x", FALSE},
    {"smbios", "product=x,type=1", FALSE},
    {"smbios", "type=1,product=a\tb", FALSE},
    {"smbios", "type=1,product=\xc3\xa4", FALSE},
    {"smbios", "type=1,product=a\x01,file=/x", FALSE},
    {"smbios", "type=1,product=" A64, TRUE},
    {"smbios", "type=1,product=" A64 "x", FALSE},
    {"smbios", "type=1,", FALSE},
    {"smbios", "", FALSE},
    {"handoff.consoles", "off", TRUE},
    {"handoff.consoles", "on", FALSE},
    {"handoff.", "off", FALSE},
    {"handoff.A", "off", FALSE},
    {"handoff.a/b", "off", FALSE},
    {"handoff." A32, "off", FALSE}, /* digits */
    {"firmware", "x", FALSE},       /* a part, but no key */
    {"", "x", FALSE},
    {"VIDEO", "vga", FALSE},
};

static void test_rows(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        gboolean good = dkvm_choice_check(rows[i].key, rows[i].value, &error);
        if (good != rows[i].good) {
            g_test_message("%s=%s", rows[i].key, rows[i].value);
            g_test_fail();
        }
        g_assert_true(good == (error == NULL));
        if (error != NULL) {
            g_assert_error(error, DKVM_ERROR, DKVM_ERROR_INPUT);
            assert_contains(error->message, strlen(rows[i].key) <= 20 ? rows[i].key : "");
        }
    }
}

/* 64 flags and 16 pairs are the most. */
static void test_bounds(void)
{
    for (guint n = 63; n <= 65; n++) {
        g_autoptr(GString) flags = g_string_new("+a");
        for (guint i = 1; i < n; i++) {
            g_string_append(flags, ",+a");
        }
        g_assert_true(dkvm_choice_check("cpu-flags", flags->str, NULL) == (n <= 64));
    }
    for (guint n = 15; n <= 17; n++) {
        g_autoptr(GString) pairs = g_string_new("type=1");
        for (guint i = 1; i < n; i++) {
            g_string_append(pairs, ",sku=a");
        }
        g_assert_true(dkvm_choice_check("smbios", pairs->str, NULL) == (n <= 16));
    }
}

/* Many escaped commas: each still counts as part of its value. */
static void test_many_escapes(void)
{
    g_autoptr(GString) text = g_string_new("type=1,product=a");
    for (guint i = 0; i < 20; i++) {
        g_string_append(text, ",,b");
    }
    g_assert_true(dkvm_choice_check("smbios", text->str, NULL));
    g_string_append(text, ",file=/etc/passwd");
    g_assert_false(dkvm_choice_check("smbios", text->str, NULL));
}

static const struct {
    const char *text, *key, *value;
} parsed[] = {
    {"video=vga", "video", "vga"},
    {"smbios=type=1,product=x", "smbios", "type=1,product=x"},
    {"video=auto", "video", "auto"},
    {"osk=auto", "osk", "auto"},
    {"firmware=auto", "firmware", "auto"},
    {"handoff.gpu=auto", "handoff.gpu", "auto"},
    {"handoff.gpu=off", "handoff.gpu", "off"},
    {"nothing=auto", NULL, NULL},
    {"handoff.=auto", NULL, NULL},
    {"firmware=x", NULL, NULL},
    {"video", NULL, NULL},
    {"=vga", NULL, NULL},
    {"", NULL, NULL},
    {"=", NULL, NULL},
    {"video=", NULL, NULL},
    {"video =vga", NULL, NULL},
};

static void test_parse(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(parsed); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *key = NULL, *value = NULL;
        gboolean good = dkvm_choice_parse(parsed[i].text, &key, &value, &error);
        g_assert_true(good == (parsed[i].key != NULL));
        g_assert_cmpstr(key, ==, parsed[i].key);
        g_assert_cmpstr(value, ==, parsed[i].value);
        g_assert_true(good == (error == NULL));
    }
}

static void test_secret(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *key = NULL, *value = NULL;
    g_assert_false(dkvm_choice_parse("osk=hushhush", &key, &value, &error));
    assert_lacks(error->message, "hush");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    g_test_add_func("/choices/grammar", test_rows);
    g_test_add_func("/choices/bounds", test_bounds);
    g_test_add_func("/choices/escapes", test_many_escapes);
    g_test_add_func("/choices/parse", test_parse);
    g_test_add_func("/choices/secret", test_secret);
    return g_test_run();
}
