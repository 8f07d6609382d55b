/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/restart.h"

void dkvm_restart_consider(DkvmLink *link, virDomainPtr domain, int defined, gint64 at)
{
}
