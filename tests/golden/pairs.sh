#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every golden pair is as it was when somebody last looked at it.
exec "${DKVM_BUILD:-build}/tests/golden/golden"
