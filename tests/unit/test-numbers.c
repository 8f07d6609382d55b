/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists of CPUs and interrupts. */
#include <glib.h>

#include "lib/numbers.h"

static void reads_as(const char *text, const char *expected)
{
    DkvmNumbers numbers;

    g_test_message("'%s'", text);
    g_assert_true(dkvm_numbers_parse(text, &numbers));
    g_autofree char *again = dkvm_numbers_text(&numbers);

    g_assert_cmpstr(again, ==, expected);
}

static void test_read(void)
{
    reads_as("", "");
    reads_as(" \n", "");
    reads_as("0", "0");
    reads_as("0-1,8-9", "0-1,8-9");
    reads_as(" 9 , 8,1-0003\n", "1-3,8-9");
    reads_as("4,5,6,8", "4-6,8");
    reads_as("0-7,^2,^7", "0-1,3-6");
    reads_as("^2,0-3", "0-3");
    reads_as("0,^0", "");
    reads_as("65534-65535", "65534-65535");
    reads_as("0-65535", "0-65535");
}

static void test_refuse(void)
{
    static const char *const bad[] = {
        "x",   "-1",    "1-",     "2-1", "1,,2", ",1",   "1,",      "0x1",
        "1 2", "1-2-3", "65536",  "+1",  "^",    "^1-2", "0-65536", "18446744073709551617",
        ",",   "1;2",   "0-7:2/4"};

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        DkvmNumbers numbers = {0};

        g_test_message("'%s'", bad[i]);
        dkvm_numbers_put(&numbers, 5);
        g_assert_false(dkvm_numbers_parse(bad[i], &numbers));
        g_assert_cmpuint(dkvm_numbers_count(&numbers), ==, 1);
        g_assert_true(dkvm_numbers_has(&numbers, 5));
    }
}

static void test_sets(void)
{
    DkvmNumbers a, b, c;

    g_assert_true(dkvm_numbers_parse("0-9", &a));
    g_assert_true(dkvm_numbers_parse("8-11", &b));
    g_assert_true(dkvm_numbers_parse("12,65535", &c));
    g_assert_true(dkvm_numbers_overlap(&a, &b));
    g_assert_false(dkvm_numbers_overlap(&a, &c));
    g_assert_cmpuint(dkvm_numbers_count(&a), ==, 10);
    dkvm_numbers_add(&a, &c);
    dkvm_numbers_remove(&a, &b);
    g_autofree char *text = dkvm_numbers_text(&a);
    g_assert_cmpstr(text, ==, "0-7,12,65535");
    g_assert_false(dkvm_numbers_has(&a, DKVM_NUMBERS_MAX));
    dkvm_numbers_put(&a, DKVM_NUMBERS_MAX);
    g_assert_cmpuint(dkvm_numbers_count(&a), ==, 10);
}

/* As systemd has them on the bus (cpu_set_to_dbus). */
static void test_bytes(void)
{
    DkvmNumbers a;

    g_assert_true(dkvm_numbers_parse("0-1,9,15", &a));
    g_assert_cmpuint(a.bits[0], ==, 0x03);
    g_assert_cmpuint(a.bits[1], ==, 0x82);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/numbers/read", test_read);
    g_test_add_func("/numbers/refuse", test_refuse);
    g_test_add_func("/numbers/sets", test_sets);
    g_test_add_func("/numbers/bytes", test_bytes);
    return g_test_run();
}
