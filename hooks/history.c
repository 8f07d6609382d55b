/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/history.h"

#include <libvirt/libvirt.h>

void dkvm_history_event(DkvmHistory *history, int event, int detail, gint64 now)
{
    if (event == VIR_DOMAIN_EVENT_DEFINED) {
        return;
    }
    if (event == VIR_DOMAIN_EVENT_UNDEFINED) {
        history->booted = 0;
        return;
    }
    history->last = event;
    history->detail = detail;
    history->count++;
    if (event == VIR_DOMAIN_EVENT_STARTED) {
        history->booted = detail == VIR_DOMAIN_EVENT_STARTED_BOOTED ? now : 0;
        history->starts++;
        return;
    }
    /* A boot is told as RESUMED/UNPAUSED, then STARTED/BOOTED (facts/define.md 1).  Everything else
     * says that the machine is somebody's already. */
    history->booted = 0;
}

const char *dkvm_first_boot_refusal(const DkvmFirstBoot *first)
{
    gint64 age = first->defined_at - first->history.booted;
    if (!first->restart) {
        return "dkvm.conf says first-boot = leave";
    }
    if (first->scanned) {
        return "it was running before dkvm-watchd looked";
    }
    if (first->defined != VIR_DOMAIN_EVENT_DEFINED_ADDED) {
        return "it was defined before";
    }
    if (first->history.booted == 0) {
        return "dkvm-watchd has not seen it boot, or something happened to it since";
    }
    if (age < 0 || age > DKVM_FIRST_BOOT_AGE) {
        return "it had been running for more than 10 seconds";
    }
    if (!first->machine.readable) {
        return "what is running could not be read";
    }
    if (first->machine.patched) {
        return "what is running is patched already";
    }
    if (first->machine.pci) {
        return "it uses a PCI device of the host";
    }
    return first->machine.kernel ? "it boots a kernel that is not in the definition" : NULL;
}

const char *dkvm_first_boot_late_refusal(const DkvmFirstBoot *first, const DkvmHistory *now,
                                         DkvmWritten written, gint64 settle, gint64 time)
{
    const char *refusal = dkvm_first_boot_refusal(first);
    if (refusal != NULL) {
        return refusal;
    }
    if (now->booted != first->history.booted || now->count != first->history.count) {
        return "something happened to it meanwhile";
    }
    if (time < now->booted ||
        time - now->booted > DKVM_FIRST_BOOT_AGE + settle * DKVM_SETTLE_MOST) {
        return "it has been running for too long by now";
    }
    switch (written) {
    case DKVM_WRITTEN_NO:
        return NULL;
    case DKVM_WRITTEN_YES:
        return "it has written to a disk";
    case DKVM_WRITTEN_UNKNOWN:
        break;
    }
    return "libvirt does not say whether it has written to its disks";
}

gboolean dkvm_first_boot_waits(const DkvmMachine *machine, gint64 viewed, gint64 patched,
                               gint64 settle, gint64 now)
{
    if (now - patched < settle) {
        return TRUE;
    }
    if (!machine->console || now - patched >= settle * DKVM_SETTLE_MOST) {
        return FALSE;
    }
    /* What has just connected is still being greeted. */
    return viewed == 0 || now - viewed < settle / 3;
}

gboolean dkvm_first_boot_is_ours(const DkvmHistory *at_stop, const DkvmHistory *now)
{
    return now->last == VIR_DOMAIN_EVENT_STOPPED &&
           now->detail == VIR_DOMAIN_EVENT_STOPPED_DESTROYED && now->starts == at_stop->starts;
}
