/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/notify.h"

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static gboolean send_to(const char *path, const char *state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    gsize length = strlen(path);
    if ((*path != '/' && *path != '@') || length < 2 || length >= sizeof address.sun_path) {
        return FALSE;
    }
    memcpy(address.sun_path, path, length);
    if (*path == '@') {
        address.sun_path[0] = '\0'; /* an abstract socket */
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return FALSE;
    }
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    ssize_t sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
                          (const struct sockaddr *)&address, size);
    close(fd);
    return sent == (ssize_t)strlen(state);
}

gboolean dkvm_notify(const char *state)
{
    const char *path = g_getenv("NOTIFY_SOCKET");
    return path != NULL && send_to(path, state);
}

gint64 dkvm_notify_watchdog(void)
{
    const char *usec = g_getenv("WATCHDOG_USEC"), *pid = g_getenv("WATCHDOG_PID");
    guint64 value = 0, process = 0;
    if (usec == NULL || !g_ascii_string_to_unsigned(usec, 10, 1, G_MAXINT64, &value, NULL)) {
        return 0;
    }
    if (pid != NULL && (!g_ascii_string_to_unsigned(pid, 10, 1, G_MAXINT32, &process, NULL) ||
                        (pid_t)process != getpid())) {
        return 0; /* meant for another process */
    }
    return (gint64)value;
}
