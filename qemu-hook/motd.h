/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the next person who logs in has to know of a restore: a file in /run/motd.d, which
 * pam_motd(8) shows. */
#pragma once

#include "qemu-hook/handover.h"

/* Writes the message of HANDOVER's VM if the restore that just ended left something (LEFT), met a
 * problem or needed more than usual; else takes away an older one. */
void dkvm_motd_update(const DkvmHandover *handover, gboolean left);
