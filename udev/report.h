/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What dkvm-iommu says: the host, a verdict for each device, the reservations, and the forms in
 * which they are printed.  Every text is new (g_free). */
#pragma once

#include "udev/reserve.h"
#include "udev/verdict.h"

typedef struct {
    DkvmHost *host;
    GHashTable *verdicts; /* DkvmDevice -> DkvmVerdict */
    GArray *reservations; /* of DkvmReservation */
    GPtrArray *warnings;  /* sentences (char *) about the whole host */
} DkvmReport;

/* HOST must outlive the report; RESERVATIONS (may be NULL) is taken over. */
DkvmReport *dkvm_report_new(DkvmHost *host, GArray *reservations);
void dkvm_report_free(DkvmReport *report);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmReport, dkvm_report_free)

const DkvmVerdict *dkvm_report_verdict(const DkvmReport *report, const DkvmDevice *device);

/* The tree for people; ANSI colours if COLOUR. */
char *dkvm_report_text(const DkvmReport *report, gboolean colour);
/* JSON of the given devices (of DkvmDevice; NULL: all), schema in dkvm-iommu(1). */
char *dkvm_report_json(const DkvmReport *report, const GPtrArray *devices);
/* Graphviz. */
char *dkvm_report_dot(const DkvmReport *report);
/* A picture: SVG 1.1, no script, nothing from elsewhere. */
char *dkvm_report_svg(const DkvmReport *report);
/* virt-manager makes fourteen root ports, whose first ones its own devices use; libvirt adds ports
 * that are missing below the highest bus named. */
#define DKVM_GUEST_BUS 0x0a

/* One device in a paragraph, and its <hostdev> elements for the guest's bus BUS if it can go. */
char *dkvm_report_explain(const DkvmReport *report, DkvmDevice *device, guint bus);

/* How to turn the IOMMU on, on this host. */
char *dkvm_iommu_advice(const DkvmHost *host);
/* Only the kernel argument that is missing, "intel_iommu=on"; NULL if none is.  A literal. */
const char *dkvm_iommu_argument(const DkvmHost *host);

/* The <hostdev> elements of DEVICE and the functions of the same card that go along, all in slot 0
 * of the guest's bus BUS. */
char *dkvm_hostdev_xml(const DkvmReport *report, DkvmDevice *device, guint bus);

/* ---- for the forms ---- */

/* "yes", "yes, but", "no"; "-" for bridges, about which nobody asks. */
const char *dkvm_report_word(const DkvmReport *report, const DkvmDevice *device);
/* What uses the device, in a few words: "console, / (sda1)"; "" if nothing does. */
char *dkvm_report_notes(const DkvmReport *report, const DkvmDevice *device);
/* "01:00.1, 01:00.2" of those that go along; "" if it goes alone. */
char *dkvm_report_with(const DkvmReport *report, const DkvmDevice *device);
/* "Linux 6.1.0, Intel VT-d, 18 IOMMU groups, 34 devices" */
char *dkvm_report_title(const DkvmReport *report);
/* The group numbers in order are host->groups; devices in none: a new array of DkvmDevice. */
GPtrArray *dkvm_report_ungrouped(const DkvmReport *report);
