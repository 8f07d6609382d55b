/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard of one VM: does the hand-over when a hook asks for it, watches as long as the VM runs,
 * and gives everything back when it ended, was released, or was never started. */
#pragma once

#include <glib.h>

/* Ends when nothing of UUID is left to guard.  Returns the exit code. */
int dkvm_guardian_run(const char *uuid);
