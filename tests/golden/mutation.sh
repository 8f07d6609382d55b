#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# No value of models.xml can change without a golden pair that breaks.
exec "${DKVM_BUILD:-build}/tests/golden/golden" --mutate
