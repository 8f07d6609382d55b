/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/loop.h"

#include <libvirt/libvirt.h>

static GThread *thread;
static int stopping;

static void wake(int timer, void *data)
{
}

static gpointer run(gpointer data)
{
    while (!g_atomic_int_get(&stopping) && virEventRunDefaultImpl() == 0) {
    }
    return NULL;
}

void dkvm_loop_start(void)
{
    if (thread == NULL) {
        g_atomic_int_set(&stopping, FALSE);
        thread = g_thread_new("events", run, NULL);
    }
}

void dkvm_loop_stop(void)
{
    if (thread == NULL) {
        return;
    }
    g_atomic_int_set(&stopping, TRUE);
    int timer = virEventAddTimeout(0, wake, NULL, NULL);
    g_clear_pointer(&thread, g_thread_join);
    virEventRemoveTimeout(timer);
}

/* ---- fence ---- */

typedef struct {
    gatomicrefcount users;
    GMutex lock;
    GCond passed;
    guint rounds;
} Fence;

static void fence_unref(void *data)
{
    Fence *fence = data;
    if (g_atomic_ref_count_dec(&fence->users)) {
        g_mutex_clear(&fence->lock);
        g_cond_clear(&fence->passed);
        g_free(fence);
    }
}

/* Events wait in a queue that a timer of 0 ms empties.  Timers of one round come in any order: at
 * the second round all that was in the queue before the first is delivered. */
static void count_round(int timer, void *data)
{
    Fence *fence = data;
    g_mutex_lock(&fence->lock);
    if (++fence->rounds == 2) {
        virEventUpdateTimeout(timer, -1);
        g_cond_signal(&fence->passed);
    }
    g_mutex_unlock(&fence->lock);
}

void dkvm_loop_fence(guint timeout_ms)
{
    gint64 end = g_get_monotonic_time() + timeout_ms * G_TIME_SPAN_MILLISECOND;
    Fence *fence = g_new0(Fence, 1);
    g_atomic_ref_count_init(&fence->users);
    g_atomic_ref_count_inc(&fence->users);
    g_mutex_init(&fence->lock);
    g_cond_init(&fence->passed);
    int timer = virEventAddTimeout(0, count_round, fence, fence_unref);
    if (timer < 0) {
        fence_unref(fence);
        fence_unref(fence);
        return;
    }
    g_mutex_lock(&fence->lock);
    while (fence->rounds < 2 && g_cond_wait_until(&fence->passed, &fence->lock, end)) {
    }
    g_mutex_unlock(&fence->lock);
    virEventRemoveTimeout(timer);
    fence_unref(fence);
}
