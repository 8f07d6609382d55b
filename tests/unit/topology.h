/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU versions and CPUs that the tests of the oracle ask about. */
#pragma once

#include "xslt/topology-internal.h"

enum {
    V5_2 = 5002000,
    V7_2 = 7002022,
    V8_2 = 8002000,
    V9_1 = 9001000,
    V10 = 10000013,
    V11_1 = 11001003
};

typedef struct {
    guint model, stepping;
} Cpu;

static const Cpu penryn = {23, 3}, nehalem = {26, 3}, westmere = {44, 1}, cascadelake = {85, 6};

static inline DkvmTopologyQuestion ask_about(gulong version, Cpu cpu, guint sockets, guint cores,
                                             guint threads)
{
    return (DkvmTopologyQuestion){.qemu_version = version,
                                  .skip_tsc = TRUE,
                                  .vendor = "GenuineIntel",
                                  .family = 6,
                                  .model = cpu.model,
                                  .stepping = cpu.stepping,
                                  .macos = 1100,
                                  .shape = {sockets, 1, 1, cores, threads}};
}
