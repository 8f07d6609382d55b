/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A unit that is stopped for the hand-over and started again after it has two states: it has
 * processes, or soon will, or it has none. */
#pragma once

#include "qemu-hook/step.h"

#define DKVM_UNIT_UP "active"
#define DKVM_UNIT_DOWN "inactive"

/* DKVM_UNIT_UP or DKVM_UNIT_DOWN; NULL: systemd cannot be asked.  Source: the states in
 * systemctl(1); one that is on its way down, or did not end well, is down. */
const char *dkvm_unit_state(const char *unit);

/* Refuses: whether UNIT runs is not known. */
void dkvm_unit_refuse_silent(DkvmPlan *plan, const char *unit);

/* Of a step whose target is a unit: look, apply and undo.  Nothing is started on a host that goes
 * down. */
char *dkvm_unit_look(DkvmHandover *handover, const DkvmAction *action);
gboolean dkvm_unit_stop(DkvmHandover *handover, const DkvmAction *action, GError **error);
gboolean dkvm_unit_start(DkvmHandover *handover, const DkvmAction *action, GError **error);
