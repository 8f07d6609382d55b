/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* {"schema": 1, "answers": {KEY: {"version": "7.2.22", "applesmc": true, "hotplug-off": true,
 *                                 "missing": {MODEL: [FEATURE, ...], ...}}, ...}} */
#include "xslt/qmp-cache.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/paths.h"
#include "xslt/facts-private.h"
#include "xslt/json.h"

#define SCHEMA 1
#define MAX_CACHE (1024 * 1024)
#define MAX_ANSWERS 16 /* two per emulator; more are leftovers of upgrades */

/* The "flags" of the first CPU: a microcode update or another machine changes what KVM can give. */
static char *cpu_flags(void)
{
    g_autofree char *real = dkvm_path("/proc/cpuinfo");
    g_autofree char *text = dkvm_file_read(real, MAX_CACHE * 16, NULL, NULL);
    const char *flags = text ? strstr(text, "\nflags") : NULL;
    const char *end = flags ? strchr(flags + 1, '\n') : NULL;

    return end ? g_strndup(flags + 1, (gsize)(end - flags - 1)) : g_strdup("");
}

char *dkvm_qmp_cache_key(const char *emulator, const char *accel)
{
    g_autofree char *real = dkvm_path(emulator);
    g_autofree char *host = NULL;
    struct utsname kernel;
    struct stat status;

    if (stat(real, &status) < 0 || uname(&kernel) < 0)
        return NULL;
    if (g_str_equal(accel, "kvm")) {
        g_autofree char *flags = cpu_flags();
        g_autofree char *all = g_strconcat(kernel.release, " ", kernel.version, " ", flags, NULL);
        host = g_compute_checksum_for_string(G_CHECKSUM_SHA256, all, -1);
    }
    return g_strdup_printf("%s:%" G_GINT64_FORMAT ":%" G_GINT64_FORMAT ".%09ld:%s:%s", real,
                           (gint64)status.st_size, (gint64)status.st_mtim.tv_sec,
                           status.st_mtim.tv_nsec, accel, host ? host : "");
}

static char *cache_path(void)
{
    return g_build_filename(g_get_user_cache_dir(), "dkvm", "qemu-facts.json", NULL);
}

/* Only a file of our own: under sudo, XDG_CACHE_HOME may be another user's. */
static gboolean ours(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
           (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static JsonObject *load_all(const char *path)
{
    g_autofree char *text = NULL;
    gsize length = 0;
    JsonObject *object;

    if (!ours(path))
        return NULL;
    text = dkvm_file_read(path, MAX_CACHE, &length, NULL);
    object = text ? dkvm_json_object(text, length, NULL) : NULL;
    if (object && json_object_get_int_member_with_default(object, "schema", 0) == SCHEMA &&
        dkvm_json_child(object, "answers"))
        return object;
    g_clear_pointer(&object, json_object_unref);
    return NULL;
}

static gboolean tristate(JsonObject *object, const char *member, DkvmTristate *value)
{
    JsonNode *node = json_object_get_member(object, member);

    *value = DKVM_UNKNOWN;
    if (!node)
        return TRUE;
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_BOOLEAN)
        return FALSE;
    *value = json_node_get_boolean(node) ? DKVM_YES : DKVM_NO;
    return TRUE;
}

DkvmQmpAnswer *dkvm_qmp_cache_load(const char *key)
{
    g_autofree char *path = cache_path();
    g_autoptr(JsonObject) all = load_all(path);
    g_autoptr(DkvmQmpAnswer) answer = g_new0(DkvmQmpAnswer, 1);
    JsonObject *object = all ? dkvm_json_child(dkvm_json_child(all, "answers"), key) : NULL;
    JsonObject *lists = object ? dkvm_json_child(object, "missing") : NULL;

    answer->missing =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_strfreev);
    if (!lists || !dkvm_facts_read_missing(lists, answer->missing))
        return NULL;
    answer->version = dkvm_version_parse(dkvm_json_string(object, "version"));
    if (answer->version == 0 || !tristate(object, "applesmc", &answer->applesmc) ||
        !tristate(object, "hotplug-off", &answer->hotplug_off))
        return NULL;
    return g_steal_pointer(&answer);
}

static JsonObject *answer_object(const DkvmQmpAnswer *answer)
{
    JsonObject *object = json_object_new();
    g_autofree char *version = dkvm_version_text(answer->version);

    json_object_set_string_member(object, "version", version);
    dkvm_facts_set_tristate(object, "applesmc", answer->applesmc);
    dkvm_facts_set_tristate(object, "hotplug-off", answer->hotplug_off);
    json_object_set_object_member(object, "missing", dkvm_facts_missing_object(answer->missing));
    return object;
}

/* The other answers of the file, as a tree that may be changed (the parser's may not). */
static JsonObject *other_answers(const char *path, const char *key)
{
    g_autoptr(JsonObject) old = load_all(path);
    JsonObject *answers = json_object_new();
    JsonObjectIter iterator;
    const char *name;
    JsonNode *node;

    if (!old)
        return answers;
    json_object_iter_init(&iterator, dkvm_json_child(old, "answers"));
    while (json_object_iter_next(&iterator, &name, &node))
        if (!g_str_equal(name, key) && json_object_get_size(answers) < MAX_ANSWERS - 1)
            json_object_set_member(answers, name, json_node_copy(node));
    return answers;
}

void dkvm_qmp_cache_store(const char *key, const DkvmQmpAnswer *answer)
{
    g_autofree char *path = cache_path();
    g_autofree char *directory = g_path_get_dirname(path);
    g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);
    JsonObject *all = json_object_new();
    JsonObject *answers = other_answers(path, key);
    g_autofree char *text = NULL;
    int fd;

    json_object_set_object_member(answers, key, answer_object(answer));
    json_object_set_int_member(all, "schema", SCHEMA);
    json_object_set_object_member(all, "answers", answers);
    json_node_take_object(root, all);
    text = json_to_string(root, TRUE);
    /* Not being able to write it costs a quarter of a second next time, nothing else. */
    if (g_mkdir_with_parents(directory, 0700) < 0)
        return;
    /* For nobody else's eyes from the beginning: a replaced file keeps its mode. */
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    (void)dkvm_file_replace(path, text, strlen(text), NULL);
}
