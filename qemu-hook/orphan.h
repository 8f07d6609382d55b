/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where no systemd starts a guard that was killed again, its worker takes its place. */
#pragma once

/* From now on a worker of this process, the guard of UUID, becomes a guard of it when this one is
 * gone. */
void dkvm_orphan_prepare(const char *uuid);
