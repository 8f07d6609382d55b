/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A libvirt connection, its domains' definitions, and storing one without losing anybody's edit. */
#pragma once

#include <libvirt/libvirt.h>
#include <libxml/tree.h>

#include "xslt/patch.h"

/* Opens URI; NULL: libvirt's own default (LIBVIRT_DEFAULT_URI, libvirt.conf, what runs here), then
 * qemu:///system.  The event loop runs in a thread of its own from here to
 * dkvm_connection_close().  Errors: DKVM_ERROR_LIBVIRT. */
virConnectPtr dkvm_connection_open(const char *uri, GError **error);
void dkvm_connection_close(virConnectPtr conn);
gboolean dkvm_connection_is_session(virConnectPtr conn);

/* The domain called NAME: by name, then UUID, then id.  Errors: DKVM_ERROR_LIBVIRT. */
virDomainPtr dkvm_connection_find(virConnectPtr conn, const char *name, GError **error);

/* The definition that the next start uses, with what libvirt shows only with VIR_DOMAIN_XML_SECURE
 * (a password would be lost on storing otherwise).  New string (g_free). */
char *dkvm_connection_read(virDomainPtr domain, GError **error);

/* One update of one definition; see dkvm_connection_update(). */
typedef struct DkvmUpdate DkvmUpdate;

/* Makes the new definition from the current one.  Returns NULL with an error; NULL without one:
 * there is nothing to make of this definition. */
typedef DkvmPatched *(*DkvmMake)(DkvmUpdate *update, const char *xml, gpointer data,
                                 GError **error);

/* For a DkvmMake: dkvm_patch_doc() of XML, which DOC was parsed from, with what libvirt says of the
 * domain.  What is asked of libvirt is asked while there is something else to do.  FACTS: the
 * connection's; WISHES may be NULL.  DOC goes over to it. */
DkvmPatched *dkvm_connection_patch(DkvmUpdate *update, DkvmPatcher *patcher, DkvmDoc *doc,
                                   const char *xml, const DkvmFacts *facts,
                                   const DkvmWishes *wishes, GError **error);

/* Reads the definition, lets MAKE make the new one and stores it.  libvirt has no compare-and-swap:
 * the definition is read again directly before it is stored and MAKE called again if it changed;
 * afterwards define events of this domain between our read and our own event are looked for. With
 * STORE false nothing is stored.  *STORED tells whether the definition was replaced.  Returns what
 * MAKE returned last (also together with an error: DKVM_ERROR_LIBVIRT if libvirt refused,
 * DKVM_ERROR_REFUSED if another edit may have been lost). */
DkvmPatched *dkvm_connection_update(virDomainPtr domain, DkvmMake make, gpointer data,
                                    gboolean store, gboolean *stored, GError **error);

/* Sets *ERROR from libvirt's last error: OPERATION on OBJECT (may be NULL), and NEXT, what to do
 * then. Always returns FALSE. */
gboolean dkvm_libvirt_error(GError **error, const char *operation, const char *object,
                            const char *next);
