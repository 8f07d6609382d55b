/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xslt/qmp.c: the installed QEMU (which must be there), and programs that only pretend to be one.
 * The root prefix is a directory of this test; the real paths are reached through ROOT/real -> /.
 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/log.h"
#include "xslt/json.h"
#include "xslt/models.h"
#include "xslt/qmp-cache.h"
#include "xslt/qmp.h"

#define QEMU "/usr/bin/qemu-system-x86_64"
#define REAL "/real" QEMU

static char *root;

/* Puts a shell script below the root and returns its path there. */
static const char *fake(const char *script)
{
    g_autofree char *path = g_build_filename(root, "fake", NULL);
    g_autofree char *text = g_strconcat("#!/bin/sh\n", script, "\n", NULL);

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    g_assert_cmpint(g_chmod(path, 0755), ==, 0);
    return "/fake";
}

#define GREETING "echo '{\"QMP\": {\"version\": {}, \"capabilities\": []}}'\n"
#define VERSION                                                                                    \
    "echo '{\"return\": {}}'\n"                                                                    \
    "echo '{\"return\": {\"qemu\": {\"major\": 8, \"minor\": 1, \"micro\": 5}}}'\n"

static void expect_failure(const char *script, guint deadline, const char *message)
{
    g_autoptr(GError) error = NULL;
    gint64 start = g_get_monotonic_time();
    DkvmQmpAnswer *answer = dkvm_qmp_ask(fake(script), "tcg", deadline, &error);

    g_assert_null(answer);
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_HOST);
    g_assert_nonnull(strstr(error->message, "/fake"));
    g_assert_nonnull(strstr(error->message, "--facts"));
    if (!strstr(error->message, message))
        g_error("'%s' is not in: %s", message, error->message);
    g_assert_cmpint(g_get_monotonic_time() - start, <, (deadline + 5000) * 1000LL);
}

static void test_failures(void)
{
    expect_failure("echo no such accelerator >&2; exit 1", 10000, "no such accelerator");
    expect_failure("printf 'a\\033[2Jb' >&2", 10000, "a?[2Jb");
    expect_failure("exit 0", 10000, "ended without an answer");
    expect_failure("echo hello", 10000, "not JSON");
    expect_failure("echo '{}'; exec sleep 60", 10000, "does not speak QMP");
    expect_failure("echo '[1]'; exec sleep 60", 10000, "not JSON");
    expect_failure(GREETING "exit 3", 10000, "ended without an answer");
    expect_failure(GREETING "echo '{\"return\": {}}'; echo '{\"return\": {}}'; exec sleep 60",
                   10000, "does not tell its version");
    expect_failure(GREETING "echo '{\"return\": {}}'; echo '{\"return\": {\"qemu\": {\"major\": 8, "
                            "\"minor\": 1000, \"micro\": 0}}}'; exec sleep 60",
                   10000, "does not tell its version");
    expect_failure("exec cat /dev/zero", 10000, "larger than 4 MiB");
    expect_failure("while :; do echo spam >&2; done", 500, "no answer in time");
    expect_failure(GREETING "while :; do echo '{\"event\": \"X\"}'; done", 500,
                   "no answer in time");
    expect_failure("exec sleep 60", 300, "no answer in time");
    expect_failure("trap '' TERM INT HUP; " GREETING "while :; do sleep 1; done", 300,
                   "no answer in time");
}

/* A QEMU that hangs is gone when the call returns. */
static void test_killed(void)
{
    g_autofree char *pid_file = g_build_filename(root, "pid", NULL);
    g_autofree char *script = g_strdup_printf("echo $$ > %s; exec sleep 60", pid_file);
    g_autofree char *text = NULL;

    expect_failure(script, 500, "no answer in time");
    g_assert_true(g_file_get_contents(pid_file, &text, NULL, NULL));
    g_assert_cmpint(kill((pid_t)g_ascii_strtoll(text, NULL, 10), 0), ==, -1);
}

static void test_not_there(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(dkvm_qmp_ask("/nowhere", "tcg", 1000, &error));
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_HOST);
    g_assert_null(dkvm_qmp_emulator()); /* an empty root */
    g_assert_true(dkvm_qmp_is_distribution(QEMU));
    g_assert_true(dkvm_qmp_is_distribution("/usr/libexec/qemu-kvm"));
    g_assert_false(dkvm_qmp_is_distribution("/home/me/qemu-system-x86_64"));
    g_assert_false(dkvm_qmp_is_distribution(""));
}

/* Answers that mean "I do not know": errors, and models that QEMU cannot build. */
static void test_unknown(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmQmpAnswer) answer = dkvm_qmp_ask(
        fake(GREETING VERSION
             "echo '{\"timestamp\": {}, \"event\": \"NICE\"}'\n"
             "echo '{\"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"x\"}}'\n"
             "echo '{\"error\": {\"class\": \"GenericError\", \"desc\": \"x\"}}'\n"
             "echo '{\"return\": [{\"name\": \"Penryn\", \"unavailable-features\": [\"type\"]},"
             " {\"name\": \"Conroe-v1\"}, {\"name\": \"Westmere-v2\", \"unavailable-features\": "
             "[\"a,b\"]},"
             " {\"name\": \"Cascadelake-Server-x86_64-cpu\","
             " \"unavailable-features\": [\"rtm\", \"hle\", \"rtm\"]}]}'\n"
             "exec sleep 60"),
        "tcg", 10000, &error);
    char **names;

    g_assert_no_error(error);
    g_assert_cmpuint(answer->version, ==, 8001005);
    g_assert_cmpint(answer->applesmc, ==, DKVM_NO);
    g_assert_cmpint(answer->hotplug_off, ==, DKVM_UNKNOWN);
    g_assert_cmpuint(g_hash_table_size(answer->missing), ==, 1);
    names = g_hash_table_lookup(answer->missing, "Cascadelake-Server");
    g_assert_cmpuint(g_strv_length(names), ==, 2); /* sorted, each once */
    g_assert_cmpstr(names[0], ==, "hle");
    g_assert_cmpstr(names[1], ==, "rtm");
}

/* ---- the installed QEMU ------------------------------------------------------------------- */

static DkvmQmpAnswer *ask_real(const char *accel)
{
    g_autoptr(GError) error = NULL;
    DkvmQmpAnswer *answer = dkvm_qmp_ask(REAL, accel, DKVM_QMP_DEADLINE, &error);

    g_assert_no_error(error);
    return answer;
}

static void test_real(void)
{
    g_autoptr(DkvmQmpAnswer) answer = ask_real("tcg");

    g_assert_cmpuint(answer->version, >=, 7000000);
    g_assert_cmpint(answer->applesmc, ==, DKVM_YES);
    g_assert_cmpint(answer->hotplug_off, ==, DKVM_YES);
    for (const DkvmCpuModel *const *cpu = dkvm_models_cpus(); *cpu; cpu++)
        g_assert_true(g_hash_table_contains(answer->missing, (*cpu)->name));
}

/* Everything that QEMU says when a q35 domain with this -cpu starts. */
static char *start(const char *cpu)
{
    const char *argv[] = {QEMU,       "-machine", "q35",         "-accel",
                          "tcg",      "-S",       "-nodefaults", "-no-user-config",
                          "-display", "none",     "-monitor",    "stdio",
                          "-cpu",     cpu,        NULL};
    g_autoptr(GError) error = NULL;
    g_autoptr(GSubprocess) process =
        g_subprocess_newv(argv,
                          G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_SILENCE |
                              G_SUBPROCESS_FLAGS_STDERR_PIPE,
                          &error);
    char *said = NULL;

    g_assert_no_error(error);
    g_subprocess_communicate_utf8(process, "quit\n", NULL, NULL, &said, &error);
    g_assert_no_error(error);
    g_assert_true(g_subprocess_get_successful(process));
    return said;
}

/* The list is complete: with it QEMU has nothing to complain of; without one of it it has. */
static void test_no_warning(void)
{
    g_autoptr(DkvmQmpAnswer) answer = ask_real("tcg");

    for (const DkvmCpuModel *const *cpu = dkvm_models_cpus(); *cpu; cpu++) {
        char **names = g_hash_table_lookup(answer->missing, (*cpu)->name);
        g_autofree char *off = g_strjoinv(",-", names);
        g_autofree char *argument =
            g_strdup_printf("%s,vendor=GenuineIntel%s%s", (*cpu)->name, *names ? ",-" : "", off);
        g_autofree char *said = start(argument);
        g_autofree char *bare = start((*cpu)->name);
        g_test_message("%s", argument);
        g_assert_cmpstr(said, ==, "");
        g_assert_true((*names != NULL) == (strstr(bare, "warning") != NULL));
    }
}

/* Asks for one property of a CPU model as QEMU itself sees it. */
static gint64 cpu_number(JsonObject *properties, const char *name)
{
    return json_object_get_int_member_with_default(properties, name, -1);
}

/* family, model and stepping in models.xml are what the oracle takes for CPUID leaf 1. */
static void test_models(void)
{
    const char *argv[] = {QEMU,          "-machine",        "none",     "-accel", "tcg",  "-S",
                          "-nodefaults", "-no-user-config", "-display", "none",   "-qmp", "stdio",
                          NULL};

    for (const DkvmCpuModel *const *cpu = dkvm_models_cpus(); *cpu; cpu++) {
        g_autofree char *ask = g_strdup_printf(
            "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-cpu-model-expansion\","
            "\"arguments\":{\"type\":\"full\",\"model\":{\"name\":\"%s\"}}}\n{\"execute\":\"quit\"}"
            "\n",
            (*cpu)->name);
        g_autoptr(GSubprocess) process = g_subprocess_newv(
            argv, G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE, NULL);
        g_autofree char *output = NULL;
        g_auto(GStrv) lines = NULL;
        g_autoptr(JsonObject) reply = NULL;
        JsonObject *properties;

        g_assert_true(g_subprocess_communicate_utf8(process, ask, NULL, &output, NULL, NULL));
        lines = g_strsplit(output, "\n", -1); /* greeting, capabilities, expansion */
        g_assert_cmpuint(g_strv_length(lines), >=, 3);
        reply = dkvm_json_object(lines[2], strlen(lines[2]), NULL);
        properties = json_object_get_object_member(
            json_object_get_object_member(json_object_get_object_member(reply, "return"), "model"),
            "props");
        g_assert_cmpint(cpu_number(properties, "family"), ==, (*cpu)->family);
        g_assert_cmpint(cpu_number(properties, "model"), ==, (*cpu)->model);
        g_assert_cmpint(cpu_number(properties, "stepping"), ==, (*cpu)->stepping);
    }
}

/* Where this process can open /dev/kvm, asking KVM either works or says why; never hangs. */
static void test_kvm(void)
{
    g_autoptr(GError) error = NULL;
    DkvmQmpAnswer *answer = dkvm_qmp_ask(REAL, "kvm", DKVM_QMP_DEADLINE, &error);

    if (answer)
        g_assert_cmpuint(g_hash_table_size(answer->missing), >, 0);
    else
        g_assert_error(error, DKVM_ERROR, DKVM_ERROR_HOST);
    g_clear_pointer(&answer, dkvm_qmp_answer_free);
}

/* ---- cache -------------------------------------------------------------------------------- */

static char *cache_file(void)
{
    return g_build_filename(g_get_user_cache_dir(), "dkvm", "qemu-facts.json", NULL);
}

static void same(GHashTable *a, GHashTable *b)
{
    GHashTableIter iterator;
    gpointer model, names;

    g_assert_cmpuint(g_hash_table_size(a), ==, g_hash_table_size(b));
    g_hash_table_iter_init(&iterator, a);
    while (g_hash_table_iter_next(&iterator, &model, &names)) {
        g_assert_true(g_hash_table_contains(b, model));
        g_assert_true(g_strv_equal(names, g_hash_table_lookup(b, model)));
    }
}

static void test_cache(void)
{
    g_autofree char *key = dkvm_qmp_cache_key(REAL, "tcg");
    g_autofree char *kvm_key = dkvm_qmp_cache_key(REAL, "kvm");
    g_autofree char *path = cache_file();
    g_autoptr(DkvmQmpAnswer) answer = ask_real("tcg");
    g_autoptr(DkvmQmpAnswer) again = NULL;
    g_autoptr(DkvmQmpAnswer) other = NULL;
    struct stat status;

    g_assert_cmpstr(key, !=, kvm_key);
    g_assert_null(dkvm_qmp_cache_load(key));
    dkvm_qmp_cache_store(key, answer);
    dkvm_qmp_cache_store(kvm_key, answer);
    again = dkvm_qmp_cache_load(key);
    other = dkvm_qmp_cache_load(kvm_key); /* the second did not push the first out */
    g_assert_nonnull(again);
    g_assert_nonnull(other);
    g_assert_cmpuint(again->version, ==, answer->version);
    g_assert_cmpint(again->applesmc, ==, answer->applesmc);
    g_assert_cmpint(again->hotplug_off, ==, answer->hotplug_off);
    same(again->missing, answer->missing);
    g_assert_cmpint(stat(path, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 07777, ==, 0600);
    g_assert_null(dkvm_qmp_cache_key("/nowhere", "tcg"));
    for (guint i = 0; i < 40; i++) { /* does not grow without end */
        g_autofree char *old = g_strdup_printf("old %u", i);
        dkvm_qmp_cache_store(old, answer);
    }
    g_assert_cmpint(stat(path, &status), ==, 0);
    g_assert_cmpint(status.st_size, <, 64 * 1024);
}

/* Whatever lies there: no answer, no complaint. */
static void test_cache_refused(void)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{\"schema\": 2, \"answers\": {\"k\": {\"version\": \"7.2.0\", \"missing\": {}}}}",
        "{\"schema\": 1, \"answers\": {\"k\": {\"missing\": {}}}}",
        "{\"schema\": 1, \"answers\": {\"k\": {\"version\": \"7.2.0\"}}}",
        "{\"schema\": 1, \"answers\": {\"k\": {\"version\": \"x\", \"missing\": {}}}}",
        "{\"schema\": 1, \"answers\": {\"k\": {\"version\": \"7.2.0\", \"applesmc\": 1, "
        "\"missing\": "
        "{}}}}",
        "{\"schema\": 1, \"answers\": {\"k\": {\"version\": \"7.2.0\", \"missing\": {\"P\": "
        "[\"a,b\"]}}}}",
        "{\"schema\": 1, \"answers\": {\"k\": {\"version\": \"7.2.0\", \"missing\": {\"P q\": "
        "[]}}}}",
    };
    const char *good =
        "{\"schema\": 1, \"answers\": {\"k\": {\"version\": \"7.2.0\", \"missing\": {}}}}";
    g_autofree char *path = cache_file();
    g_autofree char *directory = g_path_get_dirname(path);
    DkvmQmpAnswer *answer;

    g_assert_cmpint(g_mkdir_with_parents(directory, 0700), ==, 0);
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_true(g_file_set_contents(path, bad[i], -1, NULL));
        g_test_message("%s", bad[i]);
        g_assert_null(dkvm_qmp_cache_load("k"));
    }
    g_assert_true(g_file_set_contents(path, good, -1, NULL));
    answer = dkvm_qmp_cache_load("k");
    g_assert_nonnull(answer);
    dkvm_qmp_answer_free(answer);
    g_assert_null(dkvm_qmp_cache_load("other"));
    g_assert_cmpint(g_chmod(path, 0666), ==, 0); /* anyone could have written it */
    g_assert_null(dkvm_qmp_cache_load("k"));
    g_assert_cmpint(g_remove(path), ==, 0);
    g_assert_cmpint(symlink("/dev/zero", path), ==, 0);
    g_assert_null(dkvm_qmp_cache_load("k"));
    g_assert_cmpint(g_remove(path), ==, 0);
}

int main(int argc, char **argv)
{
    g_autofree char *real = NULL;
    g_autofree char *cache = NULL;
    const char *argument[] = {"rm", "-rf", NULL, NULL};
    int rc;

    root = g_dir_make_tmp("dkvm-qmp-XXXXXX", NULL);
    g_assert_nonnull(root);
    real = g_build_filename(root, "real", NULL);
    cache = g_build_filename(root, "cache", NULL);
    g_assert_cmpint(symlink("/", real), ==, 0);
    g_setenv("DKVM_ROOT", root, TRUE);
    g_setenv("XDG_CACHE_HOME", cache, TRUE);
    g_test_init(&argc, &argv, NULL);
    dkvm_log_init("test-qmp");
    g_test_add_func("/qmp/failures", test_failures);
    g_test_add_func("/qmp/killed", test_killed);
    g_test_add_func("/qmp/not-there", test_not_there);
    g_test_add_func("/qmp/unknown", test_unknown);
    g_test_add_func("/qmp/real", test_real);
    g_test_add_func("/qmp/no-warning", test_no_warning);
    g_test_add_func("/qmp/models", test_models);
    g_test_add_func("/qmp/kvm", test_kvm);
    g_test_add_func("/qmp/cache", test_cache);
    g_test_add_func("/qmp/cache-refused", test_cache_refused);
    rc = g_test_run();
    argument[2] = root;
    g_spawn_sync(NULL, (char **)argument, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                 NULL);
    return rc;
}
