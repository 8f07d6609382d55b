/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes in words, a line each. */
#pragma once

#include "xslt/change.h"

/* "nic: devices/interface[...]/model: type e1000e -> virtio"; TAKEN_BACK: the other way round.  The
 * OSK is never in it.  Returns a new string. */
char *dkvm_report_change(const DkvmChange *change, gboolean taken_back);

/* "video: devices/video[...]: changed by you, left as it is; --set video=auto ..."  New string. */
char *dkvm_report_kept(const DkvmChange *change);
