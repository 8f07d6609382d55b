/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/data.h"

#define DKVM_EMBED(symbol, file)                                                                   \
    __asm__(".section .rodata\n"                                                                   \
            ".global " #symbol "\n" #symbol ":\n"                                                  \
            ".incbin \"" file "\"\n"                                                               \
            ".global " #symbol "_end\n" #symbol "_end:\n"                                          \
            ".byte 0\n"                                                                            \
            ".previous\n")

DKVM_EMBED(dkvm_data_models, "xslt/models.xml");
DKVM_EMBED(dkvm_data_darwin, "darwin.xsl");
