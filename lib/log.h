/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One sink for what a program says beside its result: stderr, a line each, "PROGRAM: LEVEL: text".
 * GLib's own messages (g_warning ...) go the same way.  Keeps errno. */
#pragma once

#include <glib.h>

/* Installs the sink; PROGRAM is kept by reference (a literal). */
void dkvm_log_init(const char *program);
void dkvm_log_error(const char *format, ...) G_GNUC_PRINTF(1, 2);
void dkvm_log_warning(const char *format, ...) G_GNUC_PRINTF(1, 2);
void dkvm_log_note(const char *format, ...) G_GNUC_PRINTF(1, 2);
