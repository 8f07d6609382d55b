/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What libvirt's lifecycle events told about one machine, and the rule that follows from it: may
 * its first boot, which was that of the unpatched definition, be done over?  No input or output. */
#pragma once

#include <glib.h>

#define DKVM_FIRST_BOOT_AGE (10 * G_TIME_SPAN_SECOND)

typedef struct {
    gint64 booted; /* monotonic microseconds at which STARTED/BOOTED came, if nothing has happened
                    * to the machine since; else 0 */
    int last;      /* the last event that is about the machine, not its definition; -1: none came */
    int detail;    /* its detail */
    guint count;   /* of these events */
    guint starts;  /* of STARTED among them */
} DkvmHistory;

#define DKVM_HISTORY_NONE ((DkvmHistory){0, -1, -1, 0, 0})

/* Notes a lifecycle event (VIR_DOMAIN_EVENT_*, its detail) received at NOW. */
void dkvm_history_event(DkvmHistory *history, int event, int detail, gint64 now);

/* What the running machine's XML says. */
typedef struct {
    gboolean patched;  /* it has our marker, and that is not off */
    gboolean pci;      /* it has a PCI device of the host, as hostdev, interface or disk */
    gboolean kernel;   /* it boots a kernel of its own, which the definition may not have */
    gboolean console;  /* it has a display that is looked at by VNC or SPICE */
    gboolean readable; /* the XML could be read at all */
} DkvmMachine;

typedef struct {
    gboolean restart;    /* first-boot = restart */
    gboolean scanned;    /* found by a scan, not by an event */
    int defined;         /* the detail of DEFINED */
    gint64 defined_at;   /* when it came, monotonic microseconds */
    DkvmHistory history; /* when it came */
    DkvmMachine machine;
} DkvmFirstBoot;

/* NULL: the machine may be restarted, as far as can be told when its definition has been patched.
 * Else the reason why not, a text to go on "because ...". */
const char *dkvm_first_boot_refusal(const DkvmFirstBoot *first);

typedef enum { DKVM_WRITTEN_UNKNOWN = -1, DKVM_WRITTEN_NO, DKVM_WRITTEN_YES } DkvmWritten;

/* The same directly before it is stopped.  NOW: its history now; WRITTEN: has any disk been written
 * to; SETTLE: the configured wait in microseconds; TIME: the time now. */
const char *dkvm_first_boot_late_refusal(const DkvmFirstBoot *first, const DkvmHistory *now,
                                         DkvmWritten written, gint64 settle, gint64 time);

/* Whether there is still something to wait for before it is stopped.  A window that virt-manager
 * opens while the machine is off shows an error for good, so it should be open by then.  VIEWED:
 * when somebody connected to the console (0: nobody has), PATCHED: when the definition was patched,
 * NOW: monotonic microseconds; SETTLE as above. */
gboolean dkvm_first_boot_waits(const DkvmMachine *machine, gint64 viewed, gint64 patched,
                               gint64 settle, gint64 now);

/* How long that may take, as a multiple of SETTLE: virt-install opens no console. */
#define DKVM_SETTLE_MOST 4

/* Whether nobody has touched the machine since we stopped it, so that it is ours to start. */
gboolean dkvm_first_boot_is_ours(const DkvmHistory *at_stop, const DkvmHistory *now);
