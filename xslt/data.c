/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/data.h"

#define DKVM_EMBED(symbol, file)                                                                   \
    __asm__(".section .rodata\n"                                                                   \
            ".global " #symbol "\n" #symbol ":\n"                                                  \
            ".incbin \"" file "\"\n"                                                               \
            ".set " #symbol "_stop, .\n"                                                           \
            ".byte 0\n.balign 8\n"                                                                 \
            ".global " #symbol "_size\n" #symbol "_size:\n"                                        \
            ".quad " #symbol "_stop - " #symbol "\n"                                               \
            ".previous\n")

DKVM_EMBED(dkvm_data_models, "xslt/models.xml");
DKVM_EMBED(dkvm_data_darwin, "darwin.xsl");
