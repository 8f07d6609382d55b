/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking changes back. */
#pragma once

#include "xslt/change.h"

/* Frees NODE of the tree at hand; no change points into it afterwards. */
void dkvm_undo_drop(DkvmChanges *changes, xmlNode *node);

typedef gboolean (*DkvmChangeFilter)(const DkvmChange *change, gpointer data);

/* Takes back, in DOMAIN, the changes that FILTER lets through (after a fresh look at where they
 * are), so that what they touched is as it was.  Also lets go what libvirt only added because of
 * them.  After the call
 * ->undone says which they were, and ->node is the element put back (REMOVE). */
void dkvm_undo(xmlNode *domain, DkvmChanges *changes, DkvmChangeFilter filter, gpointer data);
