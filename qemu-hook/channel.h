/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hook or command line <-> guard: /run/dkvm/UUID/sock, one packet a message, a text of at most
 * DKVM_MESSAGE_MAX bytes and at most one descriptor. */
#pragma once

#include <glib.h>

#define DKVM_MESSAGE_MAX 8192

/* Listens for UUID (folder there, lock held).  -1 with DKVM_ERROR_FILE. */
int dkvm_channel_listen(const char *uuid, GError **error);
/* Connects to the guard of UUID; -1 with errno if there is none. */
int dkvm_channel_connect(const char *uuid);
/* A connection of the same user; -1 if there is none, or it is somebody else's. */
int dkvm_channel_accept(int listener);

/* FD -1: none.  FALSE with errno. */
gboolean dkvm_channel_send(int channel, const char *text, int fd);
/* Waits at most MILLISECONDS.  NULL: nothing came (*FD is -1), with errno ETIMEDOUT, or EPIPE where
 * the other end is closed.  *FD (may be NULL) is the descriptor that came along, or -1; the
 * caller's.  g_free. */
char *dkvm_channel_receive(int channel, int milliseconds, int *fd);
/* The domain in the file FD that came along, as text of *LENGTH bytes; g_free.  NULL with
 * DKVM_ERROR_INPUT. */
char *dkvm_channel_read_domain(int fd, gsize *length, GError **error);
