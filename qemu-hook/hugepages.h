/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel's pools of huge pages, one for each size and node, and which VM counts on how many of
 * them. */
#pragma once

#include <glib.h>

#define DKVM_NO_NODE (-1) /* a kernel without NUMA: the pool of the whole host */

typedef struct {
    int node; /* or DKVM_NO_NODE */
    guint64 kb;
} DkvmPool;

/* "node0/2048kB", "host/2048kB"; g_free. */
char *dkvm_pool_name(const DkvmPool *pool);
gboolean dkvm_pool_parse(const char *name, DkvmPool *pool);
/* /sys/.../hugepages-2048kB/FILE without the root prefix; g_free. */
char *dkvm_pool_path(const DkvmPool *pool, const char *file);
/* A number in one of its files; 0 if it is not there. */
guint64 dkvm_pool_count(const DkvmPool *pool, const char *file);
/* Of its free pages those that the kernel has promised to others' mappings: for one node the most
 * that it may be. */
guint64 dkvm_pool_reserved(const DkvmPool *pool);

/* 1: the VM counts on pages of that pool, and some of them may have been made for it; 0: it does
 * not; -1: that cannot be found out now. */
int dkvm_hugepages_has(const char *uuid, const DkvmPool *pool);
/* How many free pages of the pool other VMs count on that do not run yet, or not any more.  For a
 * plan: what cannot be found out is noted (udev/sysfs.h). */
guint64 dkvm_hugepages_promised(const char *uuid, const DkvmPool *pool);

/* For the worker.  POOL: its name; WHAT: "UUID NEED PID", PID the guard that wants it: NEED pages
 * are free for that VM, what is missing is made.  Returns 0 or an errno; *TEXT: why not.  Then,
 * too, dkvm_hugepages_give() takes away what was made. */
int dkvm_hugepages_take(const char *pool, const char *what, char **text);
/* WHAT: "UUID".  Takes away as many as were made for it. */
int dkvm_hugepages_give(const char *pool, const char *what, char **text);
