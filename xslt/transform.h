/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libxslt with everything forbidden that a stylesheet does not need: no file, no network, no
 * directory, no document(), no EXSLT; bounded depth, variables and operations (facts/style.md C4).
 */
#pragma once

#include "lib/xml.h"

typedef struct DkvmStylesheet DkvmStylesheet;

/* Compiles LENGTH bytes of TEXT; NAME is for messages.  Errors: DKVM_ERROR_INPUT with what libxslt
 * says; import, include, document() and DTDs are refused. */
DkvmStylesheet *dkvm_stylesheet_new(const char *text, gsize length, const char *name,
                                    GError **error);
void dkvm_stylesheet_free(DkvmStylesheet *sheet);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmStylesheet, dkvm_stylesheet_free)
const char *dkvm_stylesheet_name(const DkvmStylesheet *sheet);

/* Applies SHEET to INPUT.  What it says by <xsl:message> is appended to NOTES ("note|text",
 * "warning|text"; new strings).  "N|text" with terminate="yes" becomes an error with code N; any
 * other failure DKVM_ERROR_HOST naming the stylesheet.  The result has one root element, <domain>.
 */
DkvmDoc *dkvm_stylesheet_apply(DkvmStylesheet *sheet, DkvmDoc *input, GPtrArray *notes,
                               GError **error);
