/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a definition from libvirt's pipe, bounded in size and in time.  libc only. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* What a definition may have (libvirt's largest test domain is 20 kB), and how long it may take
 * from the first byte to the end of the file. */
#define DKVM_HOOK_MAX (4U * 1024 * 1024)
#define DKVM_HOOK_READ_MS 5000

/* Reads FD to its end into BUFFER of SIZE bytes, for at most MILLISECONDS altogether, however
 * slowly it comes.  Returns the number of bytes (0: there was nothing), less than SIZE; or -1 with
 * errno: ETIMEDOUT, EFBIG (SIZE bytes or more), or what poll(2) or read(2) said. */
ssize_t dkvm_hook_read(int fd, char *buffer, size_t size, int milliseconds);
