/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The crash memory, /var/lib/dkvm: what was being done when the host died.  Before each act that is
 * known to take hosts down a note is brought to disk, and taken away after it.  A note that a boot
 * finds becomes a suspect, and the same act on the same device with the same kernel and driver is
 * refused until a person takes the suspect away. */
#pragma once

#include "qemu-hook/handover.h"

#define DKVM_CRASH_DIR "/var/lib/dkvm"

/* WHAT: "apply" or "undo" of ACTION.  A failure is logged and hinders nothing. */
void dkvm_crash_note(DkvmHandover *handover, const DkvmAction *action, const char *what);
void dkvm_crash_clear(DkvmHandover *handover);

/* At boot: notes of other boots become suspects.  Returns how many. */
guint dkvm_crash_recover(void);

/* A suspect for DEVICE with this kernel: a sentence (g_free) with what to do in *TODO (g_free);
 * NULL if there is none. */
char *dkvm_crash_suspect(const DkvmHost *host, const DkvmDevice *device, char **todo);
