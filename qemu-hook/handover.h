/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One hand-over: its journal, what was done so far, and the engine that does and undoes. */
#pragma once

#include "qemu-hook/journal.h"
#include "qemu-hook/worker.h"
#include "udev/host.h"

/* How a taken device came to be one. */
typedef enum {
    DKVM_TAKEN_MANAGED,   /* <hostdev managed='yes'> */
    DKVM_TAKEN_UNMANAGED, /* <hostdev managed='no'> */
    DKVM_TAKEN_ALONG,     /* companion or in the same group */
} DkvmTakenHow;

/* A device that is taken from the host.  Known from the journal alone. */
typedef struct {
    char bdf[DKVM_BDF_SIZE];
    char *identity; /* "1234:1111": another device at this address is left alone */
    char *sysfs;    /* without the root prefix */
    int group;
    DkvmTakenHow how;
    gboolean may_suspend; /* the host, if it does not come back (dkvm.conf at the start) */
    gboolean may_reboot;
    gboolean was_reset; /* by us, to bring it back */
} DkvmTaken;

typedef enum {
    DKVM_ACTION_INTENT, /* written down; whether it was done has to be looked up */
    DKVM_ACTION_DONE,
    DKVM_ACTION_UNDONE,  /* nothing is left of it */
    DKVM_ACTION_FOREIGN, /* somebody else changed it since: left alone */
    DKVM_ACTION_PLANNED, /* written down, for when the guest runs; nothing was done */
} DkvmActionState;

typedef struct DkvmStep DkvmStep;

/* One change of one thing.  PRE and POST are values as the step's look() gives them. */
typedef struct {
    const DkvmStep *step;
    char *target, *pre, *post;
    guint32 number; /* of its INTENT (or PLANNED) in the journal; 0: not yet */
    DkvmActionState state;
    pid_t late; /* the worker that is stuck with it */
    guint64 late_start;
    /* For steps that change nothing that can be read back: it is undone.  For those that are done
     * later: there was nothing that could be changed. */
    gboolean over;
    gboolean removed; /* its device was taken from the bus by us, to be found anew */
    char *failure;    /* why it could not be done; of those that are done later only */
    char *missed;     /* why undoing it failed, when it was tried last */
} DkvmAction;

typedef enum {
    DKVM_PHASE_NEW,
    DKVM_PHASE_PREPARING,
    DKVM_PHASE_PREPARED,
    DKVM_PHASE_RUNNING,
    DKVM_PHASE_RESTORING,
    DKVM_PHASE_CLOSED,
} DkvmPhase;

typedef struct DkvmHandover {
    char *uuid, *name;
    DkvmJournal *journal;
    DkvmPhase phase;
    GPtrArray *devices; /* of DkvmTaken */
    GPtrArray *actions; /* of DkvmAction, in order */
    DkvmWorker *worker;
    pid_t worker_pid; /* as the journal has it: this guard's, or that of one that was killed */
    guint64 worker_start;
    DkvmAction *touched; /* the last that was begun, either way */
    gboolean last_try;   /* to give back: nothing waits any more for what does not come */
    pid_t caller, qemu;
    guint64 caller_start, qemu_start;
    gboolean was_prepared;   /* libvirt may have had the devices */
    gboolean libvirt_silent; /* it was asked something and did not answer in time */
    gboolean slept;          /* the host was suspended, to bring a device back */
    int inhibitor;           /* descriptor from logind, -1: none */
    GString *rescues;        /* sentences about what came back, but not by itself */
    GString *problems; /* sentences about what could not be put back, or was not ours any more */
    /* Asked between two acts of prepare: TRUE gives up and rolls back. */
    gboolean (*gave_up)(gpointer data);
    gpointer gave_up_data;
} DkvmHandover;

/* The hand-over of UUID as its journal has it; new (DKVM_PHASE_NEW) if there is none of this boot.
 * The folder must exist and be locked.  Errors: DKVM_ERROR_FILE. */
DkvmHandover *dkvm_handover_load(const char *uuid, GError **error);
/* The same for looking only: nothing is written or made; NULL without error if there is none. */
DkvmHandover *dkvm_handover_peek(const char *uuid, GError **error);
void dkvm_handover_free(DkvmHandover *handover);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmHandover, dkvm_handover_free)

const char *dkvm_phase_name(DkvmPhase phase);

/* Begins the journal.  Takes over DEVICES and ACTIONS (a plan's). */
gboolean dkvm_handover_begin(DkvmHandover *handover, const char *name, GPtrArray *devices,
                             GPtrArray *actions, GError **error);
gboolean dkvm_handover_set_caller(DkvmHandover *handover, pid_t pid, guint64 start, GError **error);
gboolean dkvm_handover_set_running(DkvmHandover *handover, pid_t pid, guint64 start,
                                   GError **error);

/* Does all actions in order, each journaled, read back and in its time.  On failure: what was done
 * is undone as dkvm_handover_restore() does, and ERROR says why: DKVM_ERROR_REFUSED, or
 * DKVM_ERROR_HOST if a device is stuck in the kernel. */
gboolean dkvm_handover_prepare(DkvmHandover *handover, GError **error);

/* While the guest runs (DKVM_PHASE_RUNNING): an action that prepare left for then is not done yet,
 * or was begun by a guard that was killed. */
gboolean dkvm_handover_has_more(const DkvmHandover *handover);
/* Does the next of them.  One that fails is taken back, reported and not tried again. */
void dkvm_handover_go_on(DkvmHandover *handover);

/* Undoes in reverse what is not undone yet; may be called any number of times.  Nobody may have a
 * group of it open.  TRUE: nothing is left, the journal is closed and the folder empty.  FALSE:
 * something is left; handover->problems says what. */
gboolean dkvm_handover_restore(DkvmHandover *handover, const char *reason);

/* Some worker is still stuck in the kernel with a device of it. */
gboolean dkvm_handover_is_wedged(const DkvmHandover *handover);
/* Any hand-over of this host has such a worker; *TEXT (may be NULL) says which device (g_free). */
gboolean dkvm_host_is_wedged(char **text);

/* The process that has a group of it open (QEMU): its pid and start; 0 if there is none. */
pid_t dkvm_handover_holder(const DkvmHandover *handover, guint64 *start);

DkvmTaken *dkvm_handover_device(const DkvmHandover *handover, const char *bdf);
/* Fills DEVICE with what dkvm_users() looks a device up by; valid as long as HANDOVER and GROUP.
 * GROUP is filled too; NULL: who has its IOMMU group open is not looked for. */
void dkvm_handover_as_device(const DkvmHandover *handover, const char *bdf, DkvmGroup *group,
                             DkvmDevice *device);
void dkvm_taken_free(DkvmTaken *taken);
DkvmAction *dkvm_action_new(const DkvmStep *step, const char *target, const char *pre,
                            const char *post);
void dkvm_action_free(DkvmAction *action);
GPtrArray *dkvm_actions_new(void);

/* "done", "undone" ... in a sentence of plan and status: "unbind 0000:01:00.0 from snd_hda_intel";
 * g_free. */
char *dkvm_action_text(const DkvmAction *action);
