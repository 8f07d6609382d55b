/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/queue.h"

#define SLOW (G_TIME_SPAN_SECOND)
#define MOST_THREADS 256

typedef struct {
    DkvmJob run;
    gpointer data;
    GDestroyNotify free;
} Job;

/* The jobs of one key.  In the pool once, as long as it has any. */
typedef struct {
    char *key;
    GQueue jobs;
    gint64 since; /* when the job that runs began; 0: none does */
} Lane;

struct DkvmQueue {
    GMutex lock;
    GCond shorter;
    GHashTable *lanes; /* key -> Lane */
    GThreadPool *pool;
    guint threads, length, running;
    guint64 done;
    gboolean closed;
};

static void lane_free(gpointer data)
{
    Lane *lane = data;
    g_free(lane->key);
    g_free(lane);
}

static void job_free(Job *job)
{
    if (job->free != NULL) {
        job->free(job->data);
    }
    g_free(job);
}

static Job *begin(DkvmQueue *queue, Lane *lane)
{
    g_mutex_lock(&queue->lock);
    Job *job = g_queue_pop_head(&lane->jobs);
    lane->since = g_get_monotonic_time();
    queue->running++;
    g_mutex_unlock(&queue->lock);
    return job;
}

static void end(DkvmQueue *queue, Lane *lane, gboolean had_job)
{
    g_mutex_lock(&queue->lock);
    lane->since = 0;
    queue->running--;
    queue->length -= had_job;
    queue->done += had_job;
    if (!g_queue_is_empty(&lane->jobs)) {
        g_thread_pool_push(queue->pool, lane, NULL);
    } else {
        g_hash_table_remove(queue->lanes, lane->key);
    }
    g_cond_broadcast(&queue->shorter);
    g_mutex_unlock(&queue->lock);
}

static void work(gpointer data, gpointer user_data)
{
    Lane *lane = data;
    DkvmQueue *queue = user_data;
    Job *job = begin(queue, lane);
    if (job != NULL) {
        job->run(job->data);
        job_free(job);
    }
    end(queue, lane, job != NULL);
}

DkvmQueue *dkvm_queue_new(guint threads)
{
    DkvmQueue *queue = g_new0(DkvmQueue, 1);
    g_mutex_init(&queue->lock);
    g_cond_init(&queue->shorter);
    queue->threads = threads;
    queue->lanes = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, lane_free);
    queue->pool = g_thread_pool_new(work, queue, (int)threads, FALSE, NULL);
    return queue;
}

static Lane *lane_of(DkvmQueue *queue, const char *key)
{
    Lane *lane = g_hash_table_lookup(queue->lanes, key);
    if (lane == NULL) {
        lane = g_new0(Lane, 1);
        lane->key = g_strdup(key);
        g_queue_init(&lane->jobs);
        g_hash_table_insert(queue->lanes, lane->key, lane);
    }
    return lane;
}

void dkvm_queue_push(DkvmQueue *queue, const char *key, DkvmJob run, gpointer data,
                     GDestroyNotify free)
{
    Job *job = g_new(Job, 1);
    *job = (Job){run, data, free};
    g_mutex_lock(&queue->lock);
    gboolean closed = queue->closed;
    if (!closed) {
        Lane *lane = lane_of(queue, key);
        gboolean is_new = g_queue_is_empty(&lane->jobs) && lane->since == 0;
        g_queue_push_tail(&lane->jobs, job);
        queue->length++;
        if (is_new) {
            g_thread_pool_push(queue->pool, lane, NULL);
        }
    }
    g_mutex_unlock(&queue->lock);
    if (closed) {
        job_free(job);
    }
}

void dkvm_queue_relieve(DkvmQueue *queue)
{
    gint64 now = g_get_monotonic_time();
    GHashTableIter iter;
    gpointer lane;
    guint slow = 0;
    g_mutex_lock(&queue->lock);
    g_hash_table_iter_init(&iter, queue->lanes);
    while (slow < queue->running && g_hash_table_iter_next(&iter, NULL, &lane)) {
        gint64 since = ((Lane *)lane)->since;
        slow += since != 0 && now - since > SLOW;
    }
    g_mutex_unlock(&queue->lock);
    g_thread_pool_set_max_threads(queue->pool, (int)MIN(queue->threads + slow, MOST_THREADS), NULL);
}

gboolean dkvm_queue_wait(DkvmQueue *queue, guint length, guint timeout_ms)
{
    gint64 deadline = g_get_monotonic_time() + timeout_ms * G_TIME_SPAN_MILLISECOND;
    gboolean in_time = TRUE;
    g_mutex_lock(&queue->lock);
    while (in_time && queue->length >= length) {
        in_time = g_cond_wait_until(&queue->shorter, &queue->lock, deadline);
    }
    gboolean reached = queue->length < length;
    g_mutex_unlock(&queue->lock);
    return reached;
}

guint64 dkvm_queue_done(DkvmQueue *queue)
{
    g_mutex_lock(&queue->lock);
    guint64 done = queue->done;
    g_mutex_unlock(&queue->lock);
    return done;
}

/* Takes every job that waits.  A lane in the pool whose jobs are gone does nothing. */
static void drop_waiting(DkvmQueue *queue, GQueue *dropped)
{
    GHashTableIter iter;
    gpointer lane;
    g_hash_table_iter_init(&iter, queue->lanes);
    while (g_hash_table_iter_next(&iter, NULL, &lane)) {
        GQueue *jobs = &((Lane *)lane)->jobs;
        while (!g_queue_is_empty(jobs)) {
            g_queue_push_tail(dropped, g_queue_pop_head(jobs));
        }
    }
}

gboolean dkvm_queue_close(DkvmQueue *queue, guint timeout_ms)
{
    gint64 deadline = g_get_monotonic_time() + timeout_ms * G_TIME_SPAN_MILLISECOND;
    GQueue dropped = G_QUEUE_INIT;
    gboolean ended = TRUE;
    g_mutex_lock(&queue->lock);
    queue->closed = TRUE;
    drop_waiting(queue, &dropped);
    queue->length -= dropped.length;
    while (ended && queue->running > 0) {
        ended = g_cond_wait_until(&queue->shorter, &queue->lock, deadline);
    }
    ended = queue->running == 0;
    g_mutex_unlock(&queue->lock);
    while (!g_queue_is_empty(&dropped)) {
        job_free(g_queue_pop_head(&dropped));
    }
    if (!ended) {
        return FALSE;
    }
    g_thread_pool_free(queue->pool, FALSE, TRUE); /* lets emptied lanes pass */
    g_hash_table_unref(queue->lanes);
    g_mutex_clear(&queue->lock);
    g_cond_clear(&queue->shorter);
    g_free(queue);
    return TRUE;
}
