/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is read straight from a domain's XML. */
#pragma once

#include "lib/xml.h"
#include "xslt/patch.h"

/* The macOS of its libosinfo id; 0 if there is none. */
DkvmMacos dkvm_domain_macos(const xmlNode *domain);

/* The domain's controllers as words ("pci-0 usb-0 sata-0"), in order.  New string. */
char *dkvm_domain_controllers(const xmlNode *domain);

/* The targets of its disks as words ("vda sda"), in order.  New string. */
char *dkvm_domain_disks(const xmlNode *domain);

/* A result with before (TEXT), name and uuid (from DOC, which is TEXT parsed) filled in. */
DkvmPatched *dkvm_domain_patched(DkvmDoc *doc, const char *text, gsize length);
