/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the verdict share. */
#pragma once

#include "udev/verdict.h"

/* A new array that owns its DkvmReason. */
GPtrArray *dkvm_reasons_new(void);
/* CODE is a literal; TODO may be NULL and is copied. */
void dkvm_reason_add(GPtrArray *reasons, DkvmAnswer weight, const char *code, const char *todo,
                     const char *format, ...) G_GNUC_PRINTF(5, 6);
/* The heaviest; YES if there is none. */
DkvmAnswer dkvm_reasons_weight(const GPtrArray *reasons);

/* What this host loses if DEVICE and all of WITH (of DkvmWith) leave it. */
void dkvm_judge_host(const DkvmHost *host, const DkvmDevice *device, const GPtrArray *with,
                     GPtrArray *reasons);
/* What is worth knowing about DEVICE itself: reset, outputs.  Weight YES only. */
void dkvm_judge_hints(const DkvmHost *host, const DkvmDevice *device, GPtrArray *reasons);
