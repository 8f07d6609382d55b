/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the host behind a libvirt connection can do, local or remote. */
#pragma once

#include <libvirt/libvirt.h>

#include "xslt/facts.h"

/* Asks CONN for everything.  On a local connection (qemu:///system, qemu:///session) what libvirt
 * does not tell is looked up on this machine: firmware descriptors, clocksource, and the emulator
 * over QMP if it is one of the distribution's.  Some questions are expected to be refused (KVM on a
 * host without it): the caller has silenced libvirt's own printing of errors (virSetErrorFunc).
 * Errors: DKVM_ERROR_LIBVIRT naming the call; DKVM_ERROR_HOST if there is no x86_64 QEMU with q35.
 */
DkvmFacts *dkvm_facts_connection(virConnectPtr conn, GError **error);
