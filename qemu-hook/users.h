/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who on this host holds a device: another guest, the desktop, or some process. */
#pragma once

#include "udev/host.h"
#include "udev/mappings.h"

typedef enum {
    DKVM_USER_GUEST,     /* has /dev/vfio/... open */
    DKVM_USER_MANAGER,   /* the display manager's unit */
    DKVM_USER_SESSION,   /* of a graphical session, or of its user */
    DKVM_USER_KEEPER,    /* init, logind, seatd: hold it for a session, and let go with it */
    DKVM_USER_PROTECTED, /* dbus, libvirtd, sshd ...: never ended by us */
    DKVM_USER_OTHER,
    DKVM_USER_UNSEEN, /* no process: it could not be found out who else there is */
} DkvmUserKind;

typedef struct {
    DkvmUserKind kind;
    pid_t pid;
    guint64 start;
    char *command, *node;
    gboolean mapped; /* the node is in its memory only, not open */
    char *unit;      /* "lightdm.service", "session-2.scope"; "" unknown */
} DkvmUser;

/* A new array (of DkvmUser, owned): one entry for each process and node that it has open or, by
 * MAPPINGS, in its memory (NULL: looked up now).  Who has a node open that only hangs up when the
 * device goes (input, raw USB) is not in it. */
GPtrArray *dkvm_users(const DkvmDevice *device, const DkvmMappings *mappings);

/* The display manager's unit, "lightdm.service"; NULL: this host has none.  g_free. */
char *dkvm_display_manager(void);
/* The session's type, "wayland"; NULL: there is no such session.  g_free. */
char *dkvm_session_type(const char *session);
gboolean dkvm_session_is_graphical(const char *session);
/* "Xorg (812, lightdm.service) has /dev/dri/card0 open"; g_free. */
char *dkvm_user_text(const DkvmUser *user);
/* Those of DEVICE, "A; B"; "" if there are none; g_free. */
char *dkvm_users_text(const DkvmDevice *device);
