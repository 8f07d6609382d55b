/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of dkvm_host_read(), a file each.  Each fills in what it finds; what it does not find
 * is unknown and no error. */
#pragma once

#include "udev/host.h"

/* At most MAX bytes of PATH below the root prefix; NULL if it cannot be read.  g_free. */
char *dkvm_host_text(const char *path, gsize max);

/* What goes into tables, XML and pictures: at most 256 bytes of TEXT as printable UTF-8, whatever
 * it was before.  g_free. */
char *dkvm_clean_text(const char *text, gsize length);

/* The symbolic link PATH (below the root prefix) as an absolute path without the prefix, "." and
 * ".." taken out by name; NULL if it is none.  g_free. */
char *dkvm_host_link(const char *path);

/* The names in the directory PATH below the root prefix, in natural order; empty if there is none.
 * A new array of strings that it owns. */
GPtrArray *dkvm_host_list(const char *path);
int dkvm_compare_names(gconstpointer a, gconstpointer b);

/* The file NAME in the open directory DIR, one line of it, as dkvm_clean_text(); NULL if it is
 * empty or not there.  g_free. */
char *dkvm_host_line(int dir, const char *name);

void dkvm_host_read_groups(
    DkvmHost *host); /* groups.c; where a device's group is still its number */
void dkvm_host_read_names(DkvmHost *host); /* names.c: hwdb */
void dkvm_host_drop_modules(DkvmHost *host);
void dkvm_host_read_storage(DkvmHost *host);  /* storage.c: mounts, swap, what is stacked */
void dkvm_host_read_network(DkvmHost *host);  /* network.c: interfaces, default route */
void dkvm_host_read_input(DkvmHost *host);    /* input.c: keyboards and mice */
void dkvm_host_read_displays(DkvmHost *host); /* display.c: screens, console */
