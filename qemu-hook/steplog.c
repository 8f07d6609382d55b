/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/steplog.h"

#include <unistd.h>

#include "lib/log.h"
#include "lib/paths.h"
#include "qemu-hook/step.h"

#define JOURNAL "/run/systemd/journal/socket"

void dkvm_step_log(const char *uuid, const DkvmAction *action, gboolean bad, const char *what)
{
    g_autofree char *text = dkvm_action_text(action);
    g_autofree char *line = g_strdup_printf("%s: %s", text, what);
    const GLogField fields[] = {
        {"MESSAGE", line, -1},
        {"PRIORITY", bad ? "4" : "6", -1},
        {"SYSLOG_IDENTIFIER", "dkvm-gpu", -1},
        {"DKVM_UUID", uuid, -1},
        {"DKVM_STEP", action->step->name, -1},
        {"DKVM_BDF", action->target, -1},
    };

    if (*dkvm_paths_root() == '\0' && access(JOURNAL, F_OK) == 0 &&
        g_log_writer_journald(bad ? G_LOG_LEVEL_WARNING : G_LOG_LEVEL_INFO, fields,
                              G_N_ELEMENTS(fields) - !action->step->on_device,
                              NULL) == G_LOG_WRITER_HANDLED)
        return;
    if (bad)
        dkvm_log_warning("%s: %s", uuid, line);
    else
        dkvm_log_note("%s: %s", uuid, line);
}
