/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xslt/firmware.c against recorded hosts (tests/data/firmware) and made-up ones.  The root prefix
 * is read once per process, so each host is looked at by this program started again: --find
 * CONFIG_HOME. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"
#include "xslt/firmware.h"

#define DATA "tests/data/firmware"
#define SYSTEM "/usr/share/qemu/firmware/"
#define CODE_4M 3653632
#define VARS_4M 540672
#define CODE_2M 1966080
#define VARS_2M 131072

static int find(const char *config_home)
{
    g_autoptr(GPtrArray) pairs =
        g_ptr_array_new_with_free_func((GDestroyNotify)dkvm_firmware_pair_free);

    dkvm_log_init("test-firmware");
    dkvm_firmware_find(pairs, *config_home ? config_home : NULL);
    for (guint i = 0; i < pairs->len; i++) {
        const DkvmFirmwarePair *pair = pairs->pdata[i];
        printf("%s\t%s\t%s\t%s\t%s\n", pair->code, pair->code_format, pair->vars, pair->vars_format,
               pair->source);
    }
    return 0;
}

/* ---- hosts -------------------------------------------------------------------------------- */

typedef struct {
    char *root;
} Host;

static void host_new(Host *host, gconstpointer unused)
{
    host->root = g_dir_make_tmp("dkvm-firmware-XXXXXX", NULL);
    g_assert_nonnull(host->root);
}

static void run(const char *const *argv)
{
    g_autoptr(GError) error = NULL;
    int status;

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status,
                 &error);
    g_assert_no_error(error);
    g_assert_cmpint(status, ==, 0);
}

static void host_free(Host *host, gconstpointer unused)
{
    run((const char *const[]){"rm", "-rf", host->root, NULL});
    g_free(host->root);
}

static char *below(Host *host, const char *path)
{
    char *real = g_strconcat(host->root, path, NULL);
    g_autofree char *directory = g_path_get_dirname(real);

    g_assert_cmpint(g_mkdir_with_parents(directory, 0755), ==, 0);
    return real;
}

static void add_image(Host *host, const char *path, guint64 size)
{
    g_autofree char *real = below(host, path);
    guint64 big = GUINT64_TO_BE(size);
    guint8 header[32] = "QFI\xfb\0\0\0\3";
    int fd = open(real, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    g_assert_cmpint(fd, >=, 0);
    if (g_str_has_suffix(path, ".qcow2")) {
        memcpy(header + 24, &big, sizeof big);
        g_assert_cmpint(write(fd, header, sizeof header), ==, sizeof header);
    } else {
        g_assert_cmpint(ftruncate(fd, (off_t)size), ==, 0);
    }
    close(fd);
}

static void add_file(Host *host, const char *path, const char *text)
{
    g_autofree char *real = below(host, path);

    g_assert_true(g_file_set_contents(real, text, -1, NULL));
}

/* A usable descriptor, with one part of it exchanged. */
static void add_descriptor(Host *host, const char *path, const char *old, const char *new)
{
    g_autoptr(GString) text =
        g_string_new("{\"interface-types\": [\"uefi\"],\"mapping\": {\"device\": \"flash\", "
                     "\"mode\": \"split\", "
                     "\"executable\": {\"filename\": \"/fw/CODE.fd\", \"format\": \"raw\"}, "
                     "\"nvram-template\": {\"filename\": \"/fw/VARS.fd\", \"format\": \"raw\"}},"
                     "\"targets\": [{\"architecture\": \"x86_64\", \"machines\": [\"pc-q35-*\"]}],"
                     "\"features\": [\"acpi-s3\"], \"tags\": []}");

    if (old)
        g_assert_cmpint(g_string_replace(text, old, new, 0), ==, 1);
    add_file(host, path, text->str);
}

static char *look(Host *host, const char *config_home, char **said)
{
    const char *argv[] = {"/proc/self/exe", "--find", config_home, NULL};
    g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), "DKVM_ROOT", host->root, TRUE);
    g_autoptr(GError) error = NULL;
    char *output;
    int status;

    g_spawn_sync(NULL, (char **)argv, environment, 0, NULL, NULL, &output, said, &status, &error);
    g_assert_no_error(error);
    g_assert_cmpint(status, ==, 0);
    return output;
}

static void expect(Host *host, const char *expected)
{
    g_autofree char *said = NULL;
    g_autofree char *found = look(host, "", &said);

    g_assert_cmpstr(found, ==, expected);
}

#define PAIR(source) "/fw/CODE.fd\traw\t/fw/VARS.fd\traw\t" source "\n"

/* Nothing is found, and MESSAGE (if any) says why. */
static void expect_none(Host *host, const char *message)
{
    g_autofree char *said = NULL;
    g_autofree char *found = look(host, "", &said);

    g_assert_cmpstr(found, ==, "");
    if (!message)
        g_assert_cmpstr(said, ==, "");
    else if (!strstr(said, message))
        g_error("'%s' is not in: %s", message, said);
}

/* ---- recorded hosts ----------------------------------------------------------------------- */

static char *data_file(const char *host, const char *name)
{
    g_autofree char *path = g_build_filename(DATA, host, name, NULL);
    g_autoptr(GError) error = NULL;
    char *text;

    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    return text;
}

static void test_recorded(Host *host, gconstpointer name)
{
    g_autofree char *images = data_file(name, "images.tsv");
    g_autofree char *expected = data_file(name, "expected.tsv");
    g_auto(GStrv) lines = g_strsplit(images, "\n", -1);
    g_autofree char *tree = g_build_filename(DATA, name, "root", NULL);

    if (g_file_test(tree, G_FILE_TEST_IS_DIR))
        run((const char *const[]){"cp", "-rT", tree, host->root, NULL});
    for (char **line = lines; **line; line++) {
        g_auto(GStrv) fields = g_strsplit(*line, "\t", 2);
        add_image(host, fields[0], g_ascii_strtoull(fields[1], NULL, 10));
    }
    expect(host, expected);
}

/* What is installed here, without a prefix: the path that a user takes. */
static void test_this_machine(void)
{
    Host real = {.root = (char *)""};

    if (!g_file_test("/usr/share/OVMF/OVMF_CODE_4M.fd", G_FILE_TEST_EXISTS)) {
        g_test_fail_printf("OVMF is not installed");
        return;
    }
    expect(&real,
           "/usr/share/OVMF/OVMF_CODE_4M.fd\traw\t/usr/share/OVMF/OVMF_VARS_4M.fd\traw\t" SYSTEM
           "60-edk2-x86_64.json\n");
}

/* ---- search and masking ------------------------------------------------------------------- */

static void add_images(Host *host)
{
    add_image(host, "/fw/CODE.fd", CODE_4M);
    add_image(host, "/fw/VARS.fd", VARS_4M);
}

static void test_order(Host *host, gconstpointer unused)
{
    g_autofree char *said = NULL;
    g_autofree char *found = NULL;

    add_images(host);
    add_image(host, "/fw/CODE.qcow2", CODE_4M);
    add_descriptor(host, SYSTEM "10-q.json", "{\"filename\": \"/fw/CODE.fd\", \"format\": \"raw\"}",
                   "{\"filename\": \"/fw/CODE.qcow2\", \"format\": \"qcow2\"}");
    add_descriptor(host, SYSTEM "60-a.json", NULL, NULL);
    add_descriptor(host, "/etc/qemu/firmware/30-b.json", NULL, NULL);
    add_descriptor(host, "/home/u/.config/qemu/firmware/40-c.json", NULL, NULL);
    expect(host, PAIR("/etc/qemu/firmware/30-b.json")
                     PAIR(SYSTEM "60-a.json") "/fw/CODE.qcow2\tqcow2\t/fw/VARS.fd\traw\t" SYSTEM
                                              "10-q.json\n");
    found = look(host, "/home/u/.config", &said);
    g_assert_cmpstr(
        found, ==,
        PAIR("/etc/qemu/firmware/30-b.json") PAIR("/home/u/.config/qemu/firmware/40-c.json")
            PAIR(SYSTEM "60-a.json") "/fw/CODE.qcow2\tqcow2\t/fw/VARS.fd\traw\t" SYSTEM
                                     "10-q.json\n");
}

static void test_masked(Host *host, gconstpointer unused)
{
    add_images(host);
    add_descriptor(host, SYSTEM "60-a.json", NULL, NULL);
    add_descriptor(host, SYSTEM "70-b.json", NULL, NULL);
    add_descriptor(host, "/etc/qemu/firmware/60-a.json", NULL, NULL);
    add_file(host, "/etc/qemu/firmware/70-b.json", "");
    expect(host, PAIR("/etc/qemu/firmware/60-a.json"));
}

/* Descriptors first, known paths only without any. */
static void test_known_last(Host *host, gconstpointer unused)
{
    add_image(host, "/usr/share/OVMF/OVMF_CODE_4M.fd", CODE_4M);
    add_image(host, "/usr/share/OVMF/OVMF_VARS_4M.fd", VARS_4M);
    expect(host, "/usr/share/OVMF/OVMF_CODE_4M.fd\traw\t/usr/share/OVMF/OVMF_VARS_4M.fd\traw\t"
                 "known path\n");
    add_images(host);
    add_descriptor(host, SYSTEM "60-a.json", NULL, NULL);
    expect(host, PAIR(SYSTEM "60-a.json"));
}

/* ---- what is not for us ------------------------------------------------------------------- */

static void test_filter(Host *host, gconstpointer unused)
{
    static const char *const other[][2] = {
        {"[\"acpi-s3\"]", "[\"secure-boot\"]"},
        {"[\"acpi-s3\"]", "[\"acpi-s3\", \"enrolled-keys\"]"},
        {"[\"acpi-s3\"]", "[\"requires-smm\"]"},
        {"\"flash\"", "\"memory\""},
        {"\"split\"", "\"stateless\""},
        {"\"split\"", "\"combined\""},
        {"\"split\"", "1"},
        {"[\"uefi\"]", "[\"bios\"]"},
        {"\"x86_64\"", "\"aarch64\""},
        {"pc-q35-*", "pc-i440fx-*"},
        {"nvram-template", "nvram"},
        {"/fw/VARS.fd", "/fw/none.fd"},
        {"/fw/CODE.fd", "fw/CODE.fd"},
        {"/fw/CODE.fd", "/fw"},
        {"{\"filename\": \"/fw/CODE.fd\", \"format\": \"raw\"}",
         "{\"filename\": \"/fw/CODE.fd\", \"format\": \"vmdk\"}"},
        {"{\"filename\": \"/fw/CODE.fd\", \"format\": \"raw\"}",
         "{\"filename\": \"/fw/CODE.fd\", \"format\": \"qcow2\"}"},
    };

    add_images(host);
    add_descriptor(host, SYSTEM "60-a.json", NULL, NULL);
    expect(host, PAIR(SYSTEM "60-a.json")); /* or the rest would prove nothing */
    for (guint i = 0; i < G_N_ELEMENTS(other); i++) {
        add_descriptor(host, SYSTEM "60-a.json", other[i][0], other[i][1]);
        g_test_message("%s", other[i][1]);
        expect_none(host, NULL);
    }
    add_descriptor(host, SYSTEM "60-a.json", "pc-q35-*", "*");
    expect(host, PAIR(SYSTEM "60-a.json"));
    add_descriptor(host, SYSTEM "60-a.json", "\"mode\": \"split\", ", "");
    expect(host, PAIR(SYSTEM "60-a.json"));
}

static void test_broken(Host *host, gconstpointer unused)
{
    g_autofree char *deep = g_strnfill(500000, '[');
    g_autofree char *large = g_strnfill(1024 * 1024 + 1, ' ');
    g_autofree char *fifo = below(host, SYSTEM "05-fifo.json");
    g_autofree char *dangling = below(host, SYSTEM "06-dangling.json");
    g_autofree char *said = NULL;
    g_autofree char *found = NULL;

    g_assert_cmpint(mkfifo(fifo, 0644), ==, 0);
    g_assert_cmpint(symlink("nowhere", dangling), ==, 0);
    add_images(host);
    add_file(host, SYSTEM "01-deep.json", deep);
    add_file(host, SYSTEM "02-large.json", large);
    add_file(host, SYSTEM "03-half.json", "{\"interface-types\": [\"uefi\"],");
    add_file(host, SYSTEM "04-other.json", "{\"mapping\": {}}");
    add_file(host, SYSTEM "07-latin1.json", "{\"description\": \"\xe9\"}");
    add_file(host, SYSTEM "08-comment.json", "{ // \"\n}");
    add_file(host, SYSTEM "09-list.json", "[1]");
    add_descriptor(host, SYSTEM "60-a.json", NULL, NULL);
    found = look(host, "", &said);
    g_assert_cmpstr(found, ==, PAIR(SYSTEM "60-a.json"));
    for (const char *const *name =
             (const char *const[]){"01-deep", "02-large", "03-half", "04-other", "07-latin1",
                                   "08-comment", "09-list", NULL};
         *name; name++)
        if (!strstr(said, *name))
            g_error("nothing is said of %s: %s", *name, said);
}

static void test_too_many(Host *host, gconstpointer unused)
{
    g_autofree char *said = NULL;
    g_autofree char *found = NULL;

    for (guint i = 0; i < 300; i++) {
        g_autofree char *path = g_strdup_printf(SYSTEM "%03u.json", i);
        add_file(host, path, "");
    }
    found = look(host, "", &said);
    g_assert_cmpstr(found, ==, "");
    g_assert_nonnull(strstr(said, "more than 256 files"));
}

/* 2M code with 4M variables, and the other way round, raw and qcow2. */
static void test_sizes(Host *host, gconstpointer unused)
{
    add_image(host, "/fw/CODE.fd", CODE_2M);
    add_image(host, "/fw/VARS.fd", VARS_4M);
    add_descriptor(host, SYSTEM "60-a.json", NULL, NULL);
    expect_none(host, "another size of build");
    add_image(host, "/fw/CODE.fd", CODE_4M);
    add_image(host, "/fw/VARS.fd", VARS_2M);
    expect_none(host, "another size of build");
    add_image(host, "/fw/CODE.fd", CODE_2M);
    expect(host, PAIR(SYSTEM "60-a.json"));
    add_image(host, "/usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2", CODE_2M);
    add_image(host, "/usr/share/edk2/ovmf/OVMF_VARS_4M.qcow2", VARS_4M);
    add_file(host, SYSTEM "60-a.json", "");
    expect_none(host, "another size of build");
    add_image(host, "/usr/share/edk2/ovmf/OVMF_VARS_4M.qcow2", VARS_2M);
    expect(host, "/usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2\tqcow2\t"
                 "/usr/share/edk2/ovmf/OVMF_VARS_4M.qcow2\tqcow2\tknown path\n");
}

static void test_nothing(Host *host, gconstpointer unused)
{
    expect_none(host, NULL);
}

static void test_known(void)
{
    DkvmFirmwarePair *pair = dkvm_firmware_known("/usr/share/qemu/edk2-x86_64-code.fd");

    g_assert_cmpstr(pair->vars, ==, "/usr/share/qemu/edk2-i386-vars.fd");
    g_assert_cmpstr(pair->code_format, ==, "raw");
    g_assert_cmpstr(pair->source, ==, DKVM_FIRMWARE_KNOWN_PATH);
    dkvm_firmware_pair_free(pair);
    g_assert_null(dkvm_firmware_known("/usr/share/OVMF/OVMF_CODE_4M.ms.fd"));
    g_assert_null(dkvm_firmware_known(""));
}

int main(int argc, char **argv)
{
    static const char *const recorded[] = {"debian12", "debian13",   "ubuntu2404", "fedora",
                                           "arch",     "opensuse",   "gentoo2021", "gentoo",
                                           "nixos",    "qemu-bundle"};

    if (argc == 3 && g_str_equal(argv[1], "--find"))
        return find(argv[2]);
    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(recorded); i++) {
        g_autofree char *path = g_strconcat("/firmware/recorded/", recorded[i], NULL);
        g_test_add(path, Host, recorded[i], host_new, test_recorded, host_free);
    }
    g_test_add_func("/firmware/this-machine", test_this_machine);
    g_test_add("/firmware/order", Host, NULL, host_new, test_order, host_free);
    g_test_add("/firmware/masked", Host, NULL, host_new, test_masked, host_free);
    g_test_add("/firmware/known-last", Host, NULL, host_new, test_known_last, host_free);
    g_test_add("/firmware/filter", Host, NULL, host_new, test_filter, host_free);
    g_test_add("/firmware/broken", Host, NULL, host_new, test_broken, host_free);
    g_test_add("/firmware/too-many", Host, NULL, host_new, test_too_many, host_free);
    g_test_add("/firmware/sizes", Host, NULL, host_new, test_sizes, host_free);
    g_test_add("/firmware/nothing", Host, NULL, host_new, test_nothing, host_free);
    g_test_add_func("/firmware/known", test_known);
    return g_test_run();
}
