/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Each function below consumes one thing of the grammar and returns false where the text is not
 * what libvirt would print; nothing goes on after a false.  XML 1.0 is W3C's, fifth edition; where
 * libxml2 is laxer, so need we not be. */
#include "qemu-hook/hook-scan.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 64 /* dkvm-gpu takes no more either */
#define NAME_MAX_BYTES 256
#define ATTRIBUTES_MAX 32 /* libvirt's longest tags have about ten */

typedef struct {
    const char *start;
    size_t length;
} Span;

typedef struct {
    const char *at, *end;
    Span open[DEPTH_MAX];
    size_t depth;
    const char *uuid; /* NULL: not seen yet */
} Scan;

static bool is_span(Span span, const char *word)
{
    return span.length == strlen(word) && memcmp(span.start, word, span.length) == 0;
}

static bool same(Span a, Span b)
{
    return a.length == b.length && memcmp(a.start, b.start, a.length) == 0;
}

/* What follows the last colon. */
static Span local(Span name)
{
    const char *colon = memrchr(name.start, ':', name.length);

    if (!colon)
        return name;
    return (Span){colon + 1, name.length - (size_t)(colon + 1 - name.start)};
}

/* ---- characters ------------------------------------------------------------------------- */

/* XML 1.0, production 2. */
static bool is_char(uint32_t c)
{
    if (c < 0x20)
        return c == '\t' || c == '\n' || c == '\r';
    return c < 0xd800 || (c > 0xdfff && c < 0xfffe) || (c > 0xffff && c < 0x110000);
}

/* The length of the UTF-8 character at AT, 0 if there is none: neither a longer form than need be
 * nor a surrogate (RFC 3629). */
static size_t utf8_length(const unsigned char *at, const unsigned char *end)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = *at < 0xc2 ? 0 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : *at < 0xf5 ? 4 : 0;
    uint32_t c;

    if (length == 0 || (size_t)(end - at) < length)
        return 0;
    c = *at & (0x7fU >> length);
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (at[i] & 0x3f);
    }
    return c >= least[length] && is_char(c) ? length : 0;
}

static bool is_text(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text, *end = length > 0 ? at + length : at;

    while (at < end) {
        if (*at < 0x80) {
            if (!is_char(*at))
                return false;
            at++;
        } else {
            size_t bytes = utf8_length(at, end);

            if (bytes == 0)
                return false;
            at += bytes;
        }
    }
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name(char c)
{
    return is_name_start(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == ':';
}

/* ---- pieces ----------------------------------------------------------------------------- */

static bool is_next(const Scan *s, const char *word)
{
    size_t length = strlen(word);

    return (size_t)(s->end - s->at) >= length && memcmp(s->at, word, length) == 0;
}

static bool take(Scan *s, const char *word)
{
    if (!is_next(s, word))
        return false;
    s->at += strlen(word);
    return true;
}

static bool take_space(Scan *s)
{
    const char *start = s->at;

    while (s->at < s->end && is_space(*s->at))
        s->at++;
    return s->at > start;
}

static bool take_name(Scan *s, Span *name)
{
    name->start = s->at;
    if (s->at == s->end || !is_name_start(*s->at))
        return false;
    while (s->at < s->end && is_name(*s->at))
        s->at++;
    name->length = (size_t)(s->at - name->start);
    return name->length <= NAME_MAX_BYTES;
}

/* "&#60;" or "&#x3c;" after the "&#". */
static bool take_number(Scan *s)
{
    bool hex = take(s, "x");
    uint32_t value = 0;
    size_t digits = 0;

    for (; s->at < s->end && *s->at != ';'; s->at++, digits++) {
        char c = *s->at;

        if (c >= '0' && c <= '9')
            value = value * (hex ? 16 : 10) + (uint32_t)(c - '0');
        else if (hex && c >= 'a' && c <= 'f')
            value = value * 16 + (uint32_t)(c - 'a' + 10);
        else if (hex && c >= 'A' && c <= 'F')
            value = value * 16 + (uint32_t)(c - 'A' + 10);
        else
            return false;
        if (value >= 0x110000)
            return false;
    }
    return digits > 0 && is_char(value) && take(s, ";");
}

static bool take_reference(Scan *s)
{
    if (take(s, "&#"))
        return take_number(s);
    return take(s, "&amp;") || take(s, "&lt;") || take(s, "&gt;") || take(s, "&quot;") ||
           take(s, "&apos;");
}

/* Text or a value up to STOP, which is not taken.  "]]>" is an error in text, and not printed in
 * values. */
static bool take_until(Scan *s, char stop)
{
    while (s->at < s->end && *s->at != stop) {
        if (*s->at == '&') {
            if (!take_reference(s))
                return false;
        } else if (*s->at == '<' || (*s->at == ']' && is_next(s, "]]>"))) {
            return false;
        } else {
            s->at++;
        }
    }
    return true;
}

/* From here to the next WORD, which is taken as well. */
static bool skip_past(Scan *s, const char *word)
{
    const char *found = memmem(s->at, (size_t)(s->end - s->at), word, strlen(word));

    if (!found)
        return false;
    s->at = found + strlen(word);
    return true;
}

/* "<!--" is taken.  Two hyphens end a comment or are an error, so nobody sees another end. */
static bool take_comment(Scan *s)
{
    return skip_past(s, "--") && take(s, ">");
}

/* ---- tags ------------------------------------------------------------------------------- */

static bool take_attribute(Scan *s, Span *name, Span *value)
{
    char quote;

    if (!take_name(s, name))
        return false;
    (void)take_space(s);
    if (!take(s, "="))
        return false;
    (void)take_space(s);
    if (s->at == s->end || (*s->at != '\'' && *s->at != '"'))
        return false;
    quote = *s->at++;
    value->start = s->at;
    if (!take_until(s, quote) || s->at == s->end)
        return false;
    value->length = (size_t)(s->at++ - value->start);
    return true;
}

/* What libvirt has for QEMU and LXC, without PCI. */
static bool is_other_hostdev(Span type)
{
    static const char *const others[] = {"usb",     "scsi", "scsi_host", "mdev",
                                         "storage", "misc", "net"};

    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (is_span(type, others[i]))
            return true;
    }
    return false;
}

/* After the name of a start tag; *EMPTY for <a/>, *TYPE is the value of its attribute "type". */
static bool take_attributes(Scan *s, Span *type, bool *empty)
{
    Span names[ATTRIBUTES_MAX];
    size_t count = 0;

    for (;;) {
        bool space = take_space(s);
        Span value;

        *empty = take(s, "/>");
        if (*empty || take(s, ">"))
            return true;
        if (!space || count == ATTRIBUTES_MAX || !take_attribute(s, &names[count], &value))
            return false;
        /* By the local name: two prefixes may be one namespace. */
        for (size_t i = 0; i < count; i++) {
            if (same(local(names[i]), local(names[count])))
                return false;
        }
        if (is_span(names[count++], "type"))
            *type = value;
    }
}

/* libvirt's own form and no other. */
static bool is_uuid(const char *at, const char *end)
{
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx<";

    if ((size_t)(end - at) < sizeof form - 1)
        return false;
    for (size_t i = 0; form[i]; i++) {
        bool digit = (at[i] >= '0' && at[i] <= '9') || (at[i] >= 'a' && at[i] <= 'f');

        if (form[i] == 'x' ? !digit : at[i] != form[i])
            return false;
    }
    return true;
}

/* "<" and a letter are next. */
static bool take_start(Scan *s)
{
    Span name, type = {"", 0};
    bool empty;

    s->at++;
    if (!take_name(s, &name) || !take_attributes(s, &type, &empty))
        return false;
    if (s->depth == 0 && !is_span(name, "domain"))
        return false;
    if (is_span(local(name), "hostdev") &&
        (local(name).length != name.length || !is_other_hostdev(type)))
        return false;
    if (empty)
        return true;
    if (s->depth == DEPTH_MAX)
        return false;
    if (s->depth == 1 && !s->uuid && is_span(name, "uuid") && is_uuid(s->at, s->end))
        s->uuid = s->at;
    s->open[s->depth++] = name;
    return true;
}

/* "</" is taken. */
static bool take_end(Scan *s)
{
    Span name;

    if (!take_name(s, &name) || s->depth == 0 || !same(name, s->open[s->depth - 1]))
        return false;
    (void)take_space(s);
    s->depth--;
    return take(s, ">");
}

static bool take_markup(Scan *s)
{
    if (take(s, "<!--"))
        return take_comment(s);
    if (take(s, "</"))
        return take_end(s);
    if (s->depth > 0 && take(s, "<![CDATA["))
        return skip_past(s, "]]>");
    return take_start(s);
}

DkvmHookAnswer dkvm_hook_scan(const char *text, size_t length, char uuid[DKVM_HOOK_UUID_SIZE])
{
    Scan s = {.at = text, .end = length > 0 ? text + length : text};
    bool root = false;

    uuid[0] = '\0';
    if (!is_text(text, length))
        return DKVM_HOOK_ASK;
    for (;;) {
        if (s.depth > 0 && !take_until(&s, '<'))
            return DKVM_HOOK_ASK;
        (void)take_space(&s);
        if (s.at == s.end)
            break;
        if (*s.at != '<' || (root && s.depth == 0 && !is_next(&s, "<!--")))
            return DKVM_HOOK_ASK;
        root = root || !is_next(&s, "<!--");
        if (!take_markup(&s))
            return DKVM_HOOK_ASK;
    }
    if (!root || s.depth > 0)
        return DKVM_HOOK_ASK;
    if (s.uuid)
        (void)snprintf(uuid, DKVM_HOOK_UUID_SIZE, "%.*s", DKVM_HOOK_UUID_SIZE - 1, s.uuid);
    return DKVM_HOOK_NOT_OURS;
}
