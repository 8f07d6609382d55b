/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/numbers.h"

/* ---- reading ---------------------------------------------------------------------------- */

/* Decimal digits only: strtoul alone takes signs. */
static gboolean read_number(const char **text, guint *number)
{
    const char *p = *text;
    guint value = 0;

    if (!g_ascii_isdigit(*p))
        return FALSE;
    for (; g_ascii_isdigit(*p); p++) {
        value = value * 10 + (guint)(*p - '0');
        if (value >= DKVM_NUMBERS_MAX)
            return FALSE;
    }
    *text = p;
    *number = value;
    return TRUE;
}

/* "5", "5-7" or "^5". */
static gboolean read_part(const char *text, DkvmNumbers *numbers)
{
    gboolean out = *text == '^';
    guint first, last;

    text += out;
    if (!read_number(&text, &first))
        return FALSE;
    last = first;
    if (*text == '-' && !out) {
        text++;
        if (!read_number(&text, &last))
            return FALSE;
    }
    if (*text != '\0' || last < first)
        return FALSE;
    for (guint i = first; i <= last; i++) {
        if (out)
            numbers->bits[i / 8] &= (guint8) ~(1U << i % 8);
        else
            dkvm_numbers_put(numbers, i);
    }
    return TRUE;
}

gboolean dkvm_numbers_parse(const char *text, DkvmNumbers *numbers)
{
    g_autofree char *stripped = g_strstrip(g_strdup(text));
    /* Of an empty text g_strsplit() makes no parts at all. */
    g_auto(GStrv) parts = g_strsplit(stripped, ",", -1);
    DkvmNumbers found = {0};

    for (char **part = parts; *part; part++) {
        if (!read_part(g_strstrip(*part), &found))
            return FALSE;
    }
    *numbers = found;
    return TRUE;
}

/* ---- writing ---------------------------------------------------------------------------- */

char *dkvm_numbers_text(const DkvmNumbers *numbers)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < DKVM_NUMBERS_MAX; i++) {
        guint last = i;

        if (!dkvm_numbers_has(numbers, i))
            continue;
        while (last + 1 < DKVM_NUMBERS_MAX && dkvm_numbers_has(numbers, last + 1))
            last++;
        g_string_append_printf(text, last > i ? "%s%u-%u" : "%s%u", text->len ? "," : "", i, last);
        i = last;
    }
    return g_string_free(text, FALSE);
}

/* ---- sets ------------------------------------------------------------------------------- */

gboolean dkvm_numbers_has(const DkvmNumbers *numbers, guint number)
{
    return number < DKVM_NUMBERS_MAX && (numbers->bits[number / 8] >> number % 8 & 1) != 0;
}

void dkvm_numbers_put(DkvmNumbers *numbers, guint number)
{
    if (number < DKVM_NUMBERS_MAX)
        numbers->bits[number / 8] |= (guint8)(1U << number % 8);
}

guint dkvm_numbers_count(const DkvmNumbers *numbers)
{
    guint count = 0;

    for (guint i = 0; i < DKVM_NUMBERS_MAX; i++)
        count += dkvm_numbers_has(numbers, i);
    return count;
}

gboolean dkvm_numbers_overlap(const DkvmNumbers *a, const DkvmNumbers *b)
{
    for (gsize i = 0; i < sizeof a->bits; i++) {
        if (a->bits[i] & b->bits[i])
            return TRUE;
    }
    return FALSE;
}

void dkvm_numbers_add(DkvmNumbers *numbers, const DkvmNumbers *more)
{
    for (gsize i = 0; i < sizeof numbers->bits; i++)
        numbers->bits[i] |= more->bits[i];
}

void dkvm_numbers_remove(DkvmNumbers *numbers, const DkvmNumbers *less)
{
    for (gsize i = 0; i < sizeof numbers->bits; i++)
        numbers->bits[i] &= (guint8)~less->bits[i];
}
