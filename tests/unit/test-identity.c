/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* udev/identity.c and udev/reservation.c. */
#include <glib.h>
#include <string.h>

#include "udev/reservation.h"

/* ---- slot paths ---- */

static void test_path(void)
{
    static const struct {
        const char *sysfs, *path; /* NULL: none */
    } cases[] = {
        {"../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0", "0000:00/01.0/00.0"},
        {"/sys/devices/pci0000:00/0000:00:1f.3", "0000:00/1f.3"},
        {"../../../devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0",
         "0000:00/0e.0/10000:e0/06.0/00.0"},
        {"../../../devices/pci0000:00", NULL},
        {"../../../devices/platform/x", NULL},
        {"0000:01:00.0", NULL},
        {"", NULL},
        {"////", NULL},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        char path[DKVM_SLOT_PATH_SIZE] = "";

        g_assert_true(dkvm_slot_path(cases[i].sysfs, path) == (cases[i].path != NULL));
        if (cases[i].path) {
            g_assert_cmpstr(path, ==, cases[i].path);
            g_assert_true(dkvm_slot_path_is_valid(path));
        }
    }
}

/* Two bus numbers, one slot: what a firmware update does. */
static void test_renumbered(void)
{
    char a[DKVM_SLOT_PATH_SIZE], b[DKVM_SLOT_PATH_SIZE];

    g_assert_true(dkvm_slot_path("/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0", a));
    g_assert_true(dkvm_slot_path("/sys/devices/pci0000:00/0000:00:01.0/0000:02:00.0", b));
    g_assert_cmpstr(a, ==, b);
}

static void test_path_too_long(void)
{
    g_autoptr(GString) sysfs = g_string_new("/sys/devices/pci0000:00");
    char path[DKVM_SLOT_PATH_SIZE];

    for (int i = 0; i < 100; i++)
        g_string_append(sysfs, "/0000:00:01.0");
    g_assert_false(dkvm_slot_path(sysfs->str, path));
}

/* ---- configuration space ---- */

static void put(guchar *config, gsize at, guint32 value)
{
    for (int i = 0; i < 4; i++)
        config[at + i] = (guchar)(value >> (8 * i));
}

static void test_serial(void)
{
    guchar config[4096] = {0};
    guint64 serial = 0;

    g_assert_false(dkvm_config_serial(config, sizeof config, &serial));
    put(config, 0x100, 0x000d | 1u << 16 | 0x140u << 20);
    put(config, 0x140, 0x0003 | 1u << 16);
    put(config, 0x144, 0x8f37a100);
    put(config, 0x148, 0x0048b02d);
    g_assert_true(dkvm_config_serial(config, sizeof config, &serial));
    g_assert_cmphex(serial, ==, 0x0048b02d8f37a100);
    g_assert_true(dkvm_config_has_extended(config, sizeof config, 0x000d));
    g_assert_false(dkvm_config_has_extended(config, sizeof config, 0x0001));
    /* Cut short, as a reader without rights gets it. */
    g_assert_false(dkvm_config_serial(config, 64, &serial));
    g_assert_false(dkvm_config_serial(config, 0x148, &serial));
    /* A list that never ends, and one that leaves the space. */
    put(config, 0x100, 0x0001 | 1u << 16 | 0x100u << 20);
    g_assert_false(dkvm_config_serial(config, sizeof config, &serial));
    put(config, 0x100, 0x0001 | 1u << 16 | 0xffcu << 20);
    g_assert_false(dkvm_config_serial(config, sizeof config, &serial));
}

/* ---- the reservation file ---- */

static int parse(const char *line, DkvmReservation *entry)
{
    const char *why = NULL;
    int result = dkvm_reservation_parse(line, strlen(line), entry, &why);

    g_assert_true((result < 0) == (why != NULL && result < 0));
    return result;
}

#define GOOD "0000:01:00.0 10de:2484 1462:3909 0000:00/01.0/00.0"

static void test_line(void)
{
    DkvmReservation entry = {0};
    char line[DKVM_RESERVATION_MAX_LINE];

    g_assert_cmpint(parse(GOOD, &entry), ==, 1);
    g_assert_cmpint(entry.id.vendor, ==, 0x10de);
    g_assert_cmpint(entry.id.subdevice, ==, 0x3909);
    g_assert_cmpstr(entry.id.path, ==, "0000:00/01.0/00.0");
    g_assert_cmpint(dkvm_bdf_compare(&entry.with, &entry.id.bdf), ==, 0);
    g_assert_false(entry.id.has_serial);

    const char *full = GOOD " for=0000:01:00.0 serial=48b02d8f37a1 reset=flr,bus";
    g_assert_cmpint(parse(full, &entry), ==, 1);
    g_assert_cmphex(entry.id.serial, ==, 0x48b02d8f37a1);
    g_assert_cmpstr(entry.reset, ==, "flr,bus");
    dkvm_reservation_format(&entry, line);
    g_assert_cmpstr(line, ==, full);

    g_assert_cmpint(parse("", &entry), ==, 0);
    g_assert_cmpint(parse("  # a comment", &entry), ==, 0);
    g_assert_cmpint(parse(" \t" GOOD " \t", &entry), ==, 1);
}

static void test_bad_lines(void)
{
    static const char *const bad[] = {
        "x",
        "0000:01:00.0",
        "0000:01:00.0 10de:2484",
        "0000:01:00.0 10de:2484 1462:3909",
        "0000:01:00.0 10de2484 1462:3909 0000:00/01.0/00.0",
        "0000:01:00.0 0x10:2484 1462:3909 0000:00/01.0/00.0",
        "0000:01:00.0 10de:2484 1462:3909 ../../../etc",
        "0000:01:00.0 10de:2484 1462:3909 0000:00//00.0",
        GOOD " for=x",
        GOOD " serial=",
        GOOD " serial=1ffffffffffffffff",
        GOOD " reset=",
        GOOD " reset=flr;reboot",
        GOOD " reset=$(reboot)",
        GOOD " unknown=1",
        GOOD " \x01",
    };
    DkvmReservation entry = {.reset = "kept"};

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_cmpint(parse(bad[i], &entry), ==, -1);
        g_assert_cmpstr(entry.reset, ==, "kept");
    }
    g_autofree char *longer = g_strnfill(5000, 'a');
    g_assert_cmpint(parse(longer, &entry), ==, -1);
}

static void count_bad(unsigned line, const char *why, void *data)
{
    guint *lines = data;

    *lines = *lines * 10 + line;
}

static void test_file(void)
{
    g_autofree DkvmReservation *entries = g_new0(DkvmReservation, DKVM_RESERVATION_MAX);
    const char *text = "# list\n" GOOD "\nbad\n\n" GOOD;
    guint bad = 0;

    g_assert_cmpuint(dkvm_reservation_parse_all(text, strlen(text), entries, count_bad, &bad), ==,
                     2);
    g_assert_cmpuint(bad, ==, 3);

    g_autoptr(GString) many = g_string_new(NULL);
    for (int i = 0; i < DKVM_RESERVATION_MAX + 1; i++)
        g_string_append(many, GOOD "\n");
    bad = 0;
    g_assert_cmpuint(dkvm_reservation_parse_all(many->str, many->len, entries, count_bad, &bad), ==,
                     DKVM_RESERVATION_MAX);
    g_assert_cmpuint(bad, ==, DKVM_RESERVATION_MAX + 1);
}

static void test_difference(void)
{
    DkvmReservation a = {0}, b;

    g_assert_cmpint(parse(GOOD " serial=5", &a), ==, 1);
    b = a;
    g_assert_null(dkvm_identity_difference(&a.id, &b.id));
    b.id.has_serial = FALSE; /* not readable now: no reason to refuse */
    g_assert_null(dkvm_identity_difference(&a.id, &b.id));
    b = a;
    b.id.serial = 6;
    g_assert_cmpstr(dkvm_identity_difference(&a.id, &b.id), ==, "another serial number");
    b = a;
    b.id.device++;
    g_assert_cmpstr(dkvm_identity_difference(&a.id, &b.id), ==, "other ids");
    b = a;
    b.id.subvendor++;
    g_assert_cmpstr(dkvm_identity_difference(&a.id, &b.id), ==, "another subsystem");
    b = a;
    b.id.path[6]++;
    g_assert_cmpstr(dkvm_identity_difference(&a.id, &b.id), ==, "another slot");
    b = a;
    b.id.bdf.bus++;
    g_assert_cmpstr(dkvm_identity_difference(&a.id, &b.id), ==, "another address");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/identity/path", test_path);
    g_test_add_func("/identity/renumbered", test_renumbered);
    g_test_add_func("/identity/path-too-long", test_path_too_long);
    g_test_add_func("/identity/serial", test_serial);
    g_test_add_func("/identity/difference", test_difference);
    g_test_add_func("/reservation/line", test_line);
    g_test_add_func("/reservation/bad-lines", test_bad_lines);
    g_test_add_func("/reservation/file", test_file);
    return g_test_run();
}
