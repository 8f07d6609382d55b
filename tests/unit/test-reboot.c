/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A host whose only display does not come back is started again, with a logind of our own: when it
 * is asked, and when not. */
#include "qemu-hook/reboot.h"
#include "tests/unit/tuning-host.h"

#define UPTIME "/proc/uptime"
#define OTHER_GPU "/sys/devices/pci0000:00/0000:00:02.0"
#define GPU_DRIVER "/sys/devices/pci0000:00/0000:01:00.0/driver"

static char *asked(void)
{
    g_autofree char *path = at("/logind");

    return read_word(path);
}

/* The only GPU has no driver, and dkvm.conf lets the host be started again for it. */
static DkvmHandover *make_dark_host(void)
{
    g_autofree char *other = at(OTHER_GPU "/driver"), *own = at(GPU_DRIVER);

    make_host();
    DkvmHandover *handover = must_load();
    DkvmTaken *taken = g_new0(DkvmTaken, 1);

    (void)unlink(other);
    (void)unlink(own);
    put("/run/systemd/system/x", "");
    put("/inhibitors", "");
    put("/logind", "");
    put(UPTIME, "86400.00 1000.00\n");
    (void)g_strlcpy(taken->bdf, "0000:01:00.0", sizeof taken->bdf);
    taken->identity = g_strdup("0x1234:0x1111");
    taken->sysfs = g_strdup("/sys/devices/pci0000:00/0000:01:00.0");
    taken->may_reboot = TRUE;
    g_ptr_array_add(handover->devices, taken);
    return handover;
}

static void assert_asked(const DkvmHandover *handover, gboolean yes)
{
    dkvm_reboot_ask(handover);
    g_autofree char *text = asked();

    if (yes)
        g_assert_nonnull(strstr(text, "; ScheduleShutdown('reboot', "));
    else
        g_assert_cmpstr(text, ==, "");
}

static void test_asked(void)
{
    g_autoptr(DkvmHandover) handover = make_dark_host();
    gint64 now = g_get_real_time();

    assert_asked(handover, TRUE);
    g_autofree char *text = asked();
    g_assert_true(g_str_has_prefix(text, "SetWallMessage("));
    g_assert_nonnull(strstr(text, "dkvm: the GPU 0000:01:00.0, this host's only display"));
    g_assert_nonnull(strstr(text, "shutdown -c"));
    guint64 when = g_ascii_strtoull(strstr(text, "'reboot', ") + strlen("'reboot', "), NULL, 10);
    g_assert_cmpuint(when, >=, (guint64)now + 110 * G_USEC_PER_SEC);
    g_assert_cmpuint(when, <=, (guint64)now + 200 * G_USEC_PER_SEC);
    put("/logind", "");
    assert_asked(handover, FALSE); /* who called it off is not asked again */
    dkvm_reboot_call_off(handover);
    g_autofree char *after = asked();
    g_assert_cmpstr(after, ==, "CancelScheduledShutdown(); SetWallMessage('', false)");
    put("/logind", "");
    dkvm_reboot_call_off(handover);
    assert_asked(handover, TRUE); /* the next time */
    dkvm_reboot_call_off(handover);
}

/* What each of these changes is all that keeps the host up. */
static void test_not_asked(void)
{
    g_autoptr(DkvmHandover) handover = make_dark_host();
    DkvmTaken *taken = g_ptr_array_index(handover->devices, 0);

    taken->may_reboot = FALSE;
    assert_asked(handover, FALSE);
    taken->may_reboot = TRUE;
    put(UPTIME, "599.99 1000.00\n");
    assert_asked(handover, FALSE);
    put(UPTIME, "600.00 1000.00\n");
    put("/inhibitors", "shutdown:sleep apt block");
    assert_asked(handover, FALSE);
    put("/inhibitors", "shutdown apt delay");
    put_link(OTHER_GPU "/driver", "../../../bus/pci/drivers/bochs-drm");
    assert_asked(handover, FALSE);
    put_link(OTHER_GPU "/driver", "../../../bus/pci/drivers/vfio-pci");
    put_link(GPU_DRIVER, "../../../bus/pci/drivers/bochs-drm");
    assert_asked(handover, FALSE);
    put_link(GPU_DRIVER, "../../../bus/pci/drivers/vfio-pci");
    dkvm_reboot_call_off(handover); /* nothing was asked for */
    g_autofree char *text = asked();
    g_assert_cmpstr(text, ==, "");
    assert_asked(handover, TRUE);
    dkvm_reboot_call_off(handover);
}

int main(int argc, char **argv)
{
    static const TuningTest tests[] = {{"reboot-asked", test_asked},
                                       {"reboot-not-asked", test_not_asked}};

    return run_tests(argc, argv, tests, G_N_ELEMENTS(tests));
}
