/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What may happen on the way back: a worker that outlives its guard, a kernel that chooses another
 * driver, a card that is not found again, and who waits for whom. */
#include <glib.h>

#include "tests/unit/handover-run.h"

#define GPU "0000:01:00.0"
#define FOLDER "/sys/devices/pci0000:00/" GPU
#define SLOW_MS 400

static gboolean exists(const char *path)
{
    g_autofree char *full = at(path);

    return access(full, F_OK) == 0;
}

/* ---- a worker that outlives its guard --------------------------------------------------- */

static DkvmWorkKind slow_kind;
static const char *slow_end, *slow_text;

static gboolean is_slow(DkvmWorkKind kind, const char *a, const char *b)
{
    return kind == slow_kind && g_str_has_suffix(a, slow_end) &&
           (!slow_text || g_strcmp0(b, slow_text) == 0) && !exists("/slow");
}

/* The first call of its kind is slow, and as in Linux nobody else changes the device meanwhile. */
static int slow_kernel(DkvmWorkKind kind, const char *a, const char *b, char **text)
{
    gboolean slow = is_slow(kind, a, b);

    if (slow) {
        put("/slow", "");
        g_usleep(SLOW_MS * 1000);
    }
    int cause = fake_kernel(kind, a, b, text);

    if (slow)
        put("/slow-over", "");
    return cause;
}

/* There, in a process that is killed when its worker is in the slow call. */
static void kill_in_prepare(DkvmWorkKind kind, const char *end, const char *text)
{
    int status;

    slow_kind = kind;
    slow_end = end;
    slow_text = text;
    pid_t pid = fork();

    if (pid == 0) {
        DkvmHandover *handover = must_load();

        (void)prepare(handover, NULL);
        _exit(0);
    }
    while (!exists("/slow"))
        g_usleep(2000);
    g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSIGNALED(status));
}

static void kill_while_worker_works(DkvmWorkKind kind, const char *end, const char *text)
{
    dkvm_worker_act = slow_kernel;
    kill_in_prepare(kind, end, text);
    g_assert_false(exists("/slow-over"));
    recover();
    g_assert_true(exists("/slow-over"));
    dkvm_worker_act = fake_kernel;
}

static void test_in_flight(void)
{
    make_host();
    kill_while_worker_works(DKVM_WORK_WRITE, GPU "/driver/unbind", GPU);
    assert_home();
    make_host();
    kill_while_worker_works(DKVM_WORK_WRITE, "/drivers_probe", GPU);
    assert_home();
    make_host();
    put("/sys/bus/pci/drivers/nvidia/bind", "");
    put_device(GPU, "0x030000\n", "nvidia", 11);
    g_assert_cmpint(fake_load("nvidia_drm"), ==, 0);
    kill_while_worker_works(DKVM_WORK_UNLOAD, "nvidia_drm", NULL);
    g_assert_true(exists("/sys/module/nvidia_drm"));
}

/* One that does not end: its device is left alone, and it is said. */
static int stuck_kernel(DkvmWorkKind kind, const char *a, const char *b, char **text)
{
    if (is_slow(kind, a, b)) {
        put("/slow", "");
        (void)signal(SIGTERM, SIG_IGN);
        for (;;)
            (void)pause();
    }
    return fake_kernel(kind, a, b, text);
}

static pid_t stuck_pid(const DkvmHandover *handover)
{
    for (guint i = 0; i < handover->actions->len; i++) {
        const DkvmAction *action = g_ptr_array_index(handover->actions, i);

        if (action->late)
            return action->late;
    }
    return 0;
}

static void test_in_flight_stuck(void)
{
    make_host();
    dkvm_worker_act = stuck_kernel;
    kill_in_prepare(DKVM_WORK_WRITE, GPU "/driver/unbind", GPU);
    g_autoptr(DkvmHandover) handover = must_load();
    g_assert_false(dkvm_handover_restore(handover, "left over"));
    g_assert_nonnull(strstr(handover->problems->str, "is stuck in the kernel"));
    g_assert_true(dkvm_handover_is_wedged(handover));
    g_assert_cmpint(stuck_pid(handover), >, 0);
    g_assert_cmpint(kill(stuck_pid(handover), SIGKILL), ==, 0);
    while (dkvm_handover_is_wedged(handover))
        g_usleep(2000);
    g_assert_true(dkvm_handover_restore(handover, "again"));
    dkvm_worker_act = fake_kernel;
    assert_home();
}

/* ---- the kernel's answers --------------------------------------------------------------- */

/* The card does not answer any more when its bus is looked at again. */
static int dead_kernel(DkvmWorkKind kind, const char *a, const char *b, char **text)
{
    if (kind == DKVM_WORK_WRITE && g_str_has_suffix(a, "/rescan") && !exists("/answers"))
        return 0;
    if (kind == DKVM_WORK_PROBE && !exists(FOLDER) && g_str_equal(a, GPU))
        return ENODEV;
    return fake_kernel(kind, a, b, text);
}

static void test_vanished(void)
{
    make_host();
    put_config(GPU, 0xfc);
    dkvm_worker_act = dead_kernel;
    {
        g_autoptr(DkvmHandover) handover = must_load();

        g_assert_true(prepare(handover, NULL));
        put_stubborn(GPU, "rescan");
        g_assert_false(dkvm_handover_restore(handover, "test"));
        g_assert_nonnull(strstr(handover->problems->str, "is not found there again"));
    }
    /* Nor does the next guard take it for one that somebody pulled out. */
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_false(dkvm_handover_restore(handover, "again"));
    g_assert_nonnull(strstr(handover->problems->str, "start the host again"));
    put("/answers", "");
    g_assert_true(dkvm_handover_restore(handover, "and again"));
    dkvm_worker_act = fake_kernel;
    assert_home();
}

/* vfio-pci was told to take all cards of its kind, and was there first. */
static int greedy_kernel(DkvmWorkKind kind, const char *a, const char *b, char **text)
{
    g_autofree char *link = at(FOLDER "/driver");

    if (kind != DKVM_WORK_PROBE || !g_str_equal(a, GPU))
        return fake_kernel(kind, a, b, text);
    *text = NULL;
    if (!g_file_test(link, G_FILE_TEST_IS_SYMLINK))
        put_link(FOLDER "/driver", "../../../bus/pci/drivers/vfio-pci");
    return 0;
}

static void test_greedy(void)
{
    make_host();
    put_config(GPU, 0xfc);
    dkvm_worker_act = greedy_kernel;
    {
        g_autoptr(DkvmHandover) handover = must_load();

        g_assert_true(prepare(handover, NULL));
        g_assert_true(dkvm_handover_restore(handover, "test"));
        g_assert_cmpstr(handover->problems->str, ==, "");
        assert_home();
    }
    /* The guard was killed just then: the next one does not take it for somebody else's wish. */
    make_host();
    {
        g_autoptr(DkvmHandover) handover = must_load();

        g_assert_true(prepare(handover, NULL));
        for (guint i = 0; i < handover->actions->len; i++) {
            DkvmAction *action = g_ptr_array_index(handover->actions, i);

            if (g_str_equal(action->target, GPU) &&
                (action->step == &dkvm_step_bind || action->step == &dkvm_step_override))
                action->state = DKVM_ACTION_UNDONE;
        }
        put(FOLDER "/driver_override", "(null)\n");
        g_assert_true(dkvm_handover_restore(handover, "test"));
        g_assert_cmpstr(handover->problems->str, ==, "");
    }
    dkvm_worker_act = fake_kernel;
    assert_home();
}

/* ---- who waits for whom ----------------------------------------------------------------- */

static char *driver_at_start; /* the GPU's, when the display manager was started */

static char *look_manager(DkvmHandover *handover, const DkvmAction *action)
{
    return g_strdup(action->over ? action->pre : action->post);
}

static gboolean start_manager(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    ((DkvmAction *)action)->over = TRUE;
    driver_at_start = driver_of(GPU);
    return TRUE;
}

static char *text_manager(const DkvmAction *action)
{
    return g_strdup("stop a display manager of the test");
}

/* A worker that dies when it takes the override of the GPU away; once, or each time. */
static int dying_kernel(DkvmWorkKind kind, const char *a, const char *b, char **text)
{
    if (kind == DKVM_WORK_WRITE && g_str_has_suffix(a, GPU "/driver_override") && *b == '\n' &&
        !exists("/died")) {
        if (!exists("/dies"))
            put("/died", "");
        (void)kill(getpid(), SIGKILL);
    }
    return fake_kernel(kind, a, b, text);
}

static DkvmHandover *hand_over_with_manager(void)
{
    static const DkvmStep step = {.name = "display-manager",
                                  .needs_devices = TRUE,
                                  .deadline = 1000,
                                  .look = look_manager,
                                  .undo = start_manager,
                                  .text = text_manager};

    make_host();
    g_clear_pointer(&driver_at_start, g_free);
    dkvm_worker_act = dying_kernel;
    DkvmHandover *handover = must_load();
    DkvmAction *action = dkvm_action_new(&step, "a.service", "active", "inactive");

    g_assert_true(prepare(handover, NULL));
    action->number = 9999;
    action->state = DKVM_ACTION_DONE;
    g_ptr_array_insert(handover->actions, 0, action);
    return handover;
}

static void test_order(void)
{
    g_autoptr(DkvmHandover) handover = hand_over_with_manager();

    g_assert_true(dkvm_step_manager.needs_devices && dkvm_step_services.needs_devices &&
                  dkvm_step_console.needs_devices);
    g_assert_false(dkvm_handover_restore(handover, "test"));
    g_assert_cmpstr(driver_at_start, ==, NULL);
    g_assert_true(dkvm_handover_restore(handover, "again"));
    g_assert_cmpstr(driver_at_start, ==, "bochs-drm");
    dkvm_worker_act = fake_kernel;
    assert_home();
}

/* But not for ever: another card may be there to draw on. */
static void test_order_last(void)
{
    g_autoptr(DkvmHandover) handover = hand_over_with_manager();

    put("/dies", "");
    g_assert_false(dkvm_handover_restore(handover, "test"));
    g_assert_cmpstr(driver_at_start, ==, NULL);
    handover->last_try = TRUE;
    g_assert_false(dkvm_handover_restore(handover, "again"));
    g_assert_cmpstr(driver_at_start, ==, "");
    dkvm_worker_act = fake_kernel;
}

/* udev makes the folder with the file in it, and neither stays: who only looks at the end of the
 * time sees nothing. */
static void test_late_folder(void)
{
    make_host();
    put("/dev/dri/card0", "");
    pid_t pid = fork();

    if (pid == 0) {
        g_usleep(200000);
        put("/dev/dri/by-path/card", "");
        g_usleep(1000000);
        g_autofree char *folder = at("/dev/dri/by-path");
        remove_tree(folder);
        _exit(0);
    }
    g_assert_true(dkvm_wait_for_file("/dev/dri/by-path/card", 5000));
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

static void add(void)
{
    g_test_add_func("/return/in-flight", test_in_flight);
    g_test_add_func("/return/in-flight-stuck", test_in_flight_stuck);
    g_test_add_func("/return/vanished", test_vanished);
    g_test_add_func("/return/greedy", test_greedy);
    g_test_add_func("/return/order", test_order);
    g_test_add_func("/return/order-last", test_order_last);
    g_test_add_func("/return/late-folder", test_late_folder);
}

int main(int argc, char **argv)
{
    return run_below_root(add, argc, argv);
}
