/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user's choices for one domain (--set KEY=VALUE, -m, --macos): each with a grammar that is
 * checked when it is set and again when it is read from the marker, since the marker is a part of
 * the domain that anyone with access to it can write. */
#pragma once

#include <glib.h>

/* Whether VALUE is allowed for KEY.  Errors: DKVM_ERROR_INPUT naming the key and what it takes (for
 * an unknown key: the keys there are).  Never prints the value of osk. */
gboolean dkvm_choice_check(const char *key, const char *value, GError **error);

/* "KEY=VALUE" -> a new key and value, checked; VALUE "auto" is allowed for every key and every part
 * (parts.h).  Errors as above. */
gboolean dkvm_choice_parse(const char *text, char **key, char **value, GError **error);
