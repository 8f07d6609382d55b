/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps that a configuration turns on, hugepages, bar and reset, on a tree of files with a
 * kernel of the test's own: there and back, killed after every journal record. */
#include <sys/wait.h>

#include "lib/error.h"
#include "qemu-hook/plan.h"
#include "qemu-hook/rundir.h"
#include "tests/unit/bad-read.h"
#include "tests/unit/kills.h"
#include "tests/unit/pages-host.h"

#define GPU "/sys/devices/pci0000:00/0000:01:00.0"

/* ---- a host ----------------------------------------------------------------------------- */

/* 100 huge pages, 60 of them free; the GPU has a BAR 0 of 256 MiB that can have 8 GiB, and a BAR 2,
 * the doorbells, that can have less. */
static void make_options(const char *lines)
{
    g_autofree char *conf = g_strconcat("[handoff]\ndomains = all\n", lines, NULL);

    make_host();
    no_room = FALSE;
    put("/etc/dkvm/dkvm.conf", conf);
    make_pages();
    put(GPU "/resource", "0x0000004000000000 0x000000400fffffff 0x000000000014220c\n"
                         "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
                         "0x0000004100000000 0x000000410fffffff 0x000000000014220c\n");
    put(GPU "/resource0_resize", "0000000000003f00\n");
    put(GPU "/resource2_resize", "00000000000001fe\n");
    put(GPU "/reset_method", "flr bus");
    put(GPU "/reset_known", "flr bus");
}

#define ALL "hugepages = allocate\nbar-size = largest\nreset-method = bus\n"

/* All that the steps change. */
static char *state(void)
{
    static const char *const files[] = {POOL "/nr_hugepages",      POOL "/free_hugepages",
                                        POOL "/surplus_hugepages", GPU "/reset_method",
                                        GPU "/driver_override",    "/run/dkvm/hugepages"};
    GString *text = g_string_new(NULL);
    g_autofree char *driver = at(GPU "/driver"), *resource = at(GPU "/resource");
    g_autofree char *link = g_file_read_link(driver, NULL), *bars = read_word(resource);

    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = at(files[i]), *word = read_word(path);

        g_string_append_printf(text, "%s\n", word);
    }
    g_string_append_printf(text, "%s\n%.40s", link ? link : "", bars);
    return g_string_free(text, FALSE);
}

/* ---- hand-overs ------------------------------------------------------------------------- */

/* 500 MiB in 250 huge pages. */
static DkvmPlan *must_plan(DkvmWants **wants, DkvmConfig **config)
{
    static const char xml[] =
        "<domain type='kvm'><name>mac</name><uuid>" UUID "</uuid><memory unit='MiB'>500</memory>"
        "<memoryBacking><hugepages/></memoryBacking><devices>"
        "<hostdev mode='subsystem' type='pci' managed='no'><source>"
        "<address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source></hostdev>"
        "</devices></domain>";
    GError *error = NULL;

    *config = dkvm_config_load(&error);
    g_assert_no_error(error);
    *wants = dkvm_wants_parse(xml, strlen(xml), *config, &error);
    g_assert_no_error(error);
    DkvmPlan *plan = dkvm_plan_new(*wants, *config, &error);

    g_assert_no_error(error);
    return plan;
}

static gboolean prepare(DkvmHandover *handover, GError **error)
{
    g_autoptr(DkvmWants) wants = NULL;
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmPlan) plan = must_plan(&wants, &config);
    g_autofree char *reasons = plan->refusals->len ? dkvm_plan_reasons(plan) : NULL;

    g_assert_cmpstr(reasons, ==, NULL);
    return dkvm_handover_begin(handover, wants->name, g_steal_pointer(&plan->devices),
                               g_steal_pointer(&plan->actions), error) &&
           dkvm_handover_prepare(handover, error);
}

/* The plan as a person sees it has TEXT. */
static void assert_planned(const char *text)
{
    g_autoptr(DkvmWants) wants = NULL;
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmPlan) plan = must_plan(&wants, &config);
    g_autofree char *all = dkvm_plan_text(plan);

    if (!strstr(all, text))
        g_error("'%s' is not in: %s", text, all);
}

static void assert_back(DkvmHandover *handover)
{
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_assert_cmpstr(handover->problems->str, ==, "");
}

/* ---- there and back --------------------------------------------------------------------- */

static void test_there_and_back(void)
{
    GError *error = NULL;

    make_options(ALL);
    g_autofree char *before = state(), *line = NULL;
    g_autoptr(DkvmHandover) handover = must_load();

    assert_planned("keep 250 huge pages free for the VM, having made 190 of them (node0/2048kB)");
    assert_planned("let BAR 0 of 0000:01:00.0 have 8192 MiB instead of 256 MiB");
    assert_planned("let 0000:01:00.0 be reset by bus only (it was: flr bus)");
    g_assert_true(prepare(handover, &error));
    g_assert_no_error(error);
    assert_pages(290, 250, 0);
    g_autofree char *resource = at(GPU "/resource"), *bars = read_word(resource);
    g_assert_true(g_str_has_prefix(bars, "0x0000004000000000 0x00000041ffffffff "));
    g_autofree char *file = at(GPU "/reset_method"), *method = read_word(file);
    g_assert_cmpstr(method, ==, "bus");
    assert_back(handover);
    g_autofree char *after = state();
    g_assert_cmpstr(after, ==, before);
}

/* Off unless configured. */
static void test_off(void)
{
    make_options("");
    set_pages(300, 250, 0);
    g_autofree char *before = state();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    assert_pages(300, 250, 0);
    g_autofree char *ledger = at("/run/dkvm/hugepages");
    g_assert_false(g_file_test(ledger, G_FILE_TEST_EXISTS));
    for (guint i = 0; i < handover->actions->len; i++) {
        const DkvmAction *action = g_ptr_array_index(handover->actions, i);

        g_assert_true(action->step != &dkvm_step_bar && action->step != &dkvm_step_reset &&
                      action->step != &dkvm_step_hugepages);
    }
    assert_back(handover);
    g_autofree char *after = state();
    g_assert_cmpstr(after, ==, before);
}

/* ---- killed ----------------------------------------------------------------------------- */

static void there_and_back(DkvmHandover *handover)
{
    (void)prepare(handover, NULL);
    (void)dkvm_handover_restore(handover, "test");
}

static char *state_before;

/* What the next guard does; then all is as before. */
static void recover_and_look(void)
{
    g_autoptr(DkvmHandover) handover = must_load();

    assert_back(handover);
    g_autofree char *after = state();

    g_assert_cmpstr(after, ==, state_before);
}

static guint kill_after_each_record(KillWhom whom)
{
    make_options(ALL);
    state_before = state();
    guint killed = kill_everywhere(there_and_back, whom, recover_and_look);

    g_clear_pointer(&state_before, g_free);
    return killed;
}

static void test_kill_guard(void)
{
    g_assert_cmpuint(kill_after_each_record(KILL_GUARD), >, 65);
}

static void test_kill_worker(void)
{
    g_assert_cmpuint(kill_after_each_record(KILL_WORKER), >, 55);
}

/* ---- others on the host ----------------------------------------------------------------- */

/* One that runs has its pages: they are not free, and not to be kept free. */
static void test_running(void)
{
    GError *error = NULL;

    make_options("hugepages = allocate\n");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(dkvm_hugepages_promised(OTHER, &pool), ==, 250);
    g_assert_true(
        dkvm_handover_set_running(handover, getpid(), dkvm_process_start(getpid()), NULL));
    set_pages(290, 0, 0);
    g_assert_cmpuint(dkvm_hugepages_promised(OTHER, &pool), ==, 0);
    g_assert_cmpint(take(OTHER, 10), ==, 0);
    assert_pages(300, 10, 0);
    /* Its QEMU has ended, and it has not given back yet. */
    g_assert_true(dkvm_handover_set_running(handover, getpid(), 1, NULL));
    g_assert_cmpuint(dkvm_hugepages_promised(OTHER, &pool), ==, 250);
    set_pages(300, 260, 0);
    assert_back(handover);
    assert_pages(110, 70, 0);
    g_assert_cmpint(give(OTHER), ==, 0);
    assert_pages(100, 60, 0);
}

/* The list cannot be read when the VM has ended: what was made for it is not forgotten. */
static void test_list_unreadable(void)
{
    make_options("hugepages = allocate\n");
    g_autofree char *before = state();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    cannot_read(LEDGER, ENOMEM, 100);
    g_assert_false(dkvm_handover_restore(handover, "test"));
    g_assert_nonnull(strstr(handover->problems->str, "how hugepages of node0/2048kB is now"));
    cannot_read(NULL, 0, 0);
    assert_pages(290, 250, 0);
    assert_back(handover);
    g_autofree char *after = state();
    g_assert_cmpstr(after, ==, before);
}

/* All or nothing. */
static void test_in_pieces(void)
{
    g_autoptr(GError) error = NULL;

    make_options(ALL);
    most_pages = 200;
    g_autofree char *before = state();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_false(prepare(handover, &error));
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, "only 100 of 190 missing huge pages of 2048 KiB"));
    g_autofree char *after = state();
    g_assert_cmpstr(after, ==, before);
}

/* ---- BAR and reset ---------------------------------------------------------------------- */

static gboolean plan_has(const DkvmStep *step, const char **refusal)
{
    g_autoptr(DkvmWants) wants = NULL;
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmPlan) plan = must_plan(&wants, &config);
    static char *kept;

    g_clear_pointer(&kept, g_free);
    kept = plan->refusals->len ? dkvm_plan_reasons(plan) : NULL;
    *refusal = kept;
    for (guint i = 0; i < plan->actions->len; i++) {
        const DkvmAction *action = g_ptr_array_index(plan->actions, i);

        if (action->step == step)
            return TRUE;
    }
    return FALSE;
}

static void test_bar_plan(void)
{
    const char *refusal;

    make_options("hugepages = allocate\nbar-size = smallest\n");
    g_assert_false(plan_has(&dkvm_step_bar, &refusal)); /* it has it */
    g_assert_null(refusal);
    put(GPU "/resource0_resize", "0000000000003f80\n");
    g_assert_true(plan_has(&dkvm_step_bar, &refusal));
    assert_planned("let BAR 0 of 0000:01:00.0 have 128 MiB instead of 256 MiB");
    put(GPU "/class", "0x040000\n");
    g_assert_false(plan_has(&dkvm_step_bar, &refusal));
    put(GPU "/class", "0x038000\n");
    g_assert_true(plan_has(&dkvm_step_bar, &refusal));
    g_assert_null(refusal);
    put_link(GPU "/driver", "../../../bus/pci/drivers/vfio-pci");
    g_assert_false(plan_has(&dkvm_step_bar, &refusal));
    g_assert_nonnull(strstr(refusal, "0000:01:00.0 is with vfio-pci before the VM starts"));
}

/* The old size cannot be had any more: the driver comes back all the same, and when all else is
 * back it is said what is not. */
static void test_bar_stays(void)
{
    make_options("hugepages = allocate\nbar-size = largest\n");
    g_autoptr(DkvmHandover) handover = must_load();

    no_room = FALSE;
    g_assert_true(prepare(handover, NULL));
    dkvm_worker_free(handover->worker);
    handover->worker = dkvm_worker_new();
    no_room = TRUE;
    g_assert_false(dkvm_handover_restore(handover, "test"));
    g_assert_nonnull(strstr(handover->problems->str, "bar of 0000:01:00.0 failed"));
    g_autofree char *path = at(GPU "/driver"), *driver = g_file_read_link(path, NULL);
    g_assert_cmpstr(driver, ==, "../../../bus/pci/drivers/bochs-drm");
    g_assert_true(dkvm_handover_restore(handover, "again"));
    g_assert_nonnull(strstr(handover->problems->str, "bar of 0000:01:00.0 failed"));
    assert_pages(100, 60, 0);
}

/* A read that fails once does not keep the old size away, and one that fails again is no change by
 * somebody else.  The driver comes back all the same. */
static void test_bar_unreadable(void)
{
    make_options("hugepages = allocate\nbar-size = largest\n");
    g_autofree char *before = state();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    cannot_read("0000:01:00.0/resource", ENOMEM, 1);
    assert_back(handover);
    g_autofree char *after = state();
    g_assert_cmpstr(after, ==, before);

    g_autoptr(DkvmHandover) again = must_load();
    g_assert_true(prepare(again, NULL));
    cannot_read("0000:01:00.0/resource", ENOMEM, G_MAXUINT);
    g_assert_false(dkvm_handover_restore(again, "test"));
    cannot_read(NULL, 0, 0);
    g_assert_nonnull(strstr(again->problems->str, "how bar of 0000:01:00.0 is now cannot be"));
    g_assert_null(strstr(again->problems->str, "somebody else"));
    g_autofree char *path = at(GPU "/driver"), *driver = g_file_read_link(path, NULL);
    g_assert_cmpstr(driver, ==, "../../../bus/pci/drivers/bochs-drm");
}

static void test_bar_no_room(void)
{
    g_autoptr(GError) error = NULL;

    make_options("hugepages = allocate\nbar-size = largest\n");
    g_autofree char *before = state();
    g_autoptr(DkvmHandover) handover = must_load();

    no_room = TRUE;
    g_assert_false(prepare(handover, &error));
    g_assert_nonnull(strstr(error->message, "was to have 8192 MiB"));
    g_assert_nonnull(strstr(error->message, "Above 4G Decoding"));
    g_autofree char *after = state();
    g_assert_cmpstr(after, ==, before);
}

static void test_reset_plan(void)
{
    const char *refusal;

    make_options("hugepages = allocate\nreset-method = pm\n");
    g_assert_false(plan_has(&dkvm_step_reset, &refusal));
    g_assert_nonnull(strstr(refusal, "cannot be reset by pm; the kernel offers: flr bus."));
    make_options("hugepages = allocate\nreset-method = device_specific\n");
    g_assert_false(plan_has(&dkvm_step_reset, &refusal));
    g_assert_nonnull(refusal);
    put("/sys/module/vendor_reset/x", "");
    g_assert_true(plan_has(&dkvm_step_reset, &refusal));
    g_assert_null(refusal);
    make_options("hugepages = allocate\nreset-method = flr\n");
    g_assert_true(plan_has(&dkvm_step_reset, &refusal));
    put(GPU "/reset_method", "flr\n");
    g_assert_false(plan_has(&dkvm_step_reset, &refusal));
    g_assert_null(refusal);
    put(GPU "/reset_method", "\n");
    g_assert_false(plan_has(&dkvm_step_reset, &refusal));
    g_assert_nonnull(strstr(refusal, "the kernel offers: nothing."));
}

/* What it was is not possible any more: the kernel's choice, which is reported. */
static void test_reset_stays(void)
{
    make_options("hugepages = allocate\nreset-method = bus\n");
    put(GPU "/reset_method", "device_specific bus");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    g_assert_false(dkvm_handover_restore(handover, "test"));
    g_assert_nonnull(strstr(handover->problems->str, "reset of 0000:01:00.0 failed"));
    g_autofree char *path = at(GPU "/driver"), *driver = g_file_read_link(path, NULL);
    g_assert_cmpstr(driver, ==, "../../../bus/pci/drivers/bochs-drm");
    g_assert_true(dkvm_handover_restore(handover, "again"));
    g_assert_nonnull(strstr(handover->problems->str, "was changed to 'flr bus'"));
    g_autofree char *file = at(GPU "/reset_method"), *method = read_word(file);
    g_assert_cmpstr(method, ==, "flr bus");
}

/* What cannot be read once is not gone: the next attempt gives it back. */
static void test_reset_unreadable(void)
{
    make_options("hugepages = allocate\nreset-method = bus\n");
    g_autofree char *before = state();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    cannot_read("0000:01:00.0/reset_method", ENOMEM, G_MAXUINT);
    g_assert_false(dkvm_handover_restore(handover, "test"));
    g_assert_nonnull(strstr(handover->problems->str, "how reset of 0000:01:00.0 is now"));
    cannot_read(NULL, 0, 0);
    assert_back(handover);
    g_autofree char *after = state();
    g_assert_cmpstr(after, ==, before);
}

int main(int argc, char **argv)
{
    char shm[] = "/dev/shm/dkvm-options-XXXXXX"; /* each step brings a note to disk */
    g_autofree char *folder =
        g_mkdtemp(shm) ? g_strdup(shm) : g_dir_make_tmp("dkvm-options-XXXXXX", NULL);

    root = g_build_filename(folder, "root", NULL);
    g_assert_true(g_setenv("DKVM_ROOT", root, TRUE));
    g_test_init(&argc, &argv, NULL);
    dkvm_worker_act = fake_kernel;
    g_test_add_func("/options/there-and-back", test_there_and_back);
    g_test_add_func("/options/off", test_off);
    g_test_add_func("/options/kill-guard", test_kill_guard);
    g_test_add_func("/options/kill-worker", test_kill_worker);
    g_test_add_func("/options/running", test_running);
    g_test_add_func("/options/list-unreadable", test_list_unreadable);
    g_test_add_func("/options/in-pieces", test_in_pieces);
    g_test_add_func("/options/bar-plan", test_bar_plan);
    g_test_add_func("/options/bar-stays", test_bar_stays);
    g_test_add_func("/options/bar-unreadable", test_bar_unreadable);
    g_test_add_func("/options/bar-no-room", test_bar_no_room);
    g_test_add_func("/options/reset-plan", test_reset_plan);
    g_test_add_func("/options/reset-stays", test_reset_stays);
    g_test_add_func("/options/reset-unreadable", test_reset_unreadable);
    int failed = g_test_run();

    remove_tree(folder);
    g_free(root);
    return failed;
}
