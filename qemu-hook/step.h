/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the engine knows about a step.  A step is a file step-NAME.c with one DkvmStep in it; the
 * order of the hand-over is the order in steps.c. */
#pragma once

#include "qemu-hook/handover.h"
#include "qemu-hook/plan.h"

struct DkvmStep {
    const char *name;
    /* What it changes, where several steps change the same thing of one target ("driver"): what is
     * back at the value before the first of them is undone, whoever did it. NULL: its own. */
    const char *property;
    gboolean optional;  /* a domain's marker may turn it off */
    gboolean on_device; /* the target is the address of a device */
    gboolean one_way;   /* cannot be undone, and need not be: sessions, processes */
    gboolean lesser;    /* if undoing it fails, its device's driver comes back all the same */
    /* Of no use, or harmful, before the devices have their drivers: not undone while one of them
     * is to be tried again. */
    gboolean needs_devices;
    gboolean risky; /* may take the host down: noted on disk before (crash.h) */
    /* Planned and written down by prepare, done by the guard when the guest runs: if that fails, it
     * is taken back and reported, and the guest goes on. */
    gboolean later;
    guint deadline; /* milliseconds for each act or undoing */
    /* Adds its actions for PLAN.  Reads only.  What stands in the way is said with
     * dkvm_plan_refuse(). */
    void (*plan)(DkvmPlan *plan);
    /* The value now; NULL: the target is gone, and so is all that was done to it; DKVM_UNREADABLE:
     * it cannot be found out now, so nothing is closed.  g_free. */
    char *(*look)(DkvmHandover *handover, const DkvmAction *action);
    /* From PRE to POST.  The engine reads back. */
    gboolean (*apply)(DkvmHandover *handover, const DkvmAction *action, GError **error);
    /* From POST to PRE. */
    gboolean (*undo)(DkvmHandover *handover, const DkvmAction *action, GError **error);
    /* Looks for a target that is gone before it is to be undone; TRUE: it may be there now.  NULL:
     * what is gone needs nothing. */
    gboolean (*seek)(DkvmHandover *handover, const DkvmAction *action);
    /* A sentence for people, without a dot; g_free. */
    char *(*text)(const DkvmAction *action);
};

/* In order; NULL ends it. */
extern const DkvmStep *const dkvm_steps[];
/* NULL if there is none. */
const DkvmStep *dkvm_step_find(const char *name);

extern const DkvmStep dkvm_step_ownership, dkvm_step_inhibitor, dkvm_step_post, dkvm_step_pre,
    dkvm_step_module, dkvm_step_manager, dkvm_step_session, dkvm_step_services, dkvm_step_drain,
    dkvm_step_nvidia_module, dkvm_step_nvidia_idle, dkvm_step_nvidia, dkvm_step_console,
    dkvm_step_firmware, dkvm_step_unbind, dkvm_step_forget, dkvm_step_override, dkvm_step_bind,
    dkvm_step_proof, dkvm_step_hugepages, dkvm_step_bar, dkvm_step_reset, dkvm_step_cpuset,
    dkvm_step_irq_default, dkvm_step_irq, dkvm_step_epp, dkvm_step_governor;

/* ---- for the steps ---- */

/* dkvm_worker_do() with the step's deadline, as success or GError: DKVM_ERROR_REFUSED with the
 * system's reason, or DKVM_ERROR_HOST when the worker is late. */
gboolean dkvm_step_work(DkvmHandover *handover, const DkvmAction *action, DkvmWorkKind kind,
                        const char *a, const char *b, GError **error);

/* Written down before the device of ACTION is taken from the bus: one that is not there after that
 * is not gone, it is lost. */
void dkvm_step_note_removed(DkvmHandover *handover, const DkvmAction *action);

/* The same within MILLISECONDS. */
gboolean dkvm_step_work_within(DkvmHandover *handover, const DkvmAction *action, DkvmWorkKind kind,
                               const char *a, const char *b, guint milliseconds, GError **error);

/* A sentence without a dot for handover->problems and the log: undone, but not as it should be. */
void dkvm_step_problem(DkvmHandover *handover, const DkvmAction *action, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* The same, and says how dkvm_worker_do() ended. */
int dkvm_step_try(DkvmHandover *handover, const DkvmAction *action, DkvmWorkKind kind,
                  const char *a, const char *b, GError **error);

#define DKVM_UNREADABLE "(cannot be read)"

/* "" if none is bound, NULL if there is no such device (any more), or another one; DKVM_UNREADABLE.
 * g_free. */
char *dkvm_driver_of(const DkvmHandover *handover, const char *bdf);

/* Whether the memory windows that the kernel gave the device are not in its registers any more (a
 * reset whose saved configuration did not come back): no driver can reach it. */
gboolean dkvm_has_lost_its_place(const char *bdf);

/* The value of a link's last part, "" if there is no such link, or DKVM_UNREADABLE; g_free. */
char *dkvm_look_link(const char *full);
/* A file's first line, NULL if there is no such file, or DKVM_UNREADABLE; g_free. */
char *dkvm_look_line(const char *full);

/* Waits until PATH (below the root prefix) exists, by inotify on its folder. */
gboolean dkvm_wait_for_file(const char *path, guint milliseconds);
/* The same until it is gone. */
gboolean dkvm_wait_until_gone(const char *path, guint milliseconds);
