/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What libvirt added to a domain only because of what dkvm changed: it goes when that is taken
 * back. */
#pragma once

#include "xslt/marker.h"
#include "xslt/undo.h"

/* Before dkvm_undo() with the same FILTER: where the machine goes back to one that is not q35, lets
 * go of PCI Express controllers and of PCI addresses; the original's own are put back by the undo.
 * Returns the controllers and hubs that may have to go afterwards: those that the original did not
 * have and that what is taken back sits on.  Others without use are the user's own. */
GHashTable *dkvm_added_before_undo(xmlNode *domain, const DkvmMarker *marker,
                                   DkvmChangeFilter filter, gpointer data);

/* After it: drops those of ADDED that nothing uses any more. */
void dkvm_added_after_undo(xmlNode *domain, const DkvmMarker *marker, GHashTable *added);
