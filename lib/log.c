/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/log.h"

#include <errno.h>
#include <stdio.h>

static const char *log_program = "dkvm";

/* What would end the line, move the cursor or reorder the text: names come from strangers, and a
 * line of ours must stay one line that reads as it was written. */
static gboolean is_unsafe(gunichar c)
{
    switch (g_unichar_type(c)) {
    case G_UNICODE_CONTROL:
    case G_UNICODE_FORMAT:
    case G_UNICODE_LINE_SEPARATOR:
    case G_UNICODE_PARAGRAPH_SEPARATOR:
        return TRUE;
    default:
        return FALSE;
    }
}

static char *one_line(const char *text)
{
    GString *line = g_string_new(NULL);

    while (*text) {
        gunichar c = g_utf8_get_char_validated(text, -1);

        if (c == (gunichar)-1 || c == (gunichar)-2) {
            g_string_append_printf(line, "\\x%02x", (guchar)*text++);
            continue;
        }
        if (c == '\n')
            g_string_append(line, "\\n");
        else if (is_unsafe(c))
            g_string_append_printf(line, "\\u{%x}", c);
        else
            g_string_append_unichar(line, c);
        text = g_utf8_next_char(text);
    }
    return g_string_free(line, FALSE);
}

static void put(const char *level, const char *text)
{
    int saved = errno;
    g_autofree char *clean = one_line(text);
    g_autofree char *line = g_strdup_printf("%s: %s: %s\n", log_program, level, clean);

    /* One call, so that lines of several processes do not mix.  There is nobody left to tell if
     * standard error is gone. */
    (void)fputs(line, stderr);
    errno = saved;
}

static G_GNUC_PRINTF(2, 0) void put_format(const char *level, const char *format, va_list arguments)
{
    int saved = errno;
    g_autofree char *text = g_strdup_vprintf(format, arguments);

    put(level, text);
    errno = saved;
}

static const char *level_name(GLogLevelFlags level)
{
    if (level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL))
        return "error";
    return level & G_LOG_LEVEL_WARNING ? "warning" : "note";
}

static char *field_text(const GLogField *fields, gsize count, const char *key)
{
    for (gsize i = 0; i < count; i++) {
        const GLogField *field = &fields[i];

        if (g_strcmp0(field->key, key) == 0)
            return field->length < 0 ? g_strdup(field->value)
                                     : g_strndup(field->value, (gsize)field->length);
    }
    return NULL;
}

static GLogWriterOutput write_glib(GLogLevelFlags level, const GLogField *fields, gsize count,
                                   gpointer unused)
{
    g_autofree char *domain = field_text(fields, count, "GLIB_DOMAIN");
    g_autofree char *message = field_text(fields, count, "MESSAGE");
    g_autofree char *text = NULL;

    /* Debug and info only where G_MESSAGES_DEBUG asks for them, as everywhere else with GLib. */
    if (g_log_writer_default_would_drop(level, domain))
        return G_LOG_WRITER_HANDLED;
    text = g_strconcat(domain ? domain : "", domain ? ": " : "", message ? message : "", NULL);
    put(level_name(level), text);
    return G_LOG_WRITER_HANDLED;
}

void dkvm_log_init(const char *program)
{
    static gboolean installed;

    log_program = program;
    if (installed) /* GLib takes one writer per process and complains about a second */
        return;
    installed = TRUE;
    g_log_set_writer_func(write_glib, NULL, NULL);
}

void dkvm_log_error(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    put_format("error", format, arguments);
    va_end(arguments);
}

void dkvm_log_warning(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    put_format("warning", format, arguments);
    va_end(arguments);
}

void dkvm_log_note(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    put_format("note", format, arguments);
    va_end(arguments);
}
