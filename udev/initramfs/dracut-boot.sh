#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# dracut, pre-udev: before any driver is loaded.  Installed beside module-setup.sh as dkvm-boot.sh.
/usr/lib/udev/dkvm-udev boot
