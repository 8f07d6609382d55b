/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/cpus.h"

#include "udev/host-private.h"

#define LIST_MAX 4096

gboolean dkvm_cpus_online(DkvmNumbers *cpus)
{
    g_autofree char *text = dkvm_host_text("/sys/devices/system/cpu/online", LIST_MAX);

    return text && dkvm_numbers_parse(text, cpus) && dkvm_numbers_count(cpus) > 0;
}

gboolean dkvm_cpus_of_guest(const DkvmPlan *plan, DkvmNumbers *cpus)
{
    if (dkvm_numbers_count(&plan->wants->pinned) == 0)
        return dkvm_cpus_online(cpus);
    *cpus = plan->wants->pinned;
    return TRUE;
}

gboolean dkvm_cpus_of_host(const DkvmPlan *plan, DkvmNumbers *cpus)
{
    if (plan->config->host_cpus) {
        *cpus = *plan->config->host_cpus;
        return TRUE;
    }
    DkvmNumbers guest;

    if (!dkvm_cpus_online(cpus) || !dkvm_cpus_of_guest(plan, &guest))
        return FALSE;
    dkvm_numbers_remove(cpus, &guest);
    return TRUE;
}
