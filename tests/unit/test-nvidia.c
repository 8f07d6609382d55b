/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-hook/step-nvidia.c, with modules and the driver's own files as files. */
#include <glib.h>

#include "tests/unit/handover-run.h"

#define GPU "0000:01:00.0"
#define LOCK "/proc/driver/nvidia/gpus/" GPU "/unbindLock"

static void make_nvidia(gboolean lock)
{
    make_host();
    put("/sys/bus/pci/drivers/nvidia/bind", "");
    put_device(GPU, "0x030000\n", "nvidia", 11);
    if (lock)
        put(LOCK, "0\n");
    g_assert_cmpint(fake_load("nvidia_drm"), ==, 0);
    g_assert_cmpint(fake_load("nvidia_uvm"), ==, 0);
}

static char *loaded(void)
{
    g_autofree char *folder = at("/sys/module");
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    while (dir && (name = g_dir_read_name(dir)))
        g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, by_text);
    g_ptr_array_add(names, NULL);
    return g_strjoinv(" ", (char **)names->pdata);
}

static void expect_loaded(const char *wanted)
{
    g_autofree char *got = loaded();

    g_assert_cmpstr(got, ==, wanted);
}

static void expect_driver(const char *wanted)
{
    g_autofree char *got = driver_of(GPU);

    g_assert_cmpstr(got, ==, wanted);
}

#define ALL "nvidia nvidia_drm nvidia_modeset nvidia_uvm"

static char *plan_text(void)
{
    g_autoptr(DkvmWants) wants = NULL;
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmPlan) plan = must_plan(&wants, &config);

    return dkvm_plan_text(plan);
}

static void test_there_and_back(void)
{
    for (int lock = 0; lock < 2; lock++) {
        make_nvidia(lock == 1);
        g_autofree char *text = plan_text();
        const char *drm = strstr(text, "unload the module nvidia_drm");
        const char *modeset = strstr(text, "unload the module nvidia_modeset");
        const char *proof = strstr(text, lock ? "driver confirm that nobody uses " GPU
                                              : "see that nobody uses nvidia's driver, for " GPU);
        const char *unbind = strstr(text, "take " GPU " from the driver nvidia");

        g_assert_true(drm && drm < modeset && modeset < proof && proof < unbind);
        g_autoptr(DkvmHandover) handover = must_load();

        g_assert_true(prepare(handover, NULL));
        expect_loaded("nvidia");
        expect_driver("vfio-pci");
        g_assert_true(dkvm_handover_restore(handover, "test"));
        g_assert_cmpstr(handover->problems->str, ==, "");
        expect_loaded(ALL);
        expect_driver("nvidia");
    }
}

/* The kernel's graph counts, not a list of ours. */
static void test_order(void)
{
    make_nvidia(TRUE);
    put("/sys/module/nvidia_uvm/holders/nvidia_modeset", "");
    g_autofree char *text = plan_text();
    const char *uvm = strstr(text, "unload the module nvidia_uvm");

    g_assert_true(uvm && uvm > strstr(text, "unload the module nvidia_modeset"));
    g_assert_true(strstr(text, "unload the module nvidia_modeset") >
                  strstr(text, "unload the module nvidia_drm"));
}

/* Only what was loaded comes back. */
static void test_some(void)
{
    make_nvidia(FALSE);
    g_assert_cmpint(fake_unload("nvidia_drm"), ==, 0);
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    expect_loaded("nvidia");
    g_assert_true(dkvm_handover_restore(handover, "test"));
    expect_loaded("nvidia nvidia_modeset nvidia_uvm");
}

/* The host has another one: its modules stay, and only unbindLock is a proof. */
static void test_second_gpu(void)
{
    make_nvidia(FALSE);
    put_device("0000:00:02.0", "0x030000\n", "nvidia", 1);
    g_autofree char *why = refusal();
    g_assert_nonnull(strstr(why, "no " LOCK));
    g_assert_nonnull(strstr(why, "since the host keeps 0000:00:02.0"));
    put(LOCK, "0\n");
    g_autofree char *none = refusal();
    g_assert_cmpstr(none, ==, NULL);
    g_autofree char *text = plan_text();
    g_assert_null(strstr(text, "unload"));
    g_autoptr(DkvmHandover) handover = must_load();
    g_assert_true(prepare(handover, NULL));
    expect_loaded(ALL);
    g_assert_true(dkvm_handover_restore(handover, "test"));
}

static void test_strangers(void)
{
    make_nvidia(TRUE);
    put("/sys/module/nvidia_uvm/holders/gdrdrv", "");
    g_autofree char *why = refusal();
    g_assert_nonnull(strstr(why, "The module gdrdrv uses nvidia_uvm. Unload it first"));
    make_nvidia(TRUE);
    put("/sys/module/nvidia/holders/nvidia_peermem", "");
    g_autofree char *other = refusal();
    g_assert_nonnull(strstr(other, "The module nvidia_peermem uses nvidia."));
}

/* A module or driver in use: nothing is unbound, and what was unloaded is loaded again. */
static void in_use(const char *module, const char *said)
{
    g_autofree char *count = g_strconcat("/sys/module/", module, "/refcnt", NULL);
    GError *error = NULL;

    make_nvidia(FALSE);
    put(count, "3\n");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_false(prepare(handover, &error));
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, said));
    g_error_free(error);
    g_assert_cmpint(handover->phase, ==, DKVM_PHASE_CLOSED);
    expect_loaded(ALL);
    expect_driver("nvidia");
}

static void test_in_use(void)
{
    in_use("nvidia_drm", "nvidia_drm is still in use (3 times): ");
    in_use("nvidia", "nvidia's driver is still in use (3 times), so " GPU " is not taken from it");
}

/* What does not say how often it is used is used. */
static void test_unknown(void)
{
    GError *error = NULL;
    g_autofree char *count = at("/sys/module/nvidia/refcnt");

    make_nvidia(FALSE);
    g_assert_cmpint(g_unlink(count), ==, 0);
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_false(prepare(handover, &error));
    g_assert_nonnull(strstr(error->message, "the kernel does not say"));
    g_error_free(error);
}

/* A proof that cannot be looked for is not one that is not there. */
static void test_unreadable(void)
{
    make_nvidia(FALSE);
    put("/proc/driver/nvidia/gpus/" GPU, "");
    g_autofree char *why = refusal();

    g_assert_nonnull(strstr(why, "cannot be seen: " LOCK ": Not a directory."));
}

static void kill_with(gboolean lock)
{
    gboolean lived = FALSE;
    guint killed = 0;

    for (guint32 number = 1; !lived; number++) {
        make_nvidia(lock);
        lived = cycle(number);
        recover();
        killed += !lived;
        expect_loaded(ALL);
        expect_driver("nvidia");
    }
    g_assert_cmpuint(killed, >, 50);
}

static void test_kill(void)
{
    kill_with(FALSE);
    kill_with(TRUE);
}

static void add(void)
{
    g_test_add_func("/nvidia/there-and-back", test_there_and_back);
    g_test_add_func("/nvidia/order", test_order);
    g_test_add_func("/nvidia/some", test_some);
    g_test_add_func("/nvidia/second-gpu", test_second_gpu);
    g_test_add_func("/nvidia/strangers", test_strangers);
    g_test_add_func("/nvidia/in-use", test_in_use);
    g_test_add_func("/nvidia/unknown", test_unknown);
    g_test_add_func("/nvidia/unreadable", test_unreadable);
    g_test_add_func("/nvidia/kill", test_kill);
}

int main(int argc, char **argv)
{
    return run_below_root(add, argc, argv);
}
