/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/motd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/paths.h"
#include "qemu-hook/rundir.h"

#define FOLDER "/run/motd.d"
#define MAX_CHARACTERS 2000 /* of what happened */

/* It goes to a terminal, and names of VMs and processes are anybody's. */
static char *printable(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *clean = g_string_new(NULL);
    guint count = 0;

    for (const char *p = valid; *p && count < MAX_CHARACTERS; p = g_utf8_next_char(p), count++) {
        gunichar c = g_utf8_get_char(p);

        g_string_append_unichar(clean, g_unichar_isprint(c) ? c : '?');
    }
    return g_string_free(clean, FALSE);
}

static char *message(const DkvmHandover *handover, gboolean left, const char *path)
{
    g_autofree char *name = printable(handover->name);
    g_autofree char *problems = printable(handover->problems->str);
    g_autofree char *rescues = printable(handover->rescues->str);
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "dkvm: VM %s %s:\n", name,
                           left ? "could not give everything back"
                                : "has given its devices back, but not as usual");
    if (*problems)
        g_string_append_printf(text, "  %s.\n", problems);
    if (*rescues)
        g_string_append_printf(text, "  %s.\n", rescues);
    if (left)
        g_string_append_printf(text,
                               "'sudo dkvm-gpu status' shows the rest, 'sudo dkvm-gpu restore %s' "
                               "tries again. If that does not help, start the host again.\n",
                               handover->uuid);
    else if (*rescues)
        g_string_append(text, "It works again. If this happens each time, shut the guest down "
                              "instead of forcing it off.\n");
    g_string_append_printf(text,
                           "'journalctl -t dkvm-gpu' has the details. This message goes when all "
                           "is well the next time, or with 'sudo rm %s'.\n",
                           path);
    return g_string_free(text, FALSE);
}

/* In a file of our own first, which is moved: nobody reads half of it. */
static void put(const DkvmHandover *handover, const char *path, const char *text)
{
    g_autofree char *folder = dkvm_path(FOLDER);
    g_autofree char *temporary = dkvm_rundir_path(handover->uuid, "motd");
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    gboolean ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) &&
                  fchmod(fd, 0644) == 0; /* read with the rights of who logs in */

    if (fd >= 0 && close(fd) != 0)
        ok = FALSE;
    if (ok && mkdir(folder, 0755) == 0)
        ok = chmod(folder, 0755) == 0; /* whatever our umask is */
    ok = ok && rename(temporary, path) == 0;
    if (!ok)
        dkvm_log_warning("cannot write %s: %s; the next login is not told", path,
                         g_strerror(errno));
    (void)unlink(temporary);
}

void dkvm_motd_update(const DkvmHandover *handover, gboolean left)
{
    g_autofree char *relative = g_strconcat(FOLDER "/dkvm-", handover->uuid, NULL);
    g_autofree char *path = dkvm_path(relative);

    if (!left && handover->problems->len == 0 && handover->rescues->len == 0) {
        (void)unlink(path);
        return;
    }
    g_autofree char *text = message(handover, left, path);

    put(handover, path, text);
}
