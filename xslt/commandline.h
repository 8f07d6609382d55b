/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* <qemu:commandline> as options instead of words: what belongs together is one element,
 * <option name='-device' value='...'/> (no namespace), while the patcher works, and two <qemu:arg>
 * again in what it stores.  Stylesheets and the marker see options. */
#pragma once

#include "lib/xml.h"

/* In place: <qemu:arg value='-x'/><qemu:arg value='y'/> -> <option name='-x' value='y'/>.  A word
 * that starts with '-' and is followed by another such word (or nothing) has no value; a word
 * without an option before it has no name.  Other children stay where they are. */
void dkvm_commandline_group(xmlNode *domain);

/* The reverse, for every <qemu:commandline>; word for word what it was. */
void dkvm_commandline_ungroup(xmlNode *domain);
