/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one GError domain of dkvm.  A code is the exit code of the programs (design: "Exit"), so that
 * a caller can return error->code without a table.  Every message names operation, object, cause
 * and what to do next. */
#pragma once

#include <glib.h>

typedef enum {
    DKVM_ERROR_USAGE = 2, /* wrong options or operands */
    DKVM_ERROR_INPUT =
        3, /* not a domain, a DTD, too large, not x86_64, a value out of its grammar */
    DKVM_ERROR_HOST = 4,    /* this host cannot: no firmware, no isa-applesmc, no bootable shape */
    DKVM_ERROR_LIBVIRT = 5, /* libvirt said no or is gone */
    DKVM_ERROR_FILE = 6,    /* a local file could not be read or written */
    DKVM_ERROR_REFUSED = 7, /* refused, to lose nothing */
} DkvmError;

#define DKVM_ERROR (dkvm_error_quark())
GQuark dkvm_error_quark(void);
