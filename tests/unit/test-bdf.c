/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* udev/bdf.c, and the numbers of udev/sysfs.c. */
#include <glib.h>
#include <string.h>

#include "udev/bdf.h"
#include "udev/sysfs.h"

static void test_good(void)
{
    static const struct {
        const char *text, *canonical;
    } cases[] = {
        {"0000:01:00.0", "0000:01:00.0"},      {"01:00.0", "0000:01:00.0"},
        {"ff:1f.7", "0000:ff:1f.7"},           {"10000:e0:06.0", "10000:e0:06.0"},
        {"ABCD:EF:0A.3", "abcd:ef:0a.3"},      {"ffffffff:ff:1f.7", "ffffffff:ff:1f.7"},
        {"00010000:00:00.0", "10000:00:00.0"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        char text[DKVM_BDF_SIZE];
        DkvmBdf bdf, again;

        g_assert_true(dkvm_bdf_parse(cases[i].text, &bdf));
        dkvm_bdf_format(&bdf, text);
        g_assert_cmpstr(text, ==, cases[i].canonical);
        g_assert_true(dkvm_bdf_parse(text, &again));
        g_assert_cmpint(dkvm_bdf_compare(&bdf, &again), ==, 0);
    }
}

static void test_bad(void)
{
    static const char *const cases[] = {
        "",
        "0",
        "1:00.0",
        "01:0.0",
        "01:00",
        "01:00.",
        "01:00.8",
        "01:00.00",
        "01:20.0",
        "01:00.0 ",
        " 01:00.0",
        "01:00.0\n",
        "000:01:00.0",
        "0x01:00.0",
        "01-00.0",
        "01:00:0",
        "01.00.0",
        "g1:00.0",
        "0000:01:00",
        "0000:01:00.0.0",
        "0000:1:00.0",
        "+1:00.0",
        "-1:00.0",
        "0000 01:00.0",
        "123456789:01:00.0",
        "0000:01:00.f",
        "0000:01:00.0/..",
        "../../../../etc",
        "0000:0000:01:00.0",
        ":01:00.0",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        DkvmBdf bdf = {1, 2, 3, 4};

        g_assert_false(dkvm_bdf_parse(cases[i], &bdf));
        g_assert_true(bdf.domain == 1 && bdf.bus == 2 && bdf.slot == 3 && bdf.function == 4);
    }
}

static void test_order(void)
{
    static const char *const sorted[] = {"00:00.0", "00:00.1", "00:01.0", "01:00.0",
                                         "0001:00:00.0"};

    for (gsize i = 0; i < G_N_ELEMENTS(sorted); i++) {
        for (gsize k = 0; k < G_N_ELEMENTS(sorted); k++) {
            DkvmBdf a, b;

            g_assert_true(dkvm_bdf_parse(sorted[i], &a) && dkvm_bdf_parse(sorted[k], &b));
            int order = dkvm_bdf_compare(&a, &b);
            g_assert_cmpint((order > 0) - (order < 0), ==, (i > k) - (i < k));
        }
    }
    DkvmBdf a = {0, 1, 0, 0}, b = {0, 1, 0, 7}, c = {0, 1, 1, 0};
    g_assert_true(dkvm_bdf_same_slot(&a, &b));
    g_assert_false(dkvm_bdf_same_slot(&a, &c));
}

static void test_hex(void)
{
    static const char *const bad[] = {"",   "0x", "0xg",     "g",  "1 ",
                                      " 1", "-1", "0x10000", "1x", "0x0x1"};
    guint64 value = 7;

    g_assert_true(dkvm_parse_hex("0x1af4", 0xffff, &value));
    g_assert_cmphex(value, ==, 0x1af4);
    g_assert_true(dkvm_parse_hex("FFFF", 0xffff, &value));
    g_assert_cmphex(value, ==, 0xffff);
    g_assert_true(dkvm_parse_hex("ffffffffffffffff", G_MAXUINT64, &value));
    g_assert_cmphex(value, ==, G_MAXUINT64);
    g_assert_false(dkvm_parse_hex("1ffffffffffffffff", G_MAXUINT64, &value));
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(dkvm_parse_hex(bad[i], 0xffff, &value));
    g_assert_cmphex(value, ==, G_MAXUINT64);
}

static void test_numbers(void)
{
    unsigned value = 7, major_number, minor_number;
    const char *end = NULL;

    g_assert_true(dkvm_parse_number("226:0", 255, &value, &end));
    g_assert_cmpuint(value, ==, 226);
    g_assert_cmpstr(end, ==, ":0");
    g_assert_false(dkvm_parse_number("256", 255, &value, NULL));
    g_assert_false(dkvm_parse_number("", 255, &value, NULL));
    g_assert_false(dkvm_parse_number("-1", 255, &value, NULL));
    g_assert_false(dkvm_parse_number("99999999999999999999", 255, &value, NULL));
    g_assert_true(dkvm_parse_device_number("259:1048575", &major_number, &minor_number));
    g_assert_cmpuint(minor_number, ==, 1048575);
    g_assert_false(dkvm_parse_device_number("259:", &major_number, &minor_number));
    g_assert_false(dkvm_parse_device_number("259:1x", &major_number, &minor_number));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bdf/good", test_good);
    g_test_add_func("/bdf/bad", test_bad);
    g_test_add_func("/bdf/order", test_order);
    g_test_add_func("/bdf/hex", test_hex);
    g_test_add_func("/bdf/numbers", test_numbers);
    return g_test_run();
}
