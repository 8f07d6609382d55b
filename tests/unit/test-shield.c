/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The registers of devices that were given back without libvirt, which programs may read and not
 * write until it says release.  Real mounts, in a namespace of this process. */
#include "qemu-hook/shield.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include "tests/unit/handover-run.h"

#define GPU "0000:01:00.0"
#define SOUND "0000:01:00.1"
#define ALONG "0000:02:00.0"

static char *config_of(const char *bdf)
{
    return g_strconcat(root, "/sys/devices/pci0000:00/", bdf, "/config", NULL);
}

static void assert_writable(const char *bdf, gboolean yes)
{
    g_autofree char *path = config_of(bdf), *text = NULL;
    int fd = open(path, O_RDWR | O_CLOEXEC), cause = errno;

    if (yes)
        g_assert_cmpint(fd, >=, 0);
    else
        g_assert_true(fd < 0 && cause == EROFS);
    if (fd >= 0)
        (void)close(fd);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "registers");
}

/* How many of them are mounted. */
static guint mounts(void)
{
    g_autofree char *text = NULL;
    guint count = 0;

    g_assert_true(g_file_get_contents("/proc/self/mounts", &text, NULL, NULL));
    for (const char *p = text; (p = strstr(p, "/config ")); p++)
        count++;
    return count;
}

static void add_taken(DkvmHandover *handover, const char *bdf, DkvmTakenHow how)
{
    DkvmTaken *taken = g_new0(DkvmTaken, 1);
    g_autofree char *path = g_strconcat("/sys/devices/pci0000:00/", bdf, "/config", NULL);

    put(path, "registers");
    (void)g_strlcpy(taken->bdf, bdf, sizeof taken->bdf);
    taken->how = how;
    g_ptr_array_add(handover->devices, taken);
}

static DkvmHandover *three_devices(void)
{
    make_host();
    put_device(ALONG, "0x0c0330\n", NULL, 1);
    DkvmHandover *handover = must_load();

    add_taken(handover, GPU, DKVM_TAKEN_MANAGED);
    add_taken(handover, SOUND, DKVM_TAKEN_UNMANAGED);
    add_taken(handover, ALONG, DKVM_TAKEN_ALONG);
    return handover;
}

static void test_raise(void)
{
    g_autoptr(DkvmHandover) handover = three_devices();

    dkvm_shield_raise(handover);
    dkvm_shield_raise(handover);
    g_autofree char *text = dkvm_shield_text();
    g_assert_cmpstr(text, ==, GPU " " SOUND);
    g_assert_cmpuint(mounts(), ==, 2);
    assert_writable(GPU, FALSE);
    assert_writable(SOUND, FALSE);
    assert_writable(ALONG, TRUE);
    dkvm_shield_lower(GPU);
    assert_writable(GPU, TRUE);
    assert_writable(SOUND, FALSE);
    dkvm_shield_lower(SOUND);
    dkvm_shield_lower(SOUND);
    assert_writable(SOUND, TRUE);
    g_assert_cmpuint(mounts(), ==, 0);
    g_assert_null(dkvm_shield_text());
}

/* One that was pulled out, or taken from the bus and found anew. */
static void test_gone(void)
{
    g_autoptr(DkvmHandover) handover = three_devices();
    g_autofree char *path = config_of(SOUND);

    g_assert_cmpint(g_unlink(path), ==, 0);
    dkvm_shield_raise(handover);
    assert_writable(GPU, FALSE);
    g_assert_cmpuint(mounts(), ==, 1);
    put("/sys/devices/pci0000:00/" SOUND "/config", "registers");
    dkvm_shield_raise(handover);
    assert_writable(SOUND, FALSE);
    g_assert_cmpuint(mounts(), ==, 2);
    dkvm_shield_lower(GPU);
    dkvm_shield_lower(SOUND);
    g_assert_cmpuint(mounts(), ==, 0);
}

/* All of /sys may be read-only (a container): that is nobody's shield. */
static void test_not_ours(void)
{
    g_autoptr(DkvmHandover) handover = three_devices();
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    g_autofree char *sys = at("/sys");

    g_assert_cmpint(mount(sys, sys, NULL, MS_BIND, NULL), ==, 0);
    g_assert_cmpint(mount_setattr(AT_FDCWD, sys, 0, &read_only, sizeof read_only), ==, 0);
    dkvm_shield_raise(handover);
    dkvm_shield_lower(GPU);
    assert_writable(GPU, FALSE);
    g_assert_cmpint(umount2(sys, MNT_DETACH), ==, 0);
    assert_writable(GPU, TRUE);
}

static gboolean has_own_mounts(void)
{
    return unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static void test_skipped(void)
{
    g_test_skip("no namespace of our own");
}

static void add(void)
{
    if (!has_own_mounts()) {
        g_test_add_func("/shield", test_skipped);
        return;
    }
    g_test_add_func("/shield/raise", test_raise);
    g_test_add_func("/shield/gone", test_gone);
    g_test_add_func("/shield/not-ours", test_not_ours);
}

int main(int argc, char **argv)
{
    return run_below_root(add, argc, argv);
}
