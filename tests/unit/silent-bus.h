/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A system bus that takes connections and says nothing, for systemd's clients below `root`. */
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/handover-host.h"

/* Its descriptor: a connection to it waits to be accepted. */
static int silent_bus_start(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    g_autofree char *path = at("/silent"), *address = g_strconcat("unix:path=", path, NULL);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    (void)g_strlcpy(name.sun_path, path, sizeof name.sun_path);
    g_assert_cmpint(bind(listener, (struct sockaddr *)&name, sizeof name), ==, 0);
    g_assert_cmpint(listen(listener, 16), ==, 0);
    g_assert_true(g_setenv("DBUS_SYSTEM_BUS_ADDRESS", address, TRUE));
    return listener;
}
