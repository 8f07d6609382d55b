/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-hook/unit.c, by the two steps that stop units and start them again: display-manager and
 * services. */
#include "tests/unit/fake-bus.h"

#define MANAGER "lightdm.service"

/* A display manager draws on the card, and two services are to be stopped as well. */
static void make_units(void)
{
    make_host();
    put_link("/etc/systemd/system/display-manager.service", "/lib/systemd/system/" MANAGER);
    put("/etc/libvirt/qemu/mac.xml", "<domain><name>mac</name><uuid>" UUID "</uuid></domain>");
    put("/etc/dkvm/dkvm.conf", "[handoff]\ndesktop = stop\nservices = a.socket;a.service\n");
    put_unit(MANAGER, "active");
    put_unit("a.socket", "activating");
    put_unit("a.service", "active");
    put_holder("Xorg\n", "0::/system.slice/" MANAGER "\n");
}

/* One that does not stop in time: the start is refused, and it is started again. */
static void late(const char *unit)
{
    g_autofree char *said = g_strconcat("cannot stop ", unit, NULL);
    g_autofree char *log = g_strdup_printf("stop %s; start %s", unit, unit);
    g_autoptr(DkvmHandover) handover = must_load();
    g_autoptr(GError) error = NULL;

    stops_late = TRUE;
    g_assert_false(prepare(handover, &error));
    stops_late = FALSE;
    g_assert_nonnull(strstr(error->message, said));
    g_assert_cmpint(handover->phase, ==, DKVM_PHASE_CLOSED);
    expect_log(log);
    expect_state(unit, "active");
}

static void test_late(void)
{
    make_units();
    late(MANAGER);
    end_holder(); /* the manager stays */
    late("a.socket");
}

/* Neither one that cannot be started nor a systemd that does not answer is forgotten. */
static void test_again(void)
{
    gboolean *flags[] = {&cannot_start, &is_silent};
    static const char *const said[][2] = {{"cannot start " MANAGER, "cannot start a.service"},
                                          {"display-manager of " MANAGER " is now cannot be read",
                                           "services of a.service is now cannot be read"}};

    for (gsize i = 0; i < G_N_ELEMENTS(flags); i++) {
        make_units();
        g_autoptr(DkvmHandover) handover = must_load();

        g_assert_true(prepare(handover, NULL));
        *flags[i] = TRUE;
        g_assert_false(dkvm_handover_restore(handover, "test"));
        *flags[i] = FALSE;
        g_assert_nonnull(strstr(handover->problems->str, said[i][0]));
        g_assert_nonnull(strstr(handover->problems->str, said[i][1]));
        assert_home();
        g_assert_true(dkvm_handover_restore(handover, "again"));
        expect_state(MANAGER, "active");
        expect_state("a.service", "active");
        expect_state("a.socket", "active");
    }
}

static void test_silent(void)
{
    make_units();
    is_silent = TRUE;
    g_autofree char *text = refusal();
    is_silent = FALSE;

    g_assert_nonnull(strstr(text, "systemd does not say whether " MANAGER " runs."));
    g_assert_nonnull(strstr(text, "systemd does not say whether a.service runs."));
}

static void test_host_goes_down(void)
{
    make_units();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    is_stopping = TRUE;
    g_assert_true(dkvm_handover_restore(handover, "test"));
    is_stopping = FALSE;
    expect_log("stop " MANAGER "; stop a.socket; stop a.service");
}

static void add(void)
{
    g_test_add_func("/unit/late", test_late);
    g_test_add_func("/unit/again", test_again);
    g_test_add_func("/unit/silent", test_silent);
    g_test_add_func("/unit/host-goes-down", test_host_goes_down);
}

int main(int argc, char **argv)
{
    return run_below_root(add, argc, argv);
}
