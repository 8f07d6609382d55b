/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/json.h"

#include <string.h>

#include "lib/error.h"

#define MAX_DEPTH 32

/* Nested too deeply, or with something outside of strings that JSON does not have: json-glib skips
 * comments, and a quote in one would hide brackets from us; or with a NUL, where C would end the
 * string.  json-glib judges the rest. */
static gboolean refused(const char *text, gsize length)
{
    guint depth = 0;
    gboolean string = FALSE;

    for (gsize i = 0; i < length; i++) {
        char c = text[i];
        if (string && c == '\\' && length - i > 5 && memcmp(text + i, "\\u0000", 6) == 0)
            return TRUE;
        if (string && c == '\\')
            i++;
        else if (c == '"')
            string = !string;
        else if (string)
            continue;
        else if (c == '/' || c == '#')
            return TRUE;
        else if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && depth > 0)
            depth--;
        if (depth > MAX_DEPTH)
            return TRUE;
    }
    return FALSE;
}

JsonObject *dkvm_json_object(const char *text, gsize length, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    g_autoptr(GError) cause = NULL;
    JsonNode *root;

    if (length > G_MAXSSIZE || !g_utf8_validate(text, (gssize)length, NULL)) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT, "it is not JSON: not UTF-8 text");
        return NULL;
    }
    if (refused(text, length)) {
        g_set_error(
            error, DKVM_ERROR, DKVM_ERROR_INPUT,
            "it is not JSON that is accepted here: comments, a NUL, or more than %d levels deep",
            MAX_DEPTH);
        return NULL;
    }
    if (!json_parser_load_from_data(parser, text, (gssize)length, &cause)) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT, "it is not JSON: %s", cause->message);
        return NULL;
    }
    root = json_parser_get_root(parser);
    if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT, "it is not JSON: no object at the top");
        return NULL;
    }
    return json_object_ref(json_node_get_object(root));
}

static const char *node_string(JsonNode *node)
{
    if (!node || !JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING)
        return NULL;
    return json_node_get_string(node);
}

const char *dkvm_json_string(JsonObject *object, const char *member)
{
    return node_string(json_object_get_member(object, member));
}

JsonObject *dkvm_json_child(JsonObject *object, const char *member)
{
    JsonNode *node = json_object_get_member(object, member);

    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

JsonArray *dkvm_json_array(JsonObject *object, const char *member)
{
    JsonNode *node = json_object_get_member(object, member);

    return node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

const char *dkvm_json_array_string(JsonArray *array, guint index)
{
    return node_string(json_array_get_element(array, index));
}

JsonObject *dkvm_json_array_object(JsonArray *array, guint index)
{
    JsonNode *node = json_array_get_element(array, index);

    return JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}
