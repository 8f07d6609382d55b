/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "qemu-hook/plan.h"

/* UNIT is stopped for this hand-over and started again after it: what its processes hold they let
 * go. */
gboolean dkvm_services_stop(const DkvmPlan *plan, const char *unit);
