/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/pending.h"

#include <string.h>
#include <unistd.h>

#include "lib/file.h"

#define PREFIX "restart-"
#define GROUP "restart"
#define MOST_BYTES 65536

void dkvm_pending_free(DkvmPending *pending)
{
    if (pending == NULL) {
        return;
    }
    g_free(pending->uri);
    g_free(pending->uuid);
    g_free(pending->name);
    g_free(pending->digest);
    g_free(pending);
}

char *dkvm_pending_digest(const char *xml)
{
    return g_compute_checksum_for_string(G_CHECKSUM_SHA256, xml, -1);
}

/* ---- files ---- */

static char *path_of(const char *directory, const char *uri, const char *uuid)
{
    g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, uri, -1);
    g_autofree char *name = g_strdup_printf(PREFIX "%s-%.8s", uuid, digest);
    return g_build_filename(directory, name, NULL);
}

gboolean dkvm_pending_write(const char *directory, const DkvmPending *pending, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *path = path_of(directory, pending->uri, pending->uuid);
    gsize length = 0;
    g_key_file_set_string(file, GROUP, "uri", pending->uri);
    g_key_file_set_string(file, GROUP, "uuid", pending->uuid);
    g_key_file_set_string(file, GROUP, "name", pending->name);
    g_key_file_set_integer(file, GROUP, "id", pending->id);
    g_key_file_set_string(file, GROUP, "digest", pending->digest);
    g_key_file_set_int64(file, GROUP, "at", pending->at);
    g_key_file_set_boolean(file, GROUP, "full", pending->full);
    g_autofree char *text = g_key_file_to_data(file, &length, NULL);
    return dkvm_file_replace(path, text, length, error);
}

void dkvm_pending_remove(const char *directory, const char *uri, const char *uuid)
{
    g_autofree char *path = path_of(directory, uri, uuid);
    unlink(path);
}

/* NULL: it is not what dkvm_pending_write() writes. */
static DkvmPending *parse(const char *text, gsize length)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(DkvmPending) pending = g_new0(DkvmPending, 1);
    if (!g_key_file_load_from_data(file, text, length, G_KEY_FILE_NONE, NULL)) {
        return NULL;
    }
    pending->uri = g_key_file_get_string(file, GROUP, "uri", NULL);
    pending->uuid = g_key_file_get_string(file, GROUP, "uuid", NULL);
    pending->name = g_key_file_get_string(file, GROUP, "name", NULL);
    pending->digest = g_key_file_get_string(file, GROUP, "digest", NULL);
    pending->id = g_key_file_get_integer(file, GROUP, "id", NULL);
    pending->at = g_key_file_get_int64(file, GROUP, "at", NULL);
    pending->full = g_key_file_get_boolean(file, GROUP, "full", NULL);
    gboolean complete = pending->uri != NULL && pending->uuid != NULL && pending->name != NULL &&
                        pending->digest != NULL && pending->at > 0 &&
                        g_uuid_string_is_valid(pending->uuid);
    return complete ? g_steal_pointer(&pending) : NULL;
}

static DkvmPending *read_one(const char *path)
{
    gsize length = 0;
    g_autofree char *text = dkvm_file_read(path, MOST_BYTES, &length, NULL);
    DkvmPending *pending = text ? parse(text, length) : NULL;
    if (pending == NULL) {
        unlink(path);
    }
    return pending;
}

GPtrArray *dkvm_pending_read(const char *directory, const char *uri)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)dkvm_pending_free);
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    const char *name = NULL;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(directory, name, NULL);
        g_autoptr(DkvmPending) pending = g_str_has_prefix(name, PREFIX) ? read_one(path) : NULL;
        if (pending != NULL && g_str_equal(pending->uri, uri)) {
            g_ptr_array_add(list, g_steal_pointer(&pending));
        }
    }
    return list;
}

/* ---- the rule ---- */

DkvmVerdict dkvm_pending_judge(const DkvmPending *pending, DkvmPower power, const char *digest,
                               gint64 now)
{
    gboolean late = now < pending->at || now - pending->at > DKVM_PENDING_AGE;
    switch (power) {
    case DKVM_GONE:
    case DKVM_RUNS:
        /* The first machine still, and then it was not stopped; or another one: it was started. */
        return DKVM_PENDING_FORGET;
    case DKVM_OFF:
        return DKVM_PENDING_REPORT;
    case DKVM_OFF_DESTROYED:
        break;
    }
    return late || g_strcmp0(digest, pending->digest) != 0 ? DKVM_PENDING_REPORT
                                                           : DKVM_PENDING_START;
}
