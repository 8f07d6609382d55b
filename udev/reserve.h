/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The reservation file as dkvm-iommu keeps it (its form: udev/reservation.h). */
#pragma once

#include "udev/reservation.h"
#include "udev/verdict.h"

/* Below the root prefix: an array of DkvmReservation, empty without a file.  Errors:
 * DKVM_ERROR_INPUT naming the line that is bad, DKVM_ERROR_FILE. */
GArray *dkvm_reservations_read(GError **error);

/* The entry that names DEVICE by its address; NULL without.  *DIFFERENCE (may be NULL) is why it is
 * not this device, or NULL. */
const DkvmReservation *dkvm_reservation_of(const GArray *reservations, const DkvmDevice *device,
                                           const char **difference);

/* Reserves DEVICE and all that goes along with it; entries of the same devices are replaced.
 * Refused (DKVM_ERROR_REFUSED) where the verdict is no.  Returns a text that says what was done and
 * what is to be done (g_free), or NULL with an error; then nothing has changed. */
char *dkvm_reserve(const DkvmHost *host, DkvmDevice *device, GError **error);

/* Takes the entries of BDF, and of all that was reserved with it, out of the file, and gives what
 * is on vfio-pci because of it back to its host driver if no process has the group open.  Errors as
 * above; DKVM_ERROR_REFUSED if there is no such entry. */
char *dkvm_release(const DkvmHost *host, const DkvmBdf *bdf, GError **error);
