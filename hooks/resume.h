/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* First boots that a watcher before us stopped, and did not live to start again. */
#pragma once

#include "hooks/link.h"

/* Takes up what was left on CONN: starts what is off since then and untouched, and drops the notes
 * that are of no use any more.  Returns those about machines that are off and may not be started
 * (DkvmPending*), for dkvm_resume_report(). */
GPtrArray *dkvm_resume(DkvmLink *link, virConnectPtr conn);

/* Says so of each in LEFT (may be NULL), in the journal and in the status; after the scan, whose
 * looks would say that all is well. */
void dkvm_resume_report(DkvmLink *link, GPtrArray *left);
