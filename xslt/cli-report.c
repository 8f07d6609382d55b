/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <json-glib/json-glib.h>
#include <stdio.h>
#include <string.h>

#include "lib/log.h"
#include "xslt/cli.h"
#include "xslt/diff.h"

void dkvm_cli_print(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stdout, format, arguments);
    va_end(arguments);
}

static void add_lines(JsonBuilder *b, const char *name, const GPtrArray *lines)
{
    json_builder_set_member_name(b, name);
    json_builder_begin_array(b);
    for (guint i = 0; i < lines->len; i++) {
        json_builder_add_string_value(b, g_ptr_array_index(lines, i));
    }
    json_builder_end_array(b);
}

static void add_string(JsonBuilder *b, const char *name, const char *value)
{
    if (value != NULL) {
        json_builder_set_member_name(b, name);
        g_autofree char *valid = g_utf8_make_valid(value, -1); /* a file name may be anything */
        json_builder_add_string_value(b, valid);
    }
}

static void add_flag(JsonBuilder *b, const char *name, gboolean value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_boolean_value(b, value);
}

static const char *result_word(const DkvmCli *cli, const DkvmPatched *patched, gboolean stored)
{
    if (cli->options->check) {
        return patched->up_to_date ? "up-to-date" : "not-patched";
    }
    if (!patched->changed) {
        return "unchanged";
    }
    if (!stored) {
        return cli->options->revert ? "would-revert" : "would-patch";
    }
    return cli->options->revert ? "reverted" : "patched";
}

static void report_json(DkvmCli *cli, const char *object, const DkvmPatched *patched,
                        gboolean stored, const char *text, const GError *error, int exit_code)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    json_builder_begin_object(b);
    add_string(b, "object", object);
    if (patched != NULL) {
        add_string(b, "name", patched->name);
        add_string(b, "uuid", patched->uuid);
        add_string(b, "result", error ? "failed" : result_word(cli, patched, stored));
        add_flag(b, "stored", stored);
        add_lines(b, "changes", patched->done);
        add_lines(b, "kept", patched->kept);
        add_lines(b, "notes", patched->notes);
    } else {
        add_string(b, "result", "failed");
    }
    add_string(b, "then", text);
    add_string(b, "error", error ? error->message : NULL);
    json_builder_set_member_name(b, "exit");
    json_builder_add_int_value(b, exit_code);
    json_builder_end_object(b);
    g_ptr_array_add(cli->outcomes, json_builder_get_root(b));
}

static void say_notes(const char *object, const DkvmPatched *patched)
{
    for (guint i = 0; i < patched->notes->len; i++) {
        const char *note = g_ptr_array_index(patched->notes, i);
        const char *text = strchr(note, '|') + 1;
        if (g_str_has_prefix(note, "warning|")) {
            dkvm_log_warning("%s: %s", object, text);
        } else {
            dkvm_log_note("%s: %s", object, text);
        }
    }
}

static void say_lines(const char *object, const GPtrArray *lines)
{
    for (guint i = 0; i < lines->len; i++) {
        dkvm_cli_print("%s: %s\n", object, (const char *)g_ptr_array_index(lines, i));
    }
}

static void say_result(DkvmCli *cli, const char *object, const DkvmPatched *patched,
                       gboolean stored, const char *text)
{
    const DkvmOptions *o = cli->options;
    g_autoptr(GError) error = NULL;
    if (o->diff) {
        g_autofree char *before = dkvm_patch_showable(patched->before);
        g_autofree char *after = dkvm_patch_showable(patched->xml);
        g_autofree char *diff = dkvm_diff(before, after, object, &error);
        if (diff == NULL) {
            dkvm_log_error("%s", error->message);
            cli->exit_code = MAX(cli->exit_code, error->code);
            return;
        }
        dkvm_cli_print("%s", diff);
    }
    if (o->dry_run) {
        say_lines(object, patched->done);
        dkvm_cli_print("%s: %s\n", object,
                       patched->changed ? "would be changed as above" : "nothing to do");
    }
    if (o->diff || o->dry_run) {
        say_lines(object, patched->kept);
    }
    if (!o->diff && !o->dry_run && !o->check && (!o->file || o->create)) {
        const char *word = result_word(cli, patched, stored);
        dkvm_cli_print("%s: %s%s%s\n", object, word, text ? "; " : "", text ? text : "");
    }
}

void dkvm_cli_report(DkvmCli *cli, const char *object, const DkvmPatched *patched, gboolean stored,
                     const char *text, const GError *error)
{
    gboolean outdated = error == NULL && cli->options->check && !patched->up_to_date;
    int exit_code = error ? error->code : outdated ? 1 : 0;
    cli->exit_code = MAX(cli->exit_code, exit_code);
    if (cli->options->json) {
        report_json(cli, object, patched, stored, text, error, exit_code);
        return;
    }
    if (patched != NULL) {
        say_notes(object, patched);
        if (error == NULL) {
            say_result(cli, object, patched, stored, text);
        }
    }
    if (error != NULL) {
        dkvm_log_error("%s", error->message);
    }
}
