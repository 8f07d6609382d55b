/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-hook/engine.c and the steps on a tree of files with a kernel of the test's own behind the
 * worker: killed after every journal record, in guard or worker, the host comes back. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/log.h"
#include "qemu-hook/plan.h"
#include "qemu-hook/rundir.h"
#include "qemu-hook/step.h"
#include "qemu-hook/users.h"
#include "tests/unit/handover-host.h"
#include "tests/unit/kills.h"

#define OTHER "99999999-2222-3333-4444-555555555555"

/* ---- pictures --------------------------------------------------------------------------- */

static char *picture(void)
{
    GString *text = g_string_new(NULL);
    g_autofree char *sys = at("/sys"), *own = at("/run/dkvm/own"), *lib = at("/var/lib/dkvm");

    add_picture(text, sys);
    if (g_file_test(own, G_FILE_TEST_IS_DIR))
        add_picture(text, own);
    if (g_file_test(lib, G_FILE_TEST_IS_DIR))
        add_picture(text, lib);
    return g_string_free(text, FALSE);
}

/* ---- hand-overs ------------------------------------------------------------------------- */

static const char *const domain =
    "<domain type='kvm'><name>mac</name><uuid>" UUID "</uuid><devices>"
    "<hostdev mode='subsystem' type='pci' managed='no'><source>"
    "<address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source></hostdev>"
    "</devices></domain>";

static gboolean prepare(DkvmHandover *handover, GError **error)
{
    return hand_over(handover, domain, error);
}

static void there_and_back(DkvmHandover *handover)
{
    (void)prepare(handover, NULL);
    (void)dkvm_handover_restore(handover, "test");
}

/* In a process of its own, of which nothing is left in this one. */
static void cycle(void)
{
    g_assert_cmpint(run_and_kill(there_and_back, KILL_GUARD, 0), ==, KILLED_NOBODY);
}

/* What the next guard does. */
static void recover(void)
{
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(dkvm_handover_restore(handover, "recovery"));
    g_assert_cmpstr(handover->problems->str, ==, "");
}

/* Process 77 has /dev/null open, which stands for the node NAME of a device in SUBSYSTEM. */
static guint users_of_node(const char *name, const char *subsystem)
{
    const char *device = "/sys/devices/pci0000:00/0000:01:00.1";
    g_autofree char *node = g_strdup_printf("%s/%s", device, name);
    g_autofree char *number = g_strconcat(node, "/dev", NULL);
    g_autofree char *link = g_strconcat(node, "/subsystem", NULL);
    g_autofree char *target = g_strconcat("../../../../class/", subsystem, NULL);
    const DkvmDevice looked_at = {.sysfs = (char *)device, .name = "0000:01:00.1"};

    make_host();
    put(number, "1:3\n");
    put_link(link, target);
    put("/proc/77/comm", "holder\n");
    put_link("/proc/77/fd/5", "/dev/null");
    g_autoptr(GPtrArray) users = dkvm_users(&looked_at, NULL);
    g_autofree char *text = dkvm_users_text(&looked_at);

    g_assert_cmpint(users->len > 0, ==, strstr(text, "holder (77) has /dev/null open") != NULL);
    return users->len;
}

/* logind has each keyboard open, which keeps no USB controller on the host. */
static void test_users(void)
{
    g_assert_cmpuint(users_of_node("controlC0", "sound"), ==, 1);
    g_assert_cmpuint(users_of_node("card1", "drm"), ==, 1);
    g_assert_cmpuint(users_of_node("i2c-5/i2c-dev/i2c-5", "i2c-dev"), ==, 1);
    g_assert_cmpuint(users_of_node("drm/card1/card1-DP-1/drm_dp_aux0", "drm_dp_aux_dev"), ==, 1);
    g_assert_cmpuint(users_of_node("event5", "input"), ==, 0);
    g_assert_cmpuint(users_of_node("hidraw0", "hidraw"), ==, 0);
    g_assert_cmpuint(users_of_node("1-1", "usb"), ==, 0);
}

/* A function whose windows a reset has lost is found anew; also by the next one, where the first
 * was ended between the two halves of it. */
static void test_lost_place(void)
{
    for (int i = 0; i < 2; i++) {
        make_host();
        put_config("0000:01:00.0", 0xfc);
        put_config("0000:01:00.1", 0xfc);
        g_autofree char *before = picture();
        g_autoptr(DkvmHandover) handover = must_load();

        fail_rescan = i == 1; /* the worker begins with prepare */
        g_assert_true(prepare(handover, NULL));
        put_config("0000:01:00.0", 0);
        if (i == 1) {
            g_assert_false(dkvm_handover_restore(handover, "test"));
            g_assert_cmpuint(handover->problems->len, >, 0);
            g_clear_pointer(&handover, dkvm_handover_free);
            fail_rescan = FALSE;
            recover();
        } else {
            g_assert_true(dkvm_handover_restore(handover, "test"));
        }
        g_autofree char *after = picture();
        g_assert_cmpstr(after, ==, before);
    }
}

static void test_there_and_back(void)
{
    GError *error = NULL;

    make_host();
    g_autofree char *before = picture();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, &error));
    g_assert_no_error(error);
    for (int i = 0; i < 3; i++) {
        g_autofree char *path =
            g_strdup_printf("%s/sys/devices/pci0000:00/0000:01:00.%d/driver", root, i);
        g_autofree char *link = g_file_read_link(path, NULL);

        g_assert_cmpstr(link, ==, "../../../bus/pci/drivers/vfio-pci");
    }
    g_assert_cmpint(handover->devices->len, ==, 3);
    /* The GPU leaves last. */
    const DkvmTaken *last = g_ptr_array_index(handover->devices, 2);
    g_assert_cmpstr(last->bdf, ==, "0000:01:00.0");
    g_assert_cmpint(last->how, ==, DKVM_TAKEN_UNMANAGED);
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_autofree char *after = picture();
    /* The folders of own/ and lib/ are new. */
    g_assert_true(g_str_has_prefix(after, before));
    g_assert_null(strstr(after, UUID));
}

/* Whether the frame buffer with its region in LINE of /proc/iomem is taken off the GPU, and given
 * back. */
static gboolean is_taken_off(const char *line)
{
    GError *error = NULL;

    make_host();
    put_frame_buffer(line);
    g_autofree char *link = at("/sys/bus/platform/devices/efi-framebuffer.0/driver");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, &error));
    g_assert_no_error(error);
    gboolean taken = !g_file_test(link, G_FILE_TEST_IS_SYMLINK);
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_assert_cmpstr(handover->problems->str, ==, "");
    g_autofree char *target = g_file_read_link(link, NULL);
    g_assert_cmpstr(target, ==, "../../drivers/efi-framebuffer");
    return taken;
}

/* What its driver does not want back any more is no reason to keep the rest; what fails otherwise
 * is tried again. */
static void test_firmware_refused(void)
{
    GError *error = NULL;
    static const int causes[] = {ENODEV, EBUSY, EIO};

    for (gsize i = 0; i < G_N_ELEMENTS(causes); i++) {
        make_host();
        put_frame_buffer("  fd000000-fd3fffff : efifb");
        g_autofree char *link = at("/sys/bus/platform/devices/efi-framebuffer.0/driver");
        g_autoptr(DkvmHandover) handover = must_load();

        g_assert_true(prepare(handover, &error));
        g_assert_no_error(error);
        platform_answer = causes[i];
        g_clear_pointer(&handover->worker, dkvm_worker_free); /* one that knows */
        handover->worker = dkvm_worker_new();
        g_assert_cmpint(dkvm_handover_restore(handover, "test"), ==, causes[i] != EIO);
        platform_answer = 0;
        g_assert_false(g_file_test(link, G_FILE_TEST_IS_SYMLINK));
        g_assert_cmpint(handover->phase, ==,
                        causes[i] == EIO ? DKVM_PHASE_RESTORING : DKVM_PHASE_CLOSED);
    }
}

static void test_firmware(void)
{
    g_assert_true(is_taken_off("  fd000000-fd3fffff : efifb"));
    g_assert_true(is_taken_off("  fd000000-fdffffff : BOOTFB"));
    g_assert_false(is_taken_off("  fd000000-fd3fffff : bochs-drm"));
    g_assert_false(is_taken_off("  fc000000-fd3fffff : efifb"));
    g_assert_false(is_taken_off("  fd000000-fe000000 : efifb"));
    g_assert_false(is_taken_off("  fd000000+fd3fffff : efifb"));
    g_assert_false(is_taken_off("  fd000000- : efifb"));
}

static void put_program(const char *path)
{
    g_autofree char *full = at(path);

    put(path, "#!/bin/sh\nexit 0\n");
    g_assert_cmpint(chmod(full, 0755), ==, 0);
}

static char *picture_before;

/* Recovered, the host is as before. */
static void recover_and_look(void)
{
    recover();
    g_autofree char *after = picture();

    g_assert_cmpstr(after, ==, picture_before);
}

static guint kill_after_each_record(KillWhom whom)
{
    make_host();
    put_program("/etc/dkvm/pre.d/one");
    put_program("/etc/dkvm/post.d/one");
    cycle();
    picture_before = picture();
    guint killed = kill_everywhere(there_and_back, whom, recover_and_look);

    g_clear_pointer(&picture_before, g_free);
    return killed;
}

static void test_kill_guard(void)
{
    g_assert_cmpuint(kill_after_each_record(KILL_GUARD), >, 60);
}

static void test_kill_worker(void)
{
    g_assert_cmpuint(kill_after_each_record(KILL_WORKER), >, 45);
}

/* Every write of prepare fails in turn, with an error or without effect: rolled back. */
static void fail_everywhere(int cause, gboolean silent)
{
    make_host();
    cycle();
    g_autofree char *before = picture();
    guint failures = 0, late = 0;

    for (fail_number = 0; fail_number < 40; fail_number++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(DkvmHandover) handover = must_load();

        fail_count = 0;
        fail_cause = cause;
        fail_silent = silent;
        gboolean ok = prepare(handover, &error);

        if (ok) {
            /* In the way back: what failed is tried again, and nothing else was held up by it. */
            gboolean first = dkvm_handover_restore(handover, "test");

            g_assert_true(first || dkvm_handover_restore(handover, "again"));
            g_autofree char *last = picture();

            g_assert_cmpstr(last, ==, before);
            late += !first;
            if (first && late > 0)
                break;
            continue;
        }
        failures++;
        g_assert_nonnull(error);
        g_assert_cmpint(handover->phase, ==, DKVM_PHASE_CLOSED);
        g_autofree char *after = picture();

        g_assert_cmpstr(after, ==, before);
    }
    fail_number = -1;
    g_assert_cmpuint(failures, >=, 9);
    g_assert_cmpuint(late, >=, 5);
}

static void test_fail(void)
{
    static const int causes[] = {EIO, EBUSY};

    for (gsize i = 0; i < G_N_ELEMENTS(causes); i++)
        fail_everywhere(causes[i], FALSE);
}

/* Somebody else took the device meanwhile: it stays theirs, and the rest comes back. */
static void test_foreign(void)
{
    GError *error = NULL;

    make_host();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, &error));
    put_link("/sys/devices/pci0000:00/0000:01:00.1/driver", "../../../bus/pci/drivers/pci-stub");
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_assert_nonnull(strstr(handover->problems->str, "0000:01:00.1"));
    g_autofree char *gpu = at("/sys/devices/pci0000:00/0000:01:00.0/driver");
    g_autofree char *link = g_file_read_link(gpu, NULL);
    g_assert_cmpstr(link, ==, "../../../bus/pci/drivers/bochs-drm");
}

static void test_owned(void)
{
    GError *error = NULL;

    make_host();
    g_autofree char *before = picture();
    g_autoptr(DkvmHandover) handover = must_load();

    put("/run/dkvm/own/0000:01:00.1", OTHER);
    g_assert_false(prepare(handover, &error));
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED);
    g_assert_nonnull(strstr(error->message, OTHER));
    g_clear_error(&error);
    g_autofree char *after = picture();
    g_assert_true(g_str_has_prefix(after, before));
}

/* Another device at the address: the journal's values are not put into it, and its neighbours come
 * back. */
static void test_exchanged(void)
{
    GError *error = NULL;

    make_host();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, &error));
    put("/sys/devices/pci0000:00/0000:01:00.0/device", "0x2222\n");
    g_autofree char *folder = at("/sys/devices/pci0000:00/0000:01:00.0");
    g_autoptr(GString) before = g_string_new(NULL), after = g_string_new(NULL);

    add_picture(before, folder);
    g_assert_nonnull(strstr(before->str, "/driver ../../../bus/pci/drivers/vfio-pci"));
    g_assert_nonnull(strstr(before->str, "/driver_override vfio-pci"));
    g_assert_true(dkvm_handover_restore(handover, "test"));
    add_picture(after, folder);
    g_assert_cmpstr(after->str, ==, before->str);
    g_autofree char *sound = at("/sys/devices/pci0000:00/0000:01:00.1/driver");
    g_autofree char *link = g_file_read_link(sound, NULL);
    g_assert_cmpstr(link, ==, "../../../bus/pci/drivers/snd_hda_intel");
}

/* A journal of another boot is nothing. */
static void test_other_boot(void)
{
    make_host();
    {
        GError *error = NULL;
        g_autoptr(DkvmHandover) handover = must_load();

        g_assert_true(prepare(handover, &error));
    }
    put("/proc/sys/kernel/random/boot_id", "another\n");
    g_autoptr(DkvmHandover) handover = must_load();
    g_assert_cmpint(handover->phase, ==, DKVM_PHASE_NEW);
    g_assert_cmpint(handover->actions->len, ==, 0);
}

/* A write that does not come back within its 10 seconds: the worker is ended, another one rolls
 * back. */
static void test_late(void)
{
    GError *error = NULL;

    make_host();
    cycle();
    g_autofree char *before = picture();
    g_autoptr(DkvmHandover) handover = must_load();

    fail_number = 3;
    fail_count = 0;
    fail_cause = -1;
    dkvm_worker_start(handover->worker);
    fail_number = -1;
    g_assert_false(prepare(handover, &error));
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED);
    g_clear_error(&error);
    g_autofree char *after = picture();
    g_assert_cmpstr(after, ==, before);
}

static void note_stuck(DkvmHandover *handover, const char *bdf, pid_t pid)
{
    for (guint i = 0; i < handover->actions->len; i++) {
        DkvmAction *action = g_ptr_array_index(handover->actions, i);

        if (!g_str_equal(action->step->name, "bind") || !g_str_equal(action->target, bdf))
            continue;
        g_autofree char *number = g_strdup_printf("%u", action->number);
        g_autofree char *process = g_strdup_printf("%d", (int)pid);
        g_autofree char *start = g_strdup_printf("%" G_GUINT64_FORMAT, dkvm_process_start(pid));

        g_assert_cmpuint(dkvm_journal_append(handover->journal, NULL, DKVM_RECORD_LATE, number,
                                             process, start, NULL),
                         !=, 0);
    }
}

/* A worker that cannot be killed: all but its device comes back, everybody else is refused, and
 * when it ends the rest comes back too. */
static void test_wedged(void)
{
    GError *error = NULL;
    pid_t pid = fork();
    g_autofree char *text = NULL;

    if (pid == 0)
        for (;;)
            (void)pause();
    make_host();
    g_autofree char *stat = g_strdup_printf("/proc/%d/stat", (int)pid);
    g_autofree char *real = NULL;
    g_assert_true(g_file_get_contents(stat, &real, NULL, NULL));
    put(stat, real);
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, &error));
    note_stuck(handover, "0000:01:00.1", pid);
    g_clear_pointer(&handover, dkvm_handover_free);
    handover = must_load();
    g_assert_true(dkvm_handover_is_wedged(handover));
    g_assert_false(dkvm_handover_restore(handover, "test"));
    g_autofree char *gpu = at("/sys/devices/pci0000:00/0000:01:00.0/driver");
    g_autofree char *sound = at("/sys/devices/pci0000:00/0000:01:00.1/driver");
    g_autofree char *link = g_file_read_link(gpu, NULL);
    g_autofree char *held = g_file_read_link(sound, NULL);
    g_assert_cmpstr(link, ==, "../../../bus/pci/drivers/bochs-drm");
    g_assert_cmpstr(held, ==, "../../../bus/pci/drivers/vfio-pci");
    g_assert_true(dkvm_host_is_wedged(&text));
    g_assert_nonnull(strstr(text, "0000:01:00.1"));
    g_autoptr(DkvmHandover) other = must_load();
    g_assert_false(prepare(other, &error));
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_HOST);
    g_clear_error(&error);

    g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
    (void)waitpid(pid, NULL, 0);
    g_autofree char *gone = at(stat);
    (void)g_unlink(gone);
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_clear_pointer(&held, g_free);
    held = g_file_read_link(sound, NULL);
    g_assert_cmpstr(held, ==, "../../../bus/pci/drivers/snd_hda_intel");
}

int main(int argc, char **argv)
{
    g_autofree char *folder = make_folder();

    root = g_build_filename(folder, "root", NULL);
    g_assert_true(g_setenv("DKVM_ROOT", root, TRUE));
    g_test_init(&argc, &argv, NULL);
    dkvm_worker_act = fake_kernel;
    g_test_add_func("/handover/users", test_users);
    g_test_add_func("/handover/lost-place", test_lost_place);
    g_test_add_func("/handover/firmware", test_firmware);
    g_test_add_func("/handover/firmware-refused", test_firmware_refused);
    g_test_add_func("/handover/there-and-back", test_there_and_back);
    g_test_add_func("/handover/kill-guard", test_kill_guard);
    g_test_add_func("/handover/kill-worker", test_kill_worker);
    g_test_add_func("/handover/fail", test_fail);
    g_test_add_func("/handover/foreign", test_foreign);
    g_test_add_func("/handover/owned", test_owned);
    g_test_add_func("/handover/exchanged", test_exchanged);
    g_test_add_func("/handover/other-boot", test_other_boot);
    g_test_add_func("/handover/late", test_late);
    g_test_add_func("/handover/wedged", test_wedged);
    int failed = g_test_run();

    remove_tree(folder);
    g_free(root);
    return failed;
}
