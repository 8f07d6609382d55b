/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/session.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/paths.h"

/* The columns Flags and St of /proc/net/unix: __SO_ACCEPTCON and SS_CONNECTED of linux/net.h. */
#define LISTENS 0x10000
#define CONNECTED 3

typedef struct {
    guint listening, connected;
} Sockets;

static gboolean is_libvirts(const char *path, const char *directory)
{
    static const char *const names[] = {"libvirt-sock", "virtqemud-sock"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *name = g_build_filename(directory, names[i], NULL);
        if (g_str_equal(path, name)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* A socket that libvirtd accepted has the path that it listens at; the client's end has none. */
static Sockets count(FILE *file, const char *directory)
{
    char line[512], flags[9], state[3], path[256];
    Sockets sockets = {0, 0};
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%*s %*s %*s %8s %*s %2s %*s %255s", flags, state, path) == 3 &&
            is_libvirts(path, directory)) {
            sockets.listening += (g_ascii_strtoull(flags, NULL, 16) & LISTENS) != 0;
            sockets.connected += g_ascii_strtoull(state, NULL, 16) == CONNECTED;
        }
    }
    return sockets;
}

static Sockets look(void)
{
    g_autofree char *directory = g_build_filename(g_get_user_runtime_dir(), "libvirt", NULL);
    g_autofree char *path = dkvm_path("/proc/net/unix");
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return (Sockets){0, 0};
    }
    Sockets sockets = count(file, directory);
    fclose(file);
    return sockets;
}

gboolean dkvm_session_in_use(guint ours)
{
    Sockets sockets = look();
    return sockets.listening > 0 && sockets.connected > ours;
}

gboolean dkvm_session_runs(void)
{
    return look().listening > 0;
}

gint64 dkvm_session_definitions(void)
{
    struct stat st;
    g_autofree char *path = g_build_filename(g_get_user_config_dir(), "libvirt", "qemu", NULL);
    if (stat(path, &st) != 0) {
        return 0;
    }
    return (gint64)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
}
