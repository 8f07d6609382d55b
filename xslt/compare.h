/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a stylesheet changed: the domain it was given against the one it returned. */
#pragma once

#include "xslt/change.h"

/* Gives the domain, its parts and its devices an id attribute.  Returns the elements by id (not
 * owned). */
GPtrArray *dkvm_compare_number(xmlNode *domain);

/* The element of the input that ELEMENT of the result was: by id, or, where BASE_PARENT is what its
 * parent was, by its step (locator.h).  NULL: it is new. */
xmlNode *dkvm_compare_origin(const GPtrArray *numbered, xmlNode *base_parent,
                             const xmlNode *element);

/* Compares: elements are paired by the ids that a stylesheet carries along by copying, what is
 * inside devices by its step; what has no pair (or is a second copy) was added, what is gone was
 * removed.  Fills ->base (SET and REMOVE: the element in BASE; ADD: its parent there, NULL if the
 * parent is new) and ->node (the element in TARGET). */
DkvmChanges *dkvm_compare(const GPtrArray *numbered, xmlNode *base, xmlNode *target);
