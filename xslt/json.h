/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading JSON that we did not write: firmware descriptors, QMP replies, recorded facts, our cache.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>

/* Parses TEXT (LENGTH bytes, UTF-8) whose outermost value must be an object.  Nesting is limited,
 * because json-glib 1.6 recurses without bound.  Returns a new reference or NULL with
 * DKVM_ERROR_INPUT ("it is not JSON: ..."), which the caller prefixes with what was read. */
JsonObject *dkvm_json_object(const char *text, gsize length, GError **error);

/* Members of OBJECT, or NULL if missing or of another type: borrowed. */
const char *dkvm_json_string(JsonObject *object, const char *member);
JsonObject *dkvm_json_child(JsonObject *object, const char *member);
JsonArray *dkvm_json_array(JsonObject *object, const char *member);

/* Element INDEX of ARRAY if it is a string or an object, else NULL: borrowed. */
const char *dkvm_json_array_string(JsonArray *array, guint index);
JsonObject *dkvm_json_array_object(JsonArray *array, guint index);
