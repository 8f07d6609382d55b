/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/ahead.h"

struct DkvmAhead {
    void (*call)(gpointer data);
    gpointer data;
    GMutex lock;
    GCond returned;
    gboolean done;
};

static void run(gpointer data, gpointer unused)
{
    DkvmAhead *ahead = data;
    ahead->call(ahead->data);
    g_mutex_lock(&ahead->lock);
    ahead->done = TRUE;
    g_cond_signal(&ahead->returned);
    g_mutex_unlock(&ahead->lock);
}

/* Threads are kept for a while and used again.  There is no limit but the number of callers, each
 * of which waits for one call. */
static GThreadPool *threads(void)
{
    static GThreadPool *pool;
    static gsize done = 0;
    if (g_once_init_enter(&done)) {
        pool = g_thread_pool_new(run, NULL, -1, FALSE, NULL);
        g_once_init_leave(&done, 1);
    }
    return pool;
}

DkvmAhead *dkvm_ahead_start(void (*call)(gpointer data), gpointer data)
{
    DkvmAhead *ahead = g_new0(DkvmAhead, 1);
    ahead->call = call;
    ahead->data = data;
    g_mutex_init(&ahead->lock);
    g_cond_init(&ahead->returned);
    g_thread_pool_push(threads(), ahead, NULL);
    return ahead;
}

void dkvm_ahead_wait(DkvmAhead *ahead)
{
    g_mutex_lock(&ahead->lock);
    while (!ahead->done) {
        g_cond_wait(&ahead->returned, &ahead->lock);
    }
    g_mutex_unlock(&ahead->lock);
    g_mutex_clear(&ahead->lock);
    g_cond_clear(&ahead->returned);
    g_free(ahead);
}
