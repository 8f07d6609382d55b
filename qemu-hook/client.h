/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking a guard, and starting it where there is none. */
#pragma once

#include <glib.h>

typedef enum {
    DKVM_SAYS_OK,
    DKVM_SAYS_NO,      /* *TEXT says why */
    DKVM_SAYS_WEDGED,  /* the same; until the host is started again */
    DKVM_SAYS_NOTHING, /* the time is up, or the guard was killed */
} DkvmGuardAnswer;

/* Sends WORD ("prepare", ...) with who called us to the guard of UUID, with the descriptor FD (-1:
 * none), and waits at most MILLISECONDS: for the answer if ANSWERED, else until it was taken. */
DkvmGuardAnswer dkvm_client_ask(const char *uuid, const char *word, int fd, gboolean answered,
                                int milliseconds, char **text);

/* UUID has a journal or a guard. */
gboolean dkvm_client_is_known(const char *uuid);
