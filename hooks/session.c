/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/session.h"

#include <stdio.h>
#include <string.h>

#include "lib/paths.h"

#define CONNECTED 3 /* SS_CONNECTED of linux/net.h, as in the column St */

/* A socket that libvirtd accepted has the path that it listens at; the client's end has none. */
static guint count(FILE *sockets, const char *directory)
{
    static const char *const names[] = {"libvirt-sock", "virtqemud-sock"};
    char line[512], path[256];
    unsigned int state;
    guint found = 0;
    while (fgets(line, sizeof line, sockets) != NULL) {
        if (sscanf(line, "%*s %*s %*s %*s %*s %2x %*s %255s", &state, path) != 2 ||
            state != CONNECTED) {
            continue;
        }
        for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
            g_autofree char *name = g_build_filename(directory, names[i], NULL);
            found += g_str_equal(path, name);
        }
    }
    return found;
}

gboolean dkvm_session_in_use(guint ours)
{
    g_autofree char *directory = g_build_filename(g_get_user_runtime_dir(), "libvirt", NULL);
    g_autofree char *path = dkvm_path("/proc/net/unix");
    FILE *sockets = fopen(path, "re");
    if (sockets == NULL) {
        return TRUE;
    }
    guint found = count(sockets, directory);
    fclose(sockets);
    return found > ours;
}
