/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The subcommands of dkvm-gpu; each returns the exit code (0, 1, 4, or a DkvmError for what is no
 * matter of a hand-over). */
#pragma once

#include <glib.h>

int dkvm_command_plan(const char *domain, const char *file);
int dkvm_command_status(gboolean json);
/* UUID NULL: all. */
int dkvm_command_restore(const char *uuid);
int dkvm_command_recover(void);
/* The domain is on standard input. */
int dkvm_command_hook(const char *operation);

/* Tests: DKVM_FAILPOINT=N[:TARGET] kills TARGET (guard, worker, client, qemu, libvirtd) after
 * journal record N.  Heard only below another root (DKVM_ROOT), or if this was built with
 * -DDKVM_FAILPOINTS: an installed program has nothing that kills by an environment variable. */
void dkvm_failpoint_init(void);
struct DkvmHandover;
/* Whose worker, QEMU and caller are meant; CLIENT: the process that asks, 0 if none. */
void dkvm_failpoint_set(const struct DkvmHandover *handover, int client);
