/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* udev/helper.c (what dkvm-udev does) on small trees: only reserved devices that are the reserved
 * ones get driver_override. */
#include <glib.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "udev/helper.h"
#include "udev/reservation.h"

#define GPU "0000:01:00.0"
#define TWIN "0000:02:00.0"

typedef struct {
    char *root;
} Tree;

static void put(const Tree *t, const char *path, const char *text)
{
    g_autofree char *full = g_strconcat(t->root, path, NULL);
    g_autofree char *folder = g_path_get_dirname(full);

    g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
    g_assert_true(g_file_set_contents(full, text, -1, NULL));
}

/* A device behind the root port SLOT of bus 0; both have the same ids. */
static void add(const Tree *t, const char *bdf, const char *slot)
{
    g_autofree char *target =
        g_strdup_printf("../../../devices/pci0000:00/0000:00:%s/%s", slot, bdf);
    g_autofree char *folder = g_strdup_printf("/sys/devices/pci0000:00/0000:00:%s/%s/", slot, bdf);
    g_autofree char *link = g_strdup_printf("%s/sys/bus/pci/devices/%s", t->root, bdf);
    g_autofree char *links = g_path_get_dirname(link);
    static const struct {
        const char *name, *text;
    } files[] = {{"vendor", "0x10de\n"},
                 {"device", "0x2484\n"},
                 {"subsystem_vendor", "0x1462\n"},
                 {"subsystem_device", "0x3909\n"},
                 {"driver_override", "(null)\n"}};

    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_strconcat(folder, files[i].name, NULL);

        put(t, path, files[i].text);
    }
    g_assert_cmpint(g_mkdir_with_parents(links, 0755), ==, 0);
    g_assert_cmpint(symlink(target, link), ==, 0);
}

static Tree tree_new(void)
{
    Tree t = {g_dir_make_tmp("dkvm-helper-XXXXXX", NULL)};

    add(&t, GPU, "01.0");
    add(&t, TWIN, "02.0");
    return t;
}

static void tree_clear(Tree *t)
{
    const char *argv[] = {"rm", "-rf", t->root, NULL};

    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL,
                               NULL, NULL, NULL));
    g_free(t->root);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Tree, tree_clear)

static void reserve(const Tree *t, const char *text)
{
    put(t, DKVM_RESERVATION_FILE, text);
}

static void assert_override(const Tree *t, const char *bdf, const char *expected)
{
    g_autofree char *path =
        g_strconcat(t->root, "/sys/bus/pci/devices/", bdf, "/driver_override", NULL);
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_strstrip(text);
    /* A plain file keeps the rest of what was longer; the kernel's does not. */
    g_assert_true(g_str_has_prefix(text, expected));
}

#define LINE GPU " 10de:2484 1462:3909 0000:00/01.0/00.0 for=" GPU "\n"

static void test_one_of_two(void)
{
    g_auto(Tree) t = tree_new();

    reserve(&t, "# list\n" LINE);
    dkvm_helper_boot(t.root);
    assert_override(&t, GPU, "vfio-pci");
    assert_override(&t, TWIN, "(null)");
}

/* The twin is seen first; its event must not let its driver take the reserved one. */
static void test_event_of_the_other(void)
{
    g_auto(Tree) t = tree_new();

    reserve(&t, LINE);
    dkvm_helper_event(t.root, "add", "pci", TWIN);
    assert_override(&t, GPU, "vfio-pci");
    assert_override(&t, TWIN, "(null)");
}

/* A hand-over has cleared the override and gives the device back to its driver. */
static void test_bind_and_unbind(void)
{
    g_auto(Tree) t = tree_new();

    reserve(&t, LINE);
    dkvm_helper_event(t.root, "unbind", "pci", GPU);
    dkvm_helper_event(t.root, "bind", "pci", GPU);
    dkvm_helper_event(t.root, "bind", "pci", TWIN);
    assert_override(&t, GPU, "(null)");
    dkvm_helper_event(t.root, "change", "pci", GPU);
    assert_override(&t, GPU, "vfio-pci");
}

static void assert_said(const Tree *t, const char *expected)
{
    g_autofree char *path = g_strconcat(t->root, "/dev/kmsg", NULL);
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_nonnull(strstr(text, expected));
}

/* The firmware gave the same slot another bus number. */
static void test_moved(void)
{
    g_auto(Tree) t = tree_new();

    put(&t, "/dev/kmsg", "");
    reserve(&t, "0000:09:00.0 10de:2484 1462:3909 0000:00/01.0/00.0\n");
    dkvm_helper_event(t.root, "add", "pci", GPU);
    assert_override(&t, GPU, "(null)");
    assert_said(&t, GPU " looks like the device that was reserved as 0000:09:00.0");
    dkvm_helper_boot(t.root);
    assert_said(&t, "0000:09:00.0 is reserved, but there is no such device");
}

static void test_refused(void)
{
    static const char *const lines[] = {
        GPU " 10de:2485 1462:3909 0000:00/01.0/00.0\n",
        GPU " 10de:2484 1462:3908 0000:00/01.0/00.0\n",
        GPU " 10de:2484 1462:3909 0000:00/03.0/00.0\n",
        "0000:09:00.0 10de:2484 1462:3909 0000:00/01.0/00.0\n",
        "rubbish\n",
        "",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_auto(Tree) t = tree_new();

        reserve(&t, lines[i]);
        dkvm_helper_boot(t.root);
        dkvm_helper_event(t.root, "add", "pci", GPU);
        assert_override(&t, GPU, "(null)");
        assert_override(&t, TWIN, "(null)");
    }
}

static void test_set_by_another(void)
{
    g_auto(Tree) t = tree_new();

    reserve(&t, LINE);
    put(&t, "/sys/bus/pci/devices/" GPU "/driver_override", "pci-stub\n");
    dkvm_helper_boot(t.root);
    assert_override(&t, GPU, "pci-stub");
}

static void test_nonsense(void)
{
    g_auto(Tree) t = tree_new();
    static const char *const slots[] = {NULL, "", "x", "../../..", "0000:01:00.0/", "99:99.9"};

    reserve(&t, LINE);
    for (gsize i = 0; i < G_N_ELEMENTS(slots); i++)
        dkvm_helper_event(t.root, "add", "pci", slots[i]);
    dkvm_helper_event(t.root, "add", "usb", GPU);
    dkvm_helper_event(t.root, "add", NULL, GPU);
    dkvm_helper_event(t.root, "remove", "pci", GPU);
    assert_override(&t, GPU, "(null)");
    dkvm_helper_event(t.root, NULL, "pci", GPU);
    assert_override(&t, GPU, "vfio-pci");
}

static void test_too_large(void)
{
    g_auto(Tree) t = tree_new();
    g_autoptr(GString) text = g_string_new(LINE);

    while (text->len <= DKVM_RESERVATION_MAX_FILE)
        g_string_append(text, "# padding padding padding padding padding padding\n");
    reserve(&t, text->str);
    dkvm_helper_boot(t.root);
    assert_override(&t, GPU, "(null)");
}

static void test_properties(void)
{
    if (g_test_subprocess()) {
        g_auto(Tree) t = tree_new();

        reserve(&t, GPU " 10de:2484 1462:3909 0000:00/01.0/00.0 reset=flr,bus\n");
        dkvm_helper_event(t.root, "add", "pci", TWIN);
        dkvm_helper_event(t.root, "add", "pci", GPU);
        (void)fflush(stdout);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stdout("*DKVM_RESERVED=vfio-pci\nDKVM_RESET=flr,bus\n*");
    g_test_trap_assert_stdout_unmatched("*DKVM_RESERVED*DKVM_RESERVED*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/helper/one-of-two", test_one_of_two);
    g_test_add_func("/helper/event-of-the-other", test_event_of_the_other);
    g_test_add_func("/helper/bind-and-unbind", test_bind_and_unbind);
    g_test_add_func("/helper/moved", test_moved);
    g_test_add_func("/helper/refused", test_refused);
    g_test_add_func("/helper/set-by-another", test_set_by_another);
    g_test_add_func("/helper/nonsense", test_nonsense);
    g_test_add_func("/helper/too-large", test_too_large);
    g_test_add_func("/helper/properties", test_properties);
    return g_test_run();
}
