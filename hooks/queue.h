/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Work for a few threads.  Jobs with the same key run one after the other in the order in which
 * they came, jobs with different keys at the same time. */
#pragma once

#include <glib.h>

typedef struct DkvmQueue DkvmQueue;
typedef void (*DkvmJob)(gpointer data);

/* THREADS: how many jobs run at once, while none of them hangs. */
DkvmQueue *dkvm_queue_new(guint threads);

/* Any thread; never waits.  FREE (may be NULL) is called with DATA after the job, or instead of it
 * if the queue is closed before. */
void dkvm_queue_push(DkvmQueue *queue, const char *key, DkvmJob run, gpointer data,
                     GDestroyNotify free);

/* Jobs that have been running for more than a second (a QEMU or a remote host that does not answer)
 * stop counting, so that they do not keep the others waiting.  To be called every second or so. */
void dkvm_queue_relieve(DkvmQueue *queue);

/* Waits until fewer than LENGTH jobs run or wait, at most TIMEOUT_MS.  Returns whether that is so.
 */
gboolean dkvm_queue_wait(DkvmQueue *queue, guint length, guint timeout_ms);

/* How many jobs have ended so far. */
guint64 dkvm_queue_done(DkvmQueue *queue);

/* Drops what waits; what runs is waited for, at most TIMEOUT_MS.  Returns whether all ended (if
 * not, the queue is not freed, since its threads still use it). */
gboolean dkvm_queue_close(DkvmQueue *queue, guint timeout_ms);
