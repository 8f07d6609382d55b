/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Telling what of our changes is still as we wrote it. */
#pragma once

#include "xslt/change.h"

/* Sets ->node, ->touched and ->edited of every change from what DOMAIN is now.  An edit reaches its
 * whole unit: all changes of that unit are marked.  What libvirt adds or spells out by itself is
 * not an edit.  A device that has only its place among its like to be told by (displays, sound
 * cards) and is found as we left it in another place is named by that place from now on: ->at and
 * ->unit change. */
void dkvm_edited_look(xmlNode *domain, DkvmChanges *changes);
