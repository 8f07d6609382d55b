/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "udev/bdf.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Exactly COUNT digits (at most 8); *TEXT moves behind them. */
static bool take(const char **text, size_t count, uint32_t *value)
{
    uint32_t number = 0;

    for (size_t i = 0; i < count; i++) {
        int d = digit((*text)[i]);

        if (d < 0)
            return false;
        number = number << 4 | (uint32_t)d;
    }
    *text += count;
    *value = number;
    return true;
}

static bool take_char(const char **text, char c)
{
    return **text == c && ++*text;
}

bool dkvm_bdf_parse(const char *text, DkvmBdf *bdf)
{
    size_t length = strlen(text);
    size_t digits = strspn(text, "0123456789abcdefABCDEF");
    uint32_t domain = 0, bus, slot, function;

    if (length < 7 || length >= DKVM_BDF_SIZE)
        return false;
    if (digits >= 4 && digits <= 8) {
        if (!take(&text, digits, &domain) || !take_char(&text, ':'))
            return false;
    }
    if (!take(&text, 2, &bus) || !take_char(&text, ':') || !take(&text, 2, &slot) ||
        !take_char(&text, '.') || !take(&text, 1, &function) || *text != '\0')
        return false;
    if (slot > 0x1f || function > 7)
        return false;
    *bdf = (DkvmBdf){domain, (uint8_t)bus, (uint8_t)slot, (uint8_t)function};
    return true;
}

void dkvm_bdf_format(const DkvmBdf *bdf, char text[DKVM_BDF_SIZE])
{
    (void)snprintf(text, DKVM_BDF_SIZE, "%04x:%02x:%02x.%x", bdf->domain, bdf->bus,
                   bdf->slot & 0x1f, bdf->function & 7);
}

int dkvm_bdf_compare(const DkvmBdf *a, const DkvmBdf *b)
{
    if (a->domain != b->domain)
        return a->domain < b->domain ? -1 : 1;
    if (a->bus != b->bus)
        return a->bus < b->bus ? -1 : 1;
    if (a->slot != b->slot)
        return a->slot < b->slot ? -1 : 1;
    return (a->function > b->function) - (a->function < b->function);
}

bool dkvm_bdf_same_slot(const DkvmBdf *a, const DkvmBdf *b)
{
    return a->domain == b->domain && a->bus == b->bus && a->slot == b->slot;
}
