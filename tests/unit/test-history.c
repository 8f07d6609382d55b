/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first-boot rule: a machine is stopped only if every condition holds; each test breaks one. */
#include <libvirt/libvirt.h>
#include <string.h>

#include "hooks/history.h"

#define S G_TIME_SPAN_SECOND
#define BOOT (100 * S)

typedef struct {
    int event, detail;
} Event;

/* As libvirt tells of virt-manager's createXML (facts/define.md 1). */
static const Event boot[] = {
    {VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED},
    {VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED},
};

static DkvmHistory booted_at(gint64 at)
{
    DkvmHistory history = DKVM_HISTORY_NONE;
    for (gsize i = 0; i < G_N_ELEMENTS(boot); i++) {
        dkvm_history_event(&history, boot[i].event, boot[i].detail, at);
    }
    return history;
}

/* All conditions hold. */
static DkvmFirstBoot good(void)
{
    DkvmFirstBoot first = {.restart = TRUE,
                           .defined = VIR_DOMAIN_EVENT_DEFINED_ADDED,
                           .defined_at = BOOT + S / 50,
                           .history = booted_at(BOOT),
                           .machine = {.readable = TRUE}};
    return first;
}

static const char *late(const DkvmFirstBoot *first, const DkvmHistory *now, DkvmWritten written,
                        gint64 time)
{
    return dkvm_first_boot_late_refusal(first, now, written, 3 * S / 2, time);
}

static void test_good(void)
{
    DkvmFirstBoot first = good();
    g_assert_null(dkvm_first_boot_refusal(&first));
    g_assert_null(late(&first, &first.history, DKVM_WRITTEN_NO, BOOT + 2 * S));
}

static void assert_refused(const DkvmFirstBoot *first, const char *word)
{
    const char *early = dkvm_first_boot_refusal(first);
    g_assert_nonnull(early);
    g_assert_nonnull(strstr(early ? early : "", word));
    /* What is refused at first is refused later, whatever libvirt says then. */
    g_assert_nonnull(late(first, &first->history, DKVM_WRITTEN_NO, first->defined_at + 2 * S));
}

static void test_configured(void)
{
    DkvmFirstBoot first = good();
    first.restart = FALSE;
    assert_refused(&first, "first-boot = leave");
}

static void test_scanned(void)
{
    DkvmFirstBoot first = good();
    first.scanned = TRUE;
    assert_refused(&first, "before dkvm-watchd looked");
}

static void test_detail(void)
{
    static const int details[] = {VIR_DOMAIN_EVENT_DEFINED_UPDATED,
                                  VIR_DOMAIN_EVENT_DEFINED_RENAMED,
                                  VIR_DOMAIN_EVENT_DEFINED_FROM_SNAPSHOT, -1, 99};
    for (gsize i = 0; i < G_N_ELEMENTS(details); i++) {
        DkvmFirstBoot first = good();
        first.defined = details[i];
        assert_refused(&first, "defined before");
    }
}

static void test_age(void)
{
    DkvmFirstBoot first = good();
    first.defined_at = BOOT + 10 * S;
    g_assert_null(dkvm_first_boot_refusal(&first));
    first.defined_at = BOOT + 10 * S + 1;
    assert_refused(&first, "10 seconds");
    first.defined_at = BOOT - 1;
    assert_refused(&first, "10 seconds");
}

static void test_started_otherwise(void)
{
    static const int details[] = {VIR_DOMAIN_EVENT_STARTED_MIGRATED,
                                  VIR_DOMAIN_EVENT_STARTED_RESTORED,
                                  VIR_DOMAIN_EVENT_STARTED_FROM_SNAPSHOT,
                                  VIR_DOMAIN_EVENT_STARTED_WAKEUP,
                                  99,
                                  -1};
    for (gsize i = 0; i < G_N_ELEMENTS(details); i++) {
        DkvmFirstBoot first = good();
        first.history = (DkvmHistory)DKVM_HISTORY_NONE;
        dkvm_history_event(&first.history, VIR_DOMAIN_EVENT_STARTED, details[i], BOOT);
        assert_refused(&first, "not seen it boot");
        first.history = booted_at(BOOT); /* after a boot as well */
        dkvm_history_event(&first.history, VIR_DOMAIN_EVENT_STARTED, details[i], BOOT + 1);
        assert_refused(&first, "not seen it boot");
    }
}

static void test_never_started(void)
{
    DkvmFirstBoot first = good();
    first.history = (DkvmHistory)DKVM_HISTORY_NONE;
    assert_refused(&first, "not seen it boot");
}

/* Every event after the boot that is not about the definition. */
static void test_something_happened(void)
{
    static const int events[] = {VIR_DOMAIN_EVENT_SUSPENDED,
                                 VIR_DOMAIN_EVENT_RESUMED,
                                 VIR_DOMAIN_EVENT_STOPPED,
                                 VIR_DOMAIN_EVENT_SHUTDOWN,
                                 VIR_DOMAIN_EVENT_PMSUSPENDED,
                                 VIR_DOMAIN_EVENT_CRASHED,
                                 99,
                                 VIR_DOMAIN_EVENT_UNDEFINED};
    for (gsize i = 0; i < G_N_ELEMENTS(events); i++) {
        for (int detail = 0; detail < 8; detail++) {
            DkvmFirstBoot first = good();
            dkvm_history_event(&first.history, events[i], detail, BOOT + 1);
            assert_refused(&first, "something happened");
        }
    }
}

/* A definition says nothing about the machine. */
static void test_definitions(void)
{
    DkvmFirstBoot first = good();
    for (int detail = 0; detail < 4; detail++) {
        dkvm_history_event(&first.history, VIR_DOMAIN_EVENT_DEFINED, detail, BOOT + 1);
    }
    g_assert_null(dkvm_first_boot_refusal(&first));
}

/* A second boot counts from the second on. */
static void test_boots_again(void)
{
    DkvmFirstBoot first = good();
    dkvm_history_event(&first.history, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN,
                       BOOT + 20 * S);
    dkvm_history_event(&first.history, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED,
                       BOOT + 21 * S);
    first.defined_at = BOOT + 22 * S;
    g_assert_null(dkvm_first_boot_refusal(&first));
}

static void test_machine(void)
{
    DkvmFirstBoot first = good();
    first.machine.readable = FALSE;
    assert_refused(&first, "could not be read");
    first = good();
    first.machine.patched = TRUE;
    assert_refused(&first, "patched already");
    first = good();
    first.machine.pci = TRUE;
    assert_refused(&first, "PCI");
    first = good();
    first.machine.kernel = TRUE;
    assert_refused(&first, "kernel");
}

static void test_written(void)
{
    DkvmFirstBoot first = good();
    g_assert_cmpstr(late(&first, &first.history, DKVM_WRITTEN_YES, BOOT + 2 * S), ==,
                    "it has written to a disk");
    g_assert_nonnull(late(&first, &first.history, DKVM_WRITTEN_UNKNOWN, BOOT + 2 * S));
    g_assert_nonnull(late(&first, &first.history, (DkvmWritten)7, BOOT + 2 * S));
}

static void test_late_age(void)
{
    DkvmFirstBoot first = good();
    g_assert_null(late(&first, &first.history, DKVM_WRITTEN_NO, BOOT + 16 * S));
    g_assert_nonnull(late(&first, &first.history, DKVM_WRITTEN_NO, BOOT + 16 * S + 1));
    g_assert_nonnull(late(&first, &first.history, DKVM_WRITTEN_NO, BOOT - 1));
}

static void test_meanwhile(void)
{
    DkvmFirstBoot first = good();
    DkvmHistory now = first.history;
    dkvm_history_event(&now, VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_UPDATED, BOOT + S);
    g_assert_null(late(&first, &now, DKVM_WRITTEN_NO, BOOT + 2 * S));
    dkvm_history_event(&now, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED,
                       BOOT + S);
    g_assert_nonnull(late(&first, &now, DKVM_WRITTEN_NO, BOOT + 2 * S));
    /* Started once more within the same microsecond: still not the machine that was looked at. */
    dkvm_history_event(&now, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED, BOOT);
    g_assert_cmpint(now.booted, ==, first.history.booted);
    g_assert_nonnull(late(&first, &now, DKVM_WRITTEN_NO, BOOT + 2 * S));
}

static void test_ours(void)
{
    DkvmHistory at_stop = booted_at(BOOT), now = at_stop;
    g_assert_false(dkvm_first_boot_is_ours(&at_stop, &now));
    dkvm_history_event(&now, VIR_DOMAIN_EVENT_SHUTDOWN, 0, BOOT + S); /* QEMU's own word */
    g_assert_false(dkvm_first_boot_is_ours(&at_stop, &now));
    dkvm_history_event(&now, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED,
                       BOOT + S);
    g_assert_true(dkvm_first_boot_is_ours(&at_stop, &now));
    dkvm_history_event(&now, VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_UPDATED, BOOT + S);
    g_assert_true(dkvm_first_boot_is_ours(&at_stop, &now));
    /* Somebody started it and stopped it again: theirs to start. */
    dkvm_history_event(&now, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED,
                       BOOT + 2 * S);
    g_assert_false(dkvm_first_boot_is_ours(&at_stop, &now));
    dkvm_history_event(&now, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED,
                       BOOT + 3 * S);
    g_assert_false(dkvm_first_boot_is_ours(&at_stop, &now));
}

static void test_stopped_otherwise(void)
{
    for (int detail = 0; detail < 8; detail++) {
        DkvmHistory at_stop = booted_at(BOOT), now = at_stop;
        dkvm_history_event(&now, VIR_DOMAIN_EVENT_STOPPED, detail, BOOT + S);
        g_assert_true(dkvm_first_boot_is_ours(&at_stop, &now) ==
                      (detail == VIR_DOMAIN_EVENT_STOPPED_DESTROYED));
    }
}

static void test_waits(void)
{
    const DkvmMachine with = {.console = TRUE}, without = {0};
    const gint64 ms = G_TIME_SPAN_MILLISECOND, settle = 1500 * ms;
    g_assert_true(dkvm_first_boot_waits(&without, 0, 0, settle, 1499 * ms));
    g_assert_false(dkvm_first_boot_waits(&without, 0, 0, settle, 1500 * ms));
    g_assert_true(dkvm_first_boot_waits(&with, 0, 0, settle, 5999 * ms));
    g_assert_false(dkvm_first_boot_waits(&with, 0, 0, settle, 6000 * ms));
    g_assert_true(dkvm_first_boot_waits(&with, 100 * ms, 0, settle, 1400 * ms));
    g_assert_false(dkvm_first_boot_waits(&with, 100 * ms, 0, settle, 1500 * ms));
    g_assert_true(dkvm_first_boot_waits(&with, 3000 * ms, 0, settle, 3499 * ms));
    g_assert_false(dkvm_first_boot_waits(&with, 3000 * ms, 0, settle, 3500 * ms));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/history/waits", test_waits);
    g_test_set_nonfatal_assertions();
    g_test_add_func("/first-boot/all-conditions-hold", test_good);
    g_test_add_func("/first-boot/first-boot-leave", test_configured);
    g_test_add_func("/first-boot/found-by-a-scan", test_scanned);
    g_test_add_func("/first-boot/not-added", test_detail);
    g_test_add_func("/first-boot/age", test_age);
    g_test_add_func("/first-boot/not-booted", test_started_otherwise);
    g_test_add_func("/first-boot/never-started", test_never_started);
    g_test_add_func("/first-boot/something-happened", test_something_happened);
    g_test_add_func("/first-boot/definitions", test_definitions);
    g_test_add_func("/first-boot/boots-again", test_boots_again);
    g_test_add_func("/first-boot/machine", test_machine);
    g_test_add_func("/first-boot/late/written", test_written);
    g_test_add_func("/first-boot/late/age", test_late_age);
    g_test_add_func("/first-boot/late/meanwhile", test_meanwhile);
    g_test_add_func("/first-boot/start/ours", test_ours);
    g_test_add_func("/first-boot/start/stopped-otherwise", test_stopped_otherwise);
    return g_test_run();
}
