/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The last rung of facts/handoff.md D.6: a host whose only display does not come back from a VM is
 * started again by logind, in an orderly way, and everybody who is logged in can call it off.  Only
 * where dkvm.conf said "reboot = rescue" when the VM was started. */
#pragma once

#include "qemu-hook/handover.h"

/* After what could be tried was tried.  Asks logind once for a hand-over, if a GPU of it that may
 * cost a reboot has no driver of the host, no other GPU has one, and nothing speaks against it: a
 * shutdown inhibitor, a host that is on its way down, or was started less than ten minutes ago. */
void dkvm_reboot_ask(const DkvmHandover *handover);

/* When everything is back after all. */
void dkvm_reboot_call_off(const DkvmHandover *handover);
