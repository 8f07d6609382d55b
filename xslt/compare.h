/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a stylesheet changed: the domain it was given against the one it returned. */
#pragma once

#include "xslt/change.h"

/* Gives every element of DOMAIN an id attribute.  Returns the elements by id (not owned). */
GPtrArray *dkvm_compare_number(xmlNode *domain);

/* Compares: elements are paired by the ids that a stylesheet carries along by copying; what has none (or
 * a second copy) was added, what is gone was removed.  Fills ->base (SET and REMOVE: the element in BASE;
 * ADD: its parent there, NULL if the parent is new) and ->node (the element in TARGET). */
DkvmChanges *dkvm_compare(const GPtrArray *numbered, xmlNode *base, xmlNode *target);
