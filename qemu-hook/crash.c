/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/crash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"
#include "lib/paths.h"
#include "qemu-hook/rundir.h"
#include "qemu-hook/step.h"
#include "udev/host-private.h"

#define NOTE_MAX 4096
#define GROUP "crash"

static char *note_path(const char *uuid)
{
    return g_strconcat(dkvm_paths_root(), DKVM_CRASH_DIR "/doing-", uuid, NULL);
}

static char *suspect_path(const char *bdf)
{
    return g_strconcat(dkvm_paths_root(), DKVM_CRASH_DIR "/suspect-", bdf, NULL);
}

static void make_folder(void)
{
    static const char *const parts[] = {"/var", "/var/lib"};
    g_autofree char *path = dkvm_path(DKVM_CRASH_DIR);

    for (gsize i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *part = dkvm_path(parts[i]);

        (void)mkdir(part, 0755);
    }
    (void)mkdir(path, 0700);
}

/* In place and synced: it is written before each act, and a torn one is no worse than none. */
static gboolean write_note(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return FALSE;
    gboolean ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fdatasync(fd) == 0;

    return close(fd) == 0 && ok;
}

/* The first display of the hand-over. */
static const DkvmTaken *display_of(const DkvmHandover *handover)
{
    for (guint i = 0; i < handover->devices->len; i++) {
        const DkvmTaken *taken = g_ptr_array_index(handover->devices, i);
        g_autofree char *path = g_strconcat(taken->sysfs, "/class", NULL);
        g_autofree char *class_code = dkvm_host_text(path, 16);

        if (class_code && g_str_has_prefix(class_code, "0x03"))
            return taken;
    }
    return NULL;
}

void dkvm_crash_note(DkvmHandover *handover, const DkvmAction *action, const char *what)
{
    gboolean on_device = action->step->on_device;
    const DkvmTaken *taken =
        on_device ? dkvm_handover_device(handover, action->target) : display_of(handover);
    g_autofree char *path = note_path(handover->uuid), *boot = dkvm_boot_id();
    g_autofree char *kernel = dkvm_host_text("/proc/sys/kernel/osrelease", 128);
    g_autofree char *text = g_strdup_printf(
        "[" GROUP "]\nboot=%s\nkernel=%s\nstep=%s\nwhat=%s\ndevice=%s\nidentity=%s\n"
        "pre=%s\npost=%s\n",
        boot, kernel ? g_strstrip(kernel) : "", action->step->name, what,
        taken ? taken->bdf : action->target, taken ? taken->identity : "",
        on_device ? action->pre : "", on_device ? action->post : "");

    make_folder();
    if (!write_note(path, text))
        dkvm_log_warning("cannot write %s: %s; a crash would not be remembered", path,
                         g_strerror(errno));
}

void dkvm_crash_clear(DkvmHandover *handover)
{
    g_autofree char *path = note_path(handover->uuid);

    (void)unlink(path);
}

static GKeyFile *read_note(const char *path)
{
    g_autofree char *text = dkvm_file_read(path, NOTE_MAX, NULL, NULL);
    g_autoptr(GKeyFile) file = g_key_file_new();

    if (!text || !g_key_file_load_from_data(file, text, strlen(text), G_KEY_FILE_NONE, NULL))
        return NULL;
    return g_steal_pointer(&file);
}

static char *value(GKeyFile *file, const char *key)
{
    char *text = g_key_file_get_string(file, GROUP, key, NULL);

    if (!text)
        return g_strdup("");
    return text;
}

static gboolean recover_one(const char *folder, const char *name, const char *boot)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autoptr(GKeyFile) file = read_note(path);
    DkvmBdf bdf;

    if (file) {
        g_autofree char *then = value(file, "boot"), *device = value(file, "device");

        if (g_str_equal(then, boot))
            return FALSE;
        if (dkvm_bdf_parse(device, &bdf)) {
            g_autofree char *suspect = suspect_path(device);

            return rename(path, suspect) == 0;
        }
    }
    (void)unlink(path);
    return FALSE;
}

guint dkvm_crash_recover(void)
{
    g_autofree char *folder = dkvm_path(DKVM_CRASH_DIR), *boot = dkvm_boot_id();
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;
    guint count = 0;

    while (dir && (name = g_dir_read_name(dir))) {
        if (g_str_has_prefix(name, "doing-"))
            count += recover_one(folder, name, boot);
    }
    return count;
}

char *dkvm_crash_suspect(const DkvmHost *host, const DkvmDevice *device, char **todo)
{
    g_autofree char *path = suspect_path(device->name);
    g_autoptr(GKeyFile) file = read_note(path);

    if (!file)
        return NULL;
    g_autofree char *kernel = value(file, "kernel"), *identity = value(file, "identity");
    g_autofree char *step = value(file, "step"), *what = value(file, "what");
    g_autofree char *pre = value(file, "pre");
    gboolean back = g_str_equal(what, "undo");
    g_autofree char *which =
        *pre ? g_strdup_printf(", %s %s", back ? "back to" : "away from", pre) : g_strdup("");
    g_autofree char *now = g_strdup_printf("0x%04x:0x%04x", device->id.vendor, device->id.device);

    if (g_strcmp0(kernel, host->kernel) != 0 || !g_str_equal(identity, now))
        return NULL;
    *todo = g_strdup_printf("Use another kernel or driver for it; to try it again all the same, "
                            "remove %s.",
                            path);
    return g_strdup_printf("The host died the last time it was %s (step %s%s, kernel %s).",
                           back ? "given back" : "handed over", step, which, kernel);
}
