/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which CPUs of this host are the guest's, and which are left to the host. */
#pragma once

#include "lib/numbers.h"
#include "qemu-hook/plan.h"

/* FALSE: the kernel does not say. */
gboolean dkvm_cpus_online(DkvmNumbers *cpus);
/* Those that its vCPUs are pinned to, or all if they are not. */
gboolean dkvm_cpus_of_guest(const DkvmPlan *plan, DkvmNumbers *cpus);
/* [handoff] host-cpus, or all that no vCPU is pinned to; none where none is pinned. */
gboolean dkvm_cpus_of_host(const DkvmPlan *plan, DkvmNumbers *cpus);
