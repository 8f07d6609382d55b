/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A host with huge pages for tests: 100 of 2 MiB on node 0, 60 of them free, and room for more. */
#pragma once

#include "qemu-hook/hugepages.h"
#include "tests/unit/handover-host.h"

#define OTHER "99999999-2222-3333-4444-555555555555"
#define POOL_NAME "node0/2048kB"
#define POOL "/sys/devices/system/node/node0/hugepages/hugepages-2048kB"
#define LEDGER "/run/dkvm/hugepages"

static const DkvmPool pool = {.node = 0, .kb = 2048};

static guint64 count(const char *name)
{
    return dkvm_pool_count(&pool, name);
}

static void set_pages(guint64 all, guint64 free_pages, guint64 surplus)
{
    g_autofree char *path = at(POOL "/x");

    put_count(path, "nr_hugepages", all);
    put_count(path, "free_hugepages", free_pages);
    put_count(path, "surplus_hugepages", surplus);
}

static void assert_pages(guint64 all, guint64 free_pages, guint64 surplus)
{
    g_assert_cmpuint(count("nr_hugepages"), ==, all);
    g_assert_cmpuint(count("free_hugepages"), ==, free_pages);
    g_assert_cmpuint(count("surplus_hugepages"), ==, surplus);
}

/* Beside what is there. */
static void make_pages(void)
{
    most_pages = G_MAXUINT64;
    put("/proc/meminfo", "MemAvailable: 6291456 kB\nHugepagesize: 2048 kB\n");
    put("/sys/devices/system/node/node0/meminfo", "Node 0 MemFree: 4194304 kB\n");
    put("/sys/kernel/mm/hugepages/hugepages-2048kB/x", "");
    put("/sys/devices/system/node/node0/compact", "");
    put(POOL "/x", "");
    set_pages(100, 60, 0);
}

/* What the worker does for a guard, which is this process's parent. */
static int take(const char *uuid, guint need)
{
    g_autofree char *what = g_strdup_printf("%s %u %d", uuid, need, (int)getppid());
    g_autofree char *text = NULL;
    int cause = dkvm_hugepages_take(POOL_NAME, what, &text);

    g_test_message("%s", text ? text : "");
    return cause;
}

static int give(const char *uuid)
{
    g_autofree char *text = NULL;

    return dkvm_hugepages_give(POOL_NAME, uuid, &text);
}
