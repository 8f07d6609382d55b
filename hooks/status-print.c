/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <json-glib/json-glib.h>
#include <stdio.h>

#include "hooks/runtime.h"
#include "hooks/status.h"
#include "lib/error.h"
#include "lib/file.h"

#define MAX_STATUS (64 * 1024 * 1024)

static const char *text_of(JsonObject *object, const char *name)
{
    const char *text = json_object_get_string_member_with_default(object, name, "");
    return text ? text : "";
}

static gboolean flag_of(JsonObject *object, const char *name)
{
    return json_object_get_boolean_member_with_default(object, name, FALSE);
}

/* Names come from anybody. */
static void print_safe(const char *text)
{
    for (const char *p = text; *p != '\0'; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        if (g_unichar_isprint(c)) {
            fwrite(p, 1, (gsize)(g_utf8_next_char(p) - p), stdout);
        } else {
            printf("\\u{%x}", c);
        }
    }
}

static void print_part(const char *before, const char *text)
{
    if (*text != '\0') {
        fputs(before, stdout);
        print_safe(text);
    }
}

static void print_domain(JsonArray *array, guint index, JsonNode *node, gpointer data)
{
    JsonObject *domain = JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
    if (domain == NULL) {
        return;
    }
    print_part("  ", text_of(domain, "name"));
    print_part(": ", text_of(domain, "result"));
    print_part(" ", text_of(domain, "patched"));
    fputs(flag_of(domain, "restarting") ? ", its first boot is being done over" : "", stdout);
    fputs(flag_of(domain, "waits_for_restart") ? ", takes effect at its next start" : "", stdout);
    print_part(", because ", text_of(domain, "why"));
    print_part(": ", text_of(domain, "error"));
    fputs("\n", stdout);
}

static JsonArray *array_of(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);
    return node != NULL && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

static void print_connection(JsonArray *array, guint index, JsonNode *node, gpointer data)
{
    JsonObject *link = JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
    JsonArray *domains = link ? array_of(link, "domains") : NULL;
    if (domains == NULL) {
        return;
    }
    print_safe(text_of(link, "uri"));
    print_part(": ", text_of(link, "state"));
    print_part(": ", text_of(link, "trouble"));
    printf(", %u domains\n", json_array_get_length(domains));
    json_array_foreach_element(domains, print_domain, NULL);
}

static gboolean print_people(const char *text, gsize length, const char *path, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    g_autoptr(GError) inner = NULL;
    json_parser_load_from_data(parser, text, (gssize)length, &inner);
    JsonNode *root = json_parser_get_root(parser);
    JsonObject *status =
        root != NULL && JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : NULL;
    JsonArray *connections = status ? array_of(status, "connections") : NULL;
    if (connections == NULL) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                    "cannot read %s: it is not what dkvm-watchd writes; restart it", path);
        return FALSE;
    }
    printf("dkvm-watchd %s, process %" G_GINT64_FORMAT "\n", text_of(status, "version"),
           json_object_get_int_member_with_default(status, "pid", 0));
    print_part("configuration not taken: ", text_of(status, "configuration_error"));
    fputs(*text_of(status, "configuration_error") ? "\n" : "", stdout);
    json_array_foreach_element(connections, print_connection, NULL);
    return TRUE;
}

gboolean dkvm_status_print(const char *directory, gboolean json, GError **error)
{
    g_autofree char *path = g_build_filename(directory, "status.json", NULL);
    gsize length = 0;
    if (!dkvm_runtime_is_taken(directory)) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                    "cannot show a status: no dkvm-watchd runs (its lock would be in %s); start it "
                    "with: systemctl start dkvm-watchd",
                    directory);
        return FALSE;
    }
    g_autofree char *text = dkvm_file_read(path, MAX_STATUS, &length, error);
    if (text == NULL) {
        return FALSE;
    }
    if (!json) {
        return print_people(text, length, path, error);
    }
    fwrite(text, 1, length, stdout);
    return TRUE;
}
