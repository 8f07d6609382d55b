/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs a program of the admin's and waits for it, with a deadline.  It gets nothing of this process
 * but its environment: no descriptor, no signal mask, a process group of its own. */
#pragma once

#include <glib.h>

/* A line that it printed, made printable. */
typedef void DkvmSaid(const char *line, gpointer data);

/* Runs PATH without arguments with ENVIRONMENT, and gives what it prints to SAID.  At the deadline
 * its process group is killed; so is the program itself when this process is.  Errors:
 * DKVM_ERROR_REFUSED, a sentence that goes on after the program's name, with the last line that it
 * printed. */
gboolean dkvm_program_run(const char *path, char **environment, guint milliseconds, DkvmSaid *said,
                          gpointer data, GError **error);
