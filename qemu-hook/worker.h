/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one process that does what may block in the kernel for ever.  It has no descriptor but its
 * socket, so nobody waits for it; one that is stuck is left behind and another one made. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef enum {
    DKVM_WORK_WRITE = 1,  /* a: path below the root prefix; b: text, one write(2) */
    DKVM_WORK_PROBE,      /* a: BDF: loads the modules of its modalias, then drivers_probe */
    DKVM_WORK_MODULE,     /* a: name of a module to load, its dependencies before */
    DKVM_WORK_UNLOAD,     /* a: name of a module that nothing uses */
    DKVM_WORK_REATTACH,   /* a: BDF, b: connection URI: virNodeDeviceReAttach() */
    DKVM_WORK_GROUP,      /* a: group number: opens it, asks VFIO_GROUP_GET_STATUS, closes it */
    DKVM_WORK_TAKE_PAGES, /* a: pool, b: see dkvm_hugepages_take() */
    DKVM_WORK_GIVE_PAGES, /* a: pool, b: see dkvm_hugepages_give() */
} DkvmWorkKind;

typedef struct DkvmWorker DkvmWorker;

/* Called in the worker's process when its guard ended without a word: killed.  NULL (the default):
 * it ends too.  Where systemd does not start another guard, the worker becomes it. */
extern void (*dkvm_worker_orphaned)(void);

/* Starts the process now; else the first dkvm_worker_do() does. */
void dkvm_worker_start(DkvmWorker *worker);

DkvmWorker *dkvm_worker_new(void);
/* Ends the process, unless it is stuck. */
void dkvm_worker_free(DkvmWorker *worker);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmWorker, dkvm_worker_free)

/* How dkvm_worker_do() ends beside 0 and an errno. */
#define DKVM_WORK_LATE (-1) /* the deadline is over: the process is left behind, see below */
#define DKVM_WORK_DIED (-2) /* it ended without an answer; the next call makes another one */

/* Does one piece of work within MILLISECONDS.  Returns 0, an errno, or one of the above.  *TEXT
 * (may be NULL) is what there is to say about a failure, or NULL (g_free). */
int dkvm_worker_do(DkvmWorker *worker, DkvmWorkKind kind, const char *a, const char *b,
                   guint milliseconds, char **text);

/* The process of the last call that was late, and when it began. */
pid_t dkvm_worker_late(const DkvmWorker *worker, guint64 *start);
/* The process that is there, 0 if none is. */
pid_t dkvm_worker_pid(const DkvmWorker *worker);

/* Does the work itself; what the process calls.  Tests put a kernel of their own here, before the
 * first dkvm_worker_do().  Returns 0 or an errno; *TEXT as above. */
extern int (*dkvm_worker_act)(DkvmWorkKind kind, const char *a, const char *b, char **text);
int dkvm_work(DkvmWorkKind kind, const char *a, const char *b, char **text);
