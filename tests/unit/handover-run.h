/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One hand-over of the GPU of handover-host.h, there and back, for the tests of single steps. */
#pragma once

#include <sys/wait.h>

#include "lib/error.h"
#include "qemu-hook/plan.h"
#include "qemu-hook/rundir.h"
#include "tests/unit/handover-host.h"

/* As XML. */
static const char *vm_name = "mac";
/* Its <metadata>. */
static const char *vm_metadata = "";

/* The plan is of WANTS and CONFIG, which must outlive it. */
static DkvmPlan *must_plan(DkvmWants **wants, DkvmConfig **config)
{
    GError *error = NULL;
    g_autofree char *xml = g_strdup_printf(
        "<domain type='kvm'><name>%s</name><uuid>" UUID "</uuid>%s<devices>"
        "<hostdev mode='subsystem' type='pci' managed='no'><source>"
        "<address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source></hostdev>"
        "</devices></domain>",
        vm_name, vm_metadata);

    *config = dkvm_config_load(&error);
    g_assert_no_error(error);
    *wants = dkvm_wants_parse(xml, strlen(xml), *config, &error);
    g_assert_no_error(error);
    DkvmPlan *plan = dkvm_plan_new(*wants, *config, &error);

    g_assert_no_error(error);
    return plan;
}

/* All reasons why it is refused; NULL if it is not. */
static G_GNUC_UNUSED char *refusal(void)
{
    g_autoptr(DkvmWants) wants = NULL;
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmPlan) plan = must_plan(&wants, &config);

    return plan->refusals->len > 0 ? dkvm_plan_reasons(plan) : NULL;
}

static gboolean prepare(DkvmHandover *handover, GError **error)
{
    g_autoptr(DkvmWants) wants = NULL;
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmPlan) plan = must_plan(&wants, &config);
    g_autofree char *reasons = plan->refusals->len > 0 ? dkvm_plan_reasons(plan) : NULL;

    g_assert_cmpstr(reasons, ==, NULL);
    return dkvm_handover_begin(handover, wants->name, g_steal_pointer(&plan->devices),
                               g_steal_pointer(&plan->actions), error) &&
           dkvm_handover_prepare(handover, error);
}

static guint32 kill_at;

static void kill_here(guint32 number)
{
    if (number == kill_at)
        (void)kill(getpid(), SIGKILL);
}

/* There and back in a process that is killed after journal record NUMBER; TRUE if it lived, since
 * there are fewer. */
static G_GNUC_UNUSED gboolean cycle(guint32 number)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        DkvmHandover *handover = must_load();

        kill_at = number;
        dkvm_journal_appended = kill_here;
        (void)prepare(handover, NULL);
        (void)dkvm_handover_restore(handover, "test");
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    return WIFEXITED(status);
}

/* What the next guard does. */
static G_GNUC_UNUSED void recover(void)
{
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(dkvm_handover_restore(handover, "recovery"));
    g_assert_cmpstr(handover->problems->str, ==, "");
}

static char *driver_of(const char *bdf)
{
    g_autofree char *path = g_strconcat(root, "/sys/bus/pci/devices/", bdf, "/driver", NULL);
    g_autofree char *link = g_file_read_link(path, NULL);

    return link ? g_path_get_basename(link) : g_strdup("");
}

static G_GNUC_UNUSED void assert_home(void)
{
    g_autofree char *gpu = driver_of("0000:01:00.0"), *sound = driver_of("0000:01:00.1");

    g_assert_cmpstr(gpu, ==, "bochs-drm");
    g_assert_cmpstr(sound, ==, "snd_hda_intel");
}

/* Runs the tests that ADD adds, below a root of files. */
static int run_below_root(void (*add)(void), int argc, char **argv)
{
    g_autofree char *folder = make_folder();

    root = g_build_filename(folder, "root", NULL);
    g_assert_true(g_setenv("DKVM_ROOT", root, TRUE));
    g_test_init(&argc, &argv, NULL);
    dkvm_worker_act = fake_kernel;
    add();
    int failed = g_test_run();

    remove_tree(folder);
    g_free(root);
    return failed;
}
