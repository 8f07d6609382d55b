/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The state of this boot, /run/dkvm (0700 root): a folder for each UUID with journal, lock, socket
 * and, at its end, released; own/BDF, a file that says whose each taken device is; hugepages
 * (hugepages.h).  Every path is made of a UUID or an address that was parsed, never of a name. */
#pragma once

#include <glib.h>

#define DKVM_RUN_DIR "/run/dkvm"
#define DKVM_UUID_LENGTH 36

/* TEXT is a UUID as libvirt prints it: 8-4-4-4-12 lower-case hexadecimal digits. */
gboolean dkvm_uuid_is_valid(const char *text);
/* Any form that libvirt reads (upper case, missing or other hyphens) as libvirt prints it; NULL if
 * TEXT is no UUID.  g_free. */
char *dkvm_uuid_normalize(const char *text);

/* /run/dkvm/UUID/NAME below the root prefix; NAME NULL: the folder.  g_free. */
char *dkvm_rundir_path(const char *uuid, const char *name);
/* /run/dkvm/own/NAME; NAME NULL: the folder. */
char *dkvm_rundir_owner_path(const char *name);

/* Makes /run/dkvm, own/ and (UUID not NULL) the folder of UUID, mode 0700.  Errors:
 * DKVM_ERROR_FILE; also where one of them is a link or somebody else's. */
gboolean dkvm_rundir_make(const char *uuid, GError **error);
/* Takes away all that a guard makes in the folder of UUID, and the folder: nothing is handed over.
 */
void dkvm_rundir_clear(const char *uuid);

/* libvirt's "release" is written down before it is told, for a guard that is just being started
 * anew and hears nothing yet.  Nothing is made for a UUID without a folder. */
void dkvm_rundir_note_release(const char *uuid);
gboolean dkvm_rundir_is_released(const char *uuid);
/* Of an earlier run. */
void dkvm_rundir_forget_release(const char *uuid);

/* The UUIDs that have a folder, sorted; empty if there is none.  g_strfreev. */
char **dkvm_rundir_list(void);

/* Takes the lock of UUID, whose folder must exist, without waiting.  Returns a descriptor that
 * holds it until it is closed, or -1 with DKVM_ERROR_REFUSED (held by another) or DKVM_ERROR_FILE.
 */
int dkvm_rundir_lock(const char *uuid, GError **error);

/* The kernel's boot_id; never NULL ("" if it cannot be read).  g_free. */
char *dkvm_boot_id(void);

/* When process PID began, in clock ticks since boot (field 22 of /proc/PID/stat): with the number
 * it names one process.  0: there is none, or it has ended. */
guint64 dkvm_process_start(pid_t pid);
/* Its parent; 0: there is none. */
pid_t dkvm_process_parent(pid_t pid);
/* The process that has PID and began at START is still there. */
gboolean dkvm_process_is(pid_t pid, guint64 start);
/* A descriptor that becomes readable when that process ends; -1 if it is gone. */
int dkvm_process_open(pid_t pid, guint64 start);
