/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One line in systemd's journal for each step, with the fields DKVM_UUID, DKVM_STEP and DKVM_BDF
 * (the target, where it is a device); to standard error where there is no such journal. */
#pragma once

#include "qemu-hook/handover.h"

void dkvm_step_log(const char *uuid, const DkvmAction *action, gboolean bad, const char *what);
