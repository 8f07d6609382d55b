/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/error.h"

G_DEFINE_QUARK(dkvm - error - quark, dkvm_error)
