/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small files of sysfs and procfs, read with one open and a bound.  libc only: dkvm-udev uses it.
 * Nothing here trusts what a file says. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Reads at most SIZE - 1 bytes of NAME below the directory DIR (AT_FDCWD: as the path says) and
 * ends them with NUL.  Returns the number of bytes, or -1 with errno.  A longer file is cut. */
ssize_t dkvm_sysfs_read(int dir, const char *name, char *buffer, size_t size);

/* The same as one line: trailing white space removed; a NUL or any other control character ends
 * the text. */
ssize_t dkvm_sysfs_line(int dir, const char *name, char *buffer, size_t size);

/* An unsigned number of at most MAX, hexadecimal with or without 0x, alone in the file or text. */
bool dkvm_sysfs_hex(int dir, const char *name, uint64_t max, uint64_t *value);
bool dkvm_parse_hex(const char *text, uint64_t max, uint64_t *value);

/* A decimal number of at most MAX that begins TEXT; *END (may be NULL) is what follows it. */
bool dkvm_parse_number(const char *text, unsigned max, unsigned *value, const char **end);
/* "226:0", as "dev" files have it. */
bool dkvm_parse_device_number(const char *text, unsigned *major_number, unsigned *minor_number);

/* The last component of the target of the symbolic link NAME, as "driver" names its driver.
 * Returns false if there is no such link or the name does not fit. */
bool dkvm_sysfs_link_name(int dir, const char *name, char *buffer, size_t size);

/* What kind of file NAME (relative to DIR) is and, of a device, which: stat(2) without asking
 * anybody for it.  A file server that does not answer is not waited for, and a user's own FUSE
 * mount, of which root is told nothing (fuse_getattr() in fs/fuse/dir.c: EACCES, unless nothing is
 * asked), is no error but a file of no kind: mode 0.  Fills mode, rdev, dev and ino, 0 where
 * unknown.  FALSE with errno. */
bool dkvm_sysfs_kind(int dir, const char *name, struct stat *st);

/* Writes TEXT in one write(2), as sysfs wants it.  Returns 0 or an errno. */
int dkvm_sysfs_write(int dir, const char *name, const char *text);

/* What is there and could not be read looks like what is not there to whoever asks for one value.
 * Who must know it (a plan) asks afterwards: the errno and the file of the first such failure since
 * the last call, or 0.  _note() is for what is read in other ways. */
int dkvm_sysfs_trouble(const char **name);
void dkvm_sysfs_note(int cause, const char *name);
