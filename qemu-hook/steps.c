/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The order of a hand-over (facts/handoff.md D.3).  Those that are done when the guest runs stand
 * where they are to be undone: after the devices are back (D.5). */
#include "qemu-hook/step.h"

const DkvmStep *const dkvm_steps[] = {
    &dkvm_step_ownership,   &dkvm_step_inhibitor,     &dkvm_step_post,        &dkvm_step_pre,
    &dkvm_step_cpuset,                                                /* these five later */
    &dkvm_step_irq_default, &dkvm_step_irq,           &dkvm_step_epp, /* before governor: see
                                                                         step-governor.c */
    &dkvm_step_governor,    &dkvm_step_hugepages,     &dkvm_step_module,      &dkvm_step_manager,
    &dkvm_step_session,     &dkvm_step_services,      &dkvm_step_drain,       &dkvm_step_console,
    &dkvm_step_firmware,    &dkvm_step_nvidia_module, &dkvm_step_nvidia_idle, &dkvm_step_nvidia,
    &dkvm_step_unbind,      &dkvm_step_forget,        &dkvm_step_override,    &dkvm_step_bar,
    &dkvm_step_reset,       &dkvm_step_bind,          &dkvm_step_proof,       NULL,
};

const DkvmStep *dkvm_step_find(const char *name)
{
    for (gsize i = 0; dkvm_steps[i]; i++) {
        if (g_str_equal(dkvm_steps[i]->name, name))
            return dkvm_steps[i];
    }
    return NULL;
}
