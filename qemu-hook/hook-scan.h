/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Does a domain concern the hand-over at all?  A strict look without an XML library, so that a
 * virtual machine without host devices starts as fast as without dkvm.  libc only. */
#pragma once

#include <stddef.h>

typedef enum {
    DKVM_HOOK_NOT_OURS, /* understood to the end: a domain, and no PCI device in it */
    DKVM_HOOK_ASK       /* a PCI <hostdev>, or anything that is not understood: ask dkvm-gpu */
} DkvmHookAnswer;

#define DKVM_HOOK_UUID_SIZE 37

/* TEXT has LENGTH bytes, is not changed and need not end with NUL.  It may be anything.  UUID
 * becomes the domain's, as libvirt prints it (lower-case hexadecimal digits and hyphens), or "" if
 * it is not NOT_OURS or has none.
 *
 * The only mistake that this must not make is NOT_OURS for a domain of which libxml2, and so
 * libvirt, would say that it has a <hostdev> of type pci.  So only what libvirt itself prints is
 * understood: ASCII names, quoted values, the five entities of XML and character references,
 * comments and CDATA, UTF-8, tags that match, the element <domain> around everything.  A
 * declaration, an instruction, a document type, another encoding, a name twice in a tag, a prefix
 * before "hostdev", or a type that is not known to be no PCI device: ASK.  tests/fuzz/fuzz-hook.c
 * compares with libxml2. */
DkvmHookAnswer dkvm_hook_scan(const char *text, size_t length, char uuid[DKVM_HOOK_UUID_SIZE]);
