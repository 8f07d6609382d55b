/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "qemu-hook/handover.h"

/* Takes logind's block inhibitor for HANDOVER if it is not held; failure is logged. */
void dkvm_inhibitor_take(DkvmHandover *handover);
