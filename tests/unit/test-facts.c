/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xslt/facts*.c: versions, the JSON form, this machine (below a root prefix, by this program
 * started again with --local), and a connection that has no QEMU.  The real connection is
 * tests/e2e's. */
#include <glib/gstdio.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>

#include "lib/error.h"
#include "lib/log.h"
#include "xslt/facts-connection.h"
#include "xslt/models.h"

#define DATA "tests/data/facts"
#define QEMU "/usr/bin/qemu-system-x86_64"

static int local(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmFacts) facts = NULL;
    g_autofree char *text = NULL;

    dkvm_log_init("test-facts");
    facts = dkvm_facts_local(&error);
    if (!facts) {
        fprintf(stderr, "%s\n", error->message);
        return error->code;
    }
    text = dkvm_facts_to_json(facts);
    puts(text);
    return 0;
}

/* ---- versions ----------------------------------------------------------------------------- */

static void test_version(void)
{
    static const char *const bad[] = {"",       "9",        "9.",       "9.0.",
                                      ".9.0",   "9.0.0.0",  "9.0.0-4",  "v9.0.0",
                                      "9..0",   "1000.0.0", "9.1000.0", "9.0.1000",
                                      " 9.0.0", "+9.0.0",   "9.0.0 ",   "99999999999999999999.0.0"};

    g_assert_cmpuint(dkvm_version_parse("9.0.0"), ==, 9000000);
    g_assert_cmpuint(dkvm_version_parse("7.2.22"), ==, 7002022);
    g_assert_cmpuint(dkvm_version_parse("10.0"), ==, 10000000);
    g_assert_cmpuint(dkvm_version_parse("999.999.999"), ==, 999999999);
    g_assert_cmpuint(dkvm_version_parse(NULL), ==, 0);
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_test_message("'%s'", bad[i]);
        g_assert_cmpuint(dkvm_version_parse(bad[i]), ==, 0);
    }
    for (const gulong *v = (const gulong[]){9000000, 7002022, 11003000, 1, 0}; *v; v++) {
        g_autofree char *text = dkvm_version_text(*v);
        g_assert_cmpuint(dkvm_version_parse(text), ==, *v);
    }
}

/* ---- JSON --------------------------------------------------------------------------------- */

static DkvmFacts *parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    DkvmFacts *facts = dkvm_facts_from_json(text, strlen(text), &error);

    g_assert_no_error(error);
    return facts;
}

static void test_empty(void)
{
    g_autoptr(DkvmFacts) facts = parse("{}");
    g_autoptr(DkvmFacts) again = NULL;
    g_autofree char *text = dkvm_facts_to_json(facts);

    again = parse(text);
    for (const DkvmFacts **f = (const DkvmFacts *[]){facts, again, NULL}; *f; f++) {
        g_assert_null((*f)->cpu_vendor);
        g_assert_cmpuint((*f)->threads, ==, 0);
        g_assert_cmpint((*f)->smt, ==, DKVM_UNKNOWN);
        g_assert_cmpint((*f)->invtsc, ==, DKVM_UNKNOWN);
        g_assert_cmpint((*f)->kvm, ==, DKVM_UNKNOWN);
        g_assert_cmpint((*f)->autoselect, ==, DKVM_UNKNOWN);
        g_assert_cmpuint((*f)->qemu_version, ==, 0);
        g_assert_cmpuint((*f)->firmware->len, ==, 0);
        g_assert_cmpuint(g_hash_table_size((*f)->missing_kvm), ==, 0);
    }
}

static void test_members(void)
{
    g_autoptr(DkvmFacts) facts = parse(
        "{\"host\": {\"source\": \"a test\", \"cpu-vendor\": \"AuthenticAMD\", \"threads\": 24, "
        "\"smt\": true, \"tsc-stable\": false, \"sse4.2\": true, \"avx2\": true, \"invtsc\": "
        "false},"
        "\"libvirt\": {\"version\": \"11.3.0\"},"
        "\"emulator\": {\"path\": \"/q\", \"version\": \"10.0.13\", \"kvm\": true, "
        "\"applesmc\": false, \"hotplug-off\": true},"
        "\"firmware\": {\"autoselect\": true, \"nvram-dir\": \"/n\", \"pairs\": [{\"code\": "
        "\"/c\", "
        "\"code-format\": \"raw\", \"vars\": \"/v\", \"vars-format\": \"qcow2\"}]},"
        "\"cpu-missing\": {\"kvm\": {\"Penryn\": []}, \"tcg\": {\"M\": [\"b\", \"a\", \"b\"]}}}");
    const DkvmFirmwarePair *pair = facts->firmware->pdata[0];
    char **names = g_hash_table_lookup(facts->missing_tcg, "M");

    g_assert_cmpstr(facts->host_source, ==, "a test");
    g_assert_cmpstr(facts->cpu_vendor, ==, "AuthenticAMD");
    g_assert_cmpuint(facts->threads, ==, 24);
    g_assert_cmpint(facts->smt, ==, DKVM_YES);
    g_assert_cmpint(facts->tsc_stable, ==, DKVM_NO);
    g_assert_cmpint(facts->sse42, ==, DKVM_YES);
    g_assert_cmpint(facts->avx2, ==, DKVM_YES);
    g_assert_cmpint(facts->invtsc, ==, DKVM_NO);
    g_assert_cmpuint(facts->libvirt_version, ==, 11003000);
    g_assert_cmpstr(facts->emulator, ==, "/q");
    g_assert_cmpuint(facts->qemu_version, ==, 10000013);
    g_assert_cmpint(facts->kvm, ==, DKVM_YES);
    g_assert_cmpint(facts->applesmc, ==, DKVM_NO);
    g_assert_cmpint(facts->hotplug_off, ==, DKVM_YES);
    g_assert_cmpint(facts->autoselect, ==, DKVM_YES);
    g_assert_cmpstr(facts->nvram_dir, ==, "/n");
    g_assert_cmpstr(pair->code, ==, "/c");
    g_assert_cmpstr(pair->code_format, ==, "raw");
    g_assert_cmpstr(pair->vars, ==, "/v");
    g_assert_cmpstr(pair->vars_format, ==, "qcow2");
    g_assert_cmpuint(g_strv_length(g_hash_table_lookup(facts->missing_kvm, "Penryn")), ==, 0);
    g_assert_true(g_strv_equal((const char *const *)names, (const char *const[]){"a", "b", NULL}));
}

/* Text, and what the message must name. */
static const char *const refused[][2] = {
    {"", "JSON"},
    {"[]", "JSON"},
    {"{\"host\": {\"smt\": tru}}", "JSON"},
    {"{\"hosts\": {}}", "hosts"},
    {"{\"ho\\u001bst\": {}}", "ho\\033st"},
    {"{\"host\": []}", "host"},
    {"{\"host\": {\"vendor\": \"x\"}}", "host.vendor"},
    {"{\"host\": {\"cpu-vendor\": \"Intel\"}}", "host.cpu-vendor"},
    {"{\"host\": {\"threads\": 0}}", "host.threads"},
    {"{\"host\": {\"threads\": 65537}}", "host.threads"},
    {"{\"host\": {\"threads\": \"8\"}}", "host.threads"},
    {"{\"host\": {\"threads\": 8.5}}", "host.threads"},
    {"{\"host\": {\"smt\": \"yes\"}}", "host.smt"},
    {"{\"host\": {\"smt\": null}}", "host.smt"},
    {"{\"host\": {\"source\": \"a\\nb\"}}", "host.source"},
    {"{\"host\": {\"source\": \"\"}}", "host.source"},
    {"{\"host\": {\"source\": \"a\\u0000b\"}}", "NUL"},
    {"{\"libvirt\": {\"version\": 9000000}}", "libvirt.version"},
    {"{\"libvirt\": {\"version\": \"9\"}}", "libvirt.version"},
    {"{\"emulator\": {\"path\": \"qemu\"}}", "emulator.path"},
    {"{\"emulator\": {\"path\": 1}}", "emulator.path"},
    {"{\"emulator\": {\"kvm\": 1}}", "emulator.kvm"},
    {"{\"firmware\": {\"nvram-dir\": \"nvram\"}}", "firmware.nvram-dir"},
    {"{\"firmware\": {\"pairs\": {}}}", "firmware.pairs"},
    {"{\"firmware\": {\"pairs\": [1]}}", "firmware.pairs"},
    {"{\"firmware\": {\"pairs\": [{}]}}", "firmware.pairs"},
    {"{\"firmware\": {\"pairs\": [{\"code\": \"/c\", \"code-format\": \"raw\", \"vars\": "
     "\"/v\"}]}}",
     "vars-format"},
    {"{\"firmware\": {\"pairs\": [{\"code\": \"/c\", \"code-format\": \"vmdk\", \"vars\": \"/v\", "
     "\"vars-format\": \"raw\"}]}}",
     "firmware.pairs.code-format"},
    {"{\"firmware\": {\"pairs\": [{\"code\": \"/c\", \"code-format\": \"raw\", \"vars\": \"/v\", "
     "\"vars-format\": \"raw\", \"x\": 1}]}}",
     "firmware.pairs.x"},
    {"{\"cpu-missing\": {\"hvf\": {}}}", "cpu-missing.hvf"},
    {"{\"cpu-missing\": {\"kvm\": []}}", "cpu-missing.kvm"},
    {"{\"cpu-missing\": {\"kvm\": {\"M\": \"rtm\"}}}", "cpu-missing.kvm"},
    {"{\"cpu-missing\": {\"kvm\": {\"M\": [1]}}}", "cpu-missing.kvm"},
    {"{\"cpu-missing\": {\"kvm\": {\"M\": [\"rtm,+x\"]}}}", "cpu-missing.kvm"},
    {"{\"cpu-missing\": {\"kvm\": {\"M N\": []}}}", "cpu-missing.kvm"},
    {"{\"cpu-missing\": {\"kvm\": {\"\": []}}}", "cpu-missing.kvm"},
};

static void test_refused(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(GError) error = NULL;
        DkvmFacts *facts = dkvm_facts_from_json(refused[i][0], strlen(refused[i][0]), &error);
        g_test_message("%s", refused[i][0]);
        g_assert_null(facts);
        g_assert_error(error, DKVM_ERROR, DKVM_ERROR_INPUT);
        if (!strstr(error->message, refused[i][1]))
            g_error("'%s' is not in: %s", refused[i][1], error->message);
    }
}

static void test_bounds(void)
{
    g_autofree char *deep = g_strnfill(600000, '[');
    g_autofree char *large = g_strnfill(1024 * 1024 + 1, ' ');
    g_autofree char *name = g_strnfill(65, 'a');
    g_autofree char *named =
        g_strdup_printf("{\"cpu-missing\": {\"kvm\": {\"M\": [\"%s\"]}}}", name);

    for (const char *const *text = (const char *const[]){deep, large, named, "\xff", NULL}; *text;
         text++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(dkvm_facts_from_json(*text, strlen(*text), &error));
        g_assert_error(error, DKVM_ERROR, DKVM_ERROR_INPUT);
    }
}

static void test_recorded(void)
{
    g_autoptr(GDir) directory = g_dir_open(DATA, 0, NULL);
    const char *name;
    guint count = 0;

    g_assert_nonnull(directory);
    while ((name = g_dir_read_name(directory))) {
        g_autofree char *path = g_build_filename(DATA, name, NULL);
        g_autofree char *text = NULL;
        g_autofree char *once = NULL;
        g_autofree char *twice = NULL;
        g_autoptr(DkvmFacts) facts = NULL;
        g_autoptr(DkvmFacts) again = NULL;
        if (!g_str_has_suffix(name, ".json"))
            continue;
        g_test_message("%s", name);
        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        facts = parse(text);
        g_assert_nonnull(facts->cpu_vendor);
        g_assert_nonnull(facts->emulator);
        g_assert_cmpuint(facts->firmware->len, >=, 1);
        for (const DkvmCpuModel *const *cpu = dkvm_models_cpus(); *cpu && facts->kvm == DKVM_YES;
             cpu++)
            g_assert_true(g_hash_table_contains(facts->missing_kvm, (*cpu)->name));
        once = dkvm_facts_to_json(facts);
        again = parse(once);
        twice = dkvm_facts_to_json(again);
        g_assert_cmpstr(once, ==, twice);
        count++;
    }
    g_assert_cmpuint(count, >=, 10);
}

/* ---- this machine ------------------------------------------------------------------------- */

typedef struct {
    char *root;
} Host;

static void host_new(Host *host, gconstpointer unused)
{
    host->root = g_dir_make_tmp("dkvm-facts-XXXXXX", NULL);
    g_assert_nonnull(host->root);
}

static void host_free(Host *host, gconstpointer unused)
{
    const char *argv[] = {"rm", "-rf", host->root, NULL};

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                 NULL);
    g_free(host->root);
}

static void add(Host *host, const char *path, const char *text, int mode)
{
    g_autofree char *real = g_strconcat(host->root, path, NULL);
    g_autofree char *directory = g_path_get_dirname(real);

    g_assert_cmpint(g_mkdir_with_parents(directory, 0755), ==, 0);
    g_assert_true(g_file_set_contents(real, text, -1, NULL));
    g_assert_cmpint(g_chmod(real, (mode_t)mode), ==, 0);
}

/* A QEMU that says it is 8.1.5 and lacks rtm, and that can be asked only once. */
static void add_qemu(Host *host)
{
    g_autofree char *script = g_strdup_printf(
        "#!/bin/sh\n"
        "[ -e %1$s/asked ] && exit 1\n"
        ": >%1$s/asked\n"
        "echo '{\"QMP\": {}}'\n"
        "echo '{\"return\": {}}'\n"
        "echo '{\"return\": {\"qemu\": {\"major\": 8, \"minor\": 1, \"micro\": 5}}}'\n"
        "echo '{\"return\": [{\"name\": \"osk\"}]}'\n"
        "echo '{\"return\": [{\"name\": \"other\"}]}'\n"
        "echo '{\"return\": [{\"name\": \"Penryn\", \"unavailable-features\": [\"rtm\"]}]}'\n"
        "exec sleep 60\n",
        host->root);

    add(host, QEMU, script, 0755);
}

static int look(Host *host, char **output, char **said)
{
    const char *argv[] = {"/proc/self/exe", "--local", NULL};
    g_autofree char *cache = g_build_filename(host->root, "cache", NULL);
    g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), "DKVM_ROOT", host->root, TRUE);
    g_autoptr(GError) error = NULL;
    int status;

    environment = g_environ_setenv(environment, "XDG_CACHE_HOME", cache, TRUE);
    environment = g_environ_setenv(environment, "XDG_CONFIG_HOME", "/home/u/.config", TRUE);
    g_spawn_sync(NULL, (char **)argv, environment, 0, NULL, NULL, output, said, &status, &error);
    g_assert_no_error(error);
    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static DkvmFacts *look_facts(Host *host)
{
    g_autofree char *output = NULL;
    g_autofree char *said = NULL;

    g_assert_cmpint(look(host, &output, &said), ==, 0);
    return parse(output);
}

static void test_no_qemu(Host *host, gconstpointer unused)
{
    g_autofree char *output = NULL;
    g_autofree char *said = NULL;

    add(host, QEMU, "not executable", 0644);
    g_assert_cmpint(look(host, &output, &said), ==, DKVM_ERROR_HOST);
    g_assert_nonnull(strstr(said, "--facts"));
    g_assert_cmpstr(output, ==, "");
}

static void test_bad_qemu(Host *host, gconstpointer unused)
{
    g_autofree char *output = NULL;
    g_autofree char *said = NULL;

    add(host, QEMU, "#!/bin/sh\necho cannot >&2\nexit 1\n", 0755);
    g_assert_cmpint(look(host, &output, &said), ==, DKVM_ERROR_HOST);
    g_assert_nonnull(strstr(said, "cannot"));
    g_assert_nonnull(strstr(said, QEMU));
}

#define CPU(n, flags)                                                                              \
    "processor\t: " n "\nvendor_id\t: GenuineIntel\nmodel name\t: processor : x\nsiblings\t: 4\n"  \
    "cpu cores\t: 2\nflags\t\t: fpu " flags "\nvmx flags\t: avx2\n\n"

static void test_local(Host *host, gconstpointer unused)
{
    g_autoptr(DkvmFacts) facts = NULL;
    g_autoptr(DkvmFacts) again = NULL;
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;

    add_qemu(host);
    add(host, "/proc/cpuinfo", CPU("0", "sse4_2 nonstop_tsc") CPU("1", "avx2"), 0644);
    add(host, "/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n", 0644);
    facts = look_facts(host);
    g_assert_cmpstr(facts->cpu_vendor, ==, "GenuineIntel");
    g_assert_cmpuint(facts->threads, ==, 2);
    g_assert_cmpint(facts->smt, ==, DKVM_YES); /* siblings > cpu cores */
    g_assert_cmpint(facts->tsc_stable, ==, DKVM_NO);
    g_assert_cmpint(facts->sse42, ==, DKVM_YES);
    g_assert_cmpint(facts->avx2, ==, DKVM_NO);
    g_assert_cmpint(facts->invtsc, ==, DKVM_YES);
    g_assert_cmpuint(facts->qemu_version, ==, 8001005);
    g_assert_cmpstr(facts->emulator, ==, QEMU); /* without the prefix */
    g_assert_cmpint(facts->applesmc, ==, DKVM_YES);
    g_assert_cmpint(facts->hotplug_off, ==, DKVM_NO);
    g_assert_cmpint(facts->kvm, ==, DKVM_NO); /* no /dev/kvm */
    g_assert_cmpint(facts->autoselect, ==, DKVM_NO);
    g_assert_cmpuint(facts->firmware->len, ==, 0);
    g_assert_cmpuint(g_hash_table_size(facts->missing_tcg), ==, 1);
    g_assert_cmpuint(g_hash_table_size(facts->missing_kvm), ==, 0);
    g_assert_cmpuint(facts->libvirt_version, >=, 9000000);
    again = look_facts(host); /* from the cache: this QEMU would not answer again */
    first = dkvm_facts_to_json(facts);
    second = dkvm_facts_to_json(again);
    g_assert_cmpstr(first, ==, second);
}

/* Another QEMU, so the cache does not hold: it is asked, and refuses. */
static void test_cache_ends(Host *host, gconstpointer unused)
{
    g_autoptr(DkvmFacts) facts = NULL;
    g_autofree char *output = NULL;
    g_autofree char *said = NULL;

    add_qemu(host);
    facts = look_facts(host);
    add(host, QEMU, "#!/bin/sh\nexit 1\n", 0755);
    g_assert_cmpint(look(host, &output, &said), ==, DKVM_ERROR_HOST);
}

/* A /dev/kvm that opens but is none, as in a container: no guess, and a note. */
static void test_bad_kvm(Host *host, gconstpointer unused)
{
    g_autofree char *output = NULL;
    g_autofree char *said = NULL;
    g_autoptr(DkvmFacts) facts = NULL;

    add_qemu(host);
    add(host, "/dev/kvm", "", 0666);
    g_assert_cmpint(look(host, &output, &said), ==, 0);
    facts = parse(output);
    g_assert_cmpint(facts->kvm, ==, DKVM_UNKNOWN);
    g_assert_cmpuint(g_hash_table_size(facts->missing_kvm), ==, 0);
    g_assert_nonnull(strstr(said, "KVM"));
}

static void test_firmware(Host *host, gconstpointer unused)
{
    g_autoptr(DkvmFacts) facts = NULL;
    g_autoptr(DkvmFacts) with = NULL;

    add_qemu(host);
    add(host, "/sys/devices/system/cpu/smt/active", "0\n", 0644);
    add(host, "/usr/share/OVMF/OVMF_CODE_4M.fd", "c", 0644);
    add(host, "/usr/share/OVMF/OVMF_VARS_4M.fd", "v", 0644);
    facts = look_facts(host);
    g_assert_cmpint(facts->smt, ==, DKVM_NO);
    g_assert_cmpuint(facts->firmware->len, ==, 1);
    g_assert_cmpint(facts->autoselect, ==, DKVM_NO); /* libvirt needs a descriptor */
    add(host, "/usr/share/qemu/firmware/60.json",
        "{\"interface-types\": [\"uefi\"], \"mapping\": {\"device\": \"flash\", \"executable\": "
        "{\"filename\": \"/usr/share/OVMF/OVMF_CODE_4M.fd\", \"format\": \"raw\"}, "
        "\"nvram-template\": {\"filename\": \"/usr/share/OVMF/OVMF_VARS_4M.fd\", \"format\": "
        "\"raw\"}}, \"targets\": [{\"architecture\": \"x86_64\", \"machines\": [\"pc-q35-*\"]}], "
        "\"features\": []}",
        0644);
    with = look_facts(host);
    g_assert_cmpint(with->autoselect, ==, DKVM_YES);
    g_assert_nonnull(with->nvram_dir);
}

/* ---- connection --------------------------------------------------------------------------- */

static void quiet(void *data, virErrorPtr error)
{
}

static void test_connection_without_qemu(void)
{
    g_autoptr(GError) error = NULL;
    virConnectPtr conn;

    virSetErrorFunc(NULL, quiet);
    conn = virConnectOpen("test:///default");
    g_assert_nonnull(conn);
    g_assert_null(dkvm_facts_connection(conn, &error));
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_HOST);
    g_assert_nonnull(strstr(error->message, "virConnectGetDomainCapabilities"));
    g_assert_nonnull(strstr(error->message, "test:///default"));
    virConnectClose(conn);
}

int main(int argc, char **argv)
{
    if (argc == 2 && g_str_equal(argv[1], "--local"))
        return local();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/facts/version", test_version);
    g_test_add_func("/facts/json/empty", test_empty);
    g_test_add_func("/facts/json/members", test_members);
    g_test_add_func("/facts/json/refused", test_refused);
    g_test_add_func("/facts/json/bounds", test_bounds);
    g_test_add_func("/facts/json/recorded", test_recorded);
    g_test_add("/facts/local/no-qemu", Host, NULL, host_new, test_no_qemu, host_free);
    g_test_add("/facts/local/bad-qemu", Host, NULL, host_new, test_bad_qemu, host_free);
    g_test_add("/facts/local/all", Host, NULL, host_new, test_local, host_free);
    g_test_add("/facts/local/cache-ends", Host, NULL, host_new, test_cache_ends, host_free);
    g_test_add("/facts/local/bad-kvm", Host, NULL, host_new, test_bad_kvm, host_free);
    g_test_add("/facts/local/firmware", Host, NULL, host_new, test_firmware, host_free);
    g_test_add_func("/facts/connection/without-qemu", test_connection_without_qemu);
    return g_test_run();
}
