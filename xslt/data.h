/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files of xslt/ that are compiled in, byte for byte.  Parsed from memory: an installed program
 * needs no file of its own to run, and /usr/share/dkvm is for people to read. */
#pragma once

#include <stdint.h>

extern const char dkvm_data_models[]; /* models.xml */
extern const uint64_t dkvm_data_models_size;
extern const char dkvm_data_darwin[]; /* darwin.xsl with its parts, joined */
extern const uint64_t dkvm_data_darwin_size;
