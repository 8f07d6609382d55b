/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-hook/step-services.c. */
#include <glib.h>

#include "lib/xml.h"
#include "qemu-hook/users.h"
#include "tests/unit/fake-bus.h"

static void put_services(const char *services)
{
    g_autofree char *text = g_strdup_printf("[handoff]\nservices = %s\n", services);

    put("/etc/dkvm/dkvm.conf", text);
}

static void make_services(void)
{
    make_host();
    put_unit("a.service", "active");
    put_unit("a.socket", "activating");
    put_unit("off.service", "inactive");
    put_unit("nvidia-persistenced.service", "active");
    put_unit("nvidia-powerd.service", "failed");
    put_services("a.socket; a.service;off.service;none.service");
}

static void put_nvidia(void)
{
    put("/sys/bus/pci/drivers/nvidia/bind", "");
    put_device("0000:01:00.0", "0x030000\n", "nvidia", 11);
    put("/proc/driver/nvidia/gpus/0000:01:00.0/unbindLock", "0\n");
}

/* ---- tests ------------------------------------------------------------------------------ */

static void test_there_and_back(void)
{
    make_services();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    expect_log("stop a.socket; stop a.service");
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_assert_cmpstr(handover->problems->str, ==, "");
    expect_log("start a.service; start a.socket");
    expect_state("off.service", "inactive");
    expect_state("a.service", "active");
}

static void test_nvidia(void)
{
    make_services();
    put_nvidia();
    put_services("a.service;nvidia-persistenced.service");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    expect_log("stop a.service; stop nvidia-persistenced.service");
    g_assert_true(dkvm_handover_restore(handover, "test"));
    expect_log("start nvidia-persistenced.service; start a.service");
    expect_state("nvidia-powerd.service", "failed");
}

/* What a service holds that will be stopped is in nobody's way; what another one holds is. */
static void test_holders(void)
{
    make_services();
    put_holder("daemon\n", "0::/system.slice/a.service\n");
    put_services("off.service");
    g_autofree char *text = refusal();
    g_assert_nonnull(strstr(text, "Programs use it: daemon (4999977, a.service)"));
    put_services("a.service");
    g_autoptr(DkvmHandover) handover = must_load();
    g_assert_true(prepare(handover, NULL));
    g_assert_true(dkvm_handover_restore(handover, "test"));
    expect_log("stop a.service; start a.service");
    /* Nor where nothing stops it. */
    put_holder("daemon\n", "0::/system.slice/a.service\n");
    has_systemd = FALSE;
    g_autofree char *none = refusal();
    has_systemd = TRUE;
    g_assert_nonnull(none);
    put(HOLDER "/cgroup", "0::/system.slice/nvidia-persistenced.service\n");
    g_autofree char *other = refusal();
    g_assert_nonnull(strstr(other, "nvidia-persistenced.service"));
    put_nvidia();
    g_autofree char *fine = refusal();
    g_assert_cmpstr(fine, ==, NULL);
}

static void test_notes(void)
{
    make_services();
    put_link("/etc/systemd/system/display-manager.service", "/lib/systemd/system/off.service");
    {
        g_autoptr(DkvmWants) wants = NULL;
        g_autoptr(DkvmConfig) config = NULL;
        g_autoptr(DkvmPlan) plan = must_plan(&wants, &config);
        g_autofree char *text = dkvm_plan_text(plan);

        g_assert_nonnull(strstr(text, "This host has no unit none.service"));
        g_assert_nonnull(strstr(text, "off.service is the display manager of this host."));
        g_assert_nonnull(strstr(text, ". stop a.socket\n"));
        g_assert_cmpint(plan->refusals->len, ==, 1);
    }
    has_systemd = FALSE;
    g_autoptr(DkvmWants) wants = NULL;
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmPlan) plan = must_plan(&wants, &config);
    g_autofree char *text = dkvm_plan_text(plan);
    has_systemd = TRUE;
    g_assert_nonnull(strstr(text, "not run by systemd"));
    g_assert_null(strstr(text, "stop a"));
}

#define MARKER(state)                                                                              \
    "<metadata><d:darwin xmlns:d='" DKVM_NS "' state='" state "'>"                                 \
    "<d:choice key='handoff.services' value='off'/><d:choice key='handoff.unbind' value='off'/>"   \
    "<d:choice key='handoff.nothing' value='off'/><d:choice key='handoff.bind' value='on'/>"       \
    "<d:choice key='handoff./etc' value='off'/><d:choice key='nic' value='off'/>"                  \
    "</d:darwin></metadata>"

/* A domain can leave out what may be left out, and nothing else. */
static void test_marker(void)
{
    make_services();
    vm_metadata = MARKER("on");
    g_autoptr(DkvmWants) wants = NULL;
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmPlan) plan = must_plan(&wants, &config);
    g_autofree char *text = dkvm_plan_text(plan);

    g_assert_null(strstr(text, "stop a.service"));
    g_assert_nonnull(strstr(text, "take 0000:01:00.0 from the driver bochs-drm"));
    g_assert_nonnull(strstr(text, "The VM turns the step services off."));
    g_assert_nonnull(strstr(text, "would turn unbind off: it cannot be left out"));
    g_assert_nonnull(strstr(text, "would turn nothing off: there is no such step"));
    g_assert_null(strstr(text, "bind off: there"));
    g_assert_null(strstr(text, "/etc off"));
    g_assert_cmpuint(wants->off->len, ==, 3);
    /* Then what the service holds is in the way. */
    put_holder("daemon\n", "0::/system.slice/a.service\n");
    g_autofree char *why = refusal();
    g_assert_nonnull(strstr(why, "daemon (4999977, a.service)"));
    vm_metadata = MARKER("off"); /* reverted */
    g_autofree char *fine = refusal();
    vm_metadata = "";
    g_assert_cmpstr(fine, ==, NULL);
}

/* Started by somebody else meanwhile: nothing to do. */
static void test_started_by_hand(void)
{
    make_services();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    put_unit("a.service", "reloading");
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_assert_cmpstr(handover->problems->str, ==, "");
    expect_log("stop a.socket; stop a.service; start a.socket");
}

static void test_kill(void)
{
    gboolean lived = FALSE;
    guint killed = 0;

    for (guint32 number = 1; !lived; number++) {
        make_services();
        put_unit("a.socket", "active");
        lived = cycle(number);
        recover();
        killed += !lived;
        assert_home();
        expect_state("a.service", "active");
        expect_state("a.socket", "active");
        expect_state("off.service", "inactive");
    }
    g_assert_cmpuint(killed, >, 50);
}

static void add(void)
{
    g_test_add_func("/services/there-and-back", test_there_and_back);
    g_test_add_func("/services/nvidia", test_nvidia);
    g_test_add_func("/services/holders", test_holders);
    g_test_add_func("/services/notes", test_notes);
    g_test_add_func("/services/marker", test_marker);
    g_test_add_func("/services/started-by-hand", test_started_by_hand);
    g_test_add_func("/services/kill", test_kill);
}

int main(int argc, char **argv)
{
    return run_below_root(add, argc, argv);
}
