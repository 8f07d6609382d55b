/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Descriptors: QEMU's docs/interop/firmware.json; the search is libvirt's
 * qemuInteropFetchConfigs(). Known paths: where distributions keep their images (facts/domain.md
 * B7). */
#include "xslt/firmware.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/paths.h"
#include "xslt/json.h"

#define MAX_DESCRIPTOR (1024 * 1024)
#define MAX_DESCRIPTORS 256
#define KIB 1024

/* Always both of one build: CODE of 4 MiB cannot use VARS of 2 MiB, nor the other way round. */
static const struct {
    const char *code, *vars, *format;
} known[] = {
    /* Debian, Ubuntu; the 2M pair up to edk2 2023.11-2 (NEWS.Debian) */
    {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd", "raw"},
    {"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd", "raw"},
    /* Fedora, RHEL */
    {"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd", "raw"},
    {"/usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2", "/usr/share/edk2/ovmf/OVMF_VARS_4M.qcow2", "qcow2"},
    /* Arch; before 2024 */
    {"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd", "raw"},
    {"/usr/share/edk2-ovmf/x64/OVMF_CODE.fd", "/usr/share/edk2-ovmf/x64/OVMF_VARS.fd", "raw"},
    /* openSUSE */
    {"/usr/share/qemu/ovmf-x86_64-4m-code.bin", "/usr/share/qemu/ovmf-x86_64-4m-vars.bin", "raw"},
    {"/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin", "raw"},
    /* Gentoo; before 2024 */
    {"/usr/share/edk2/OvmfX64/OVMF_CODE.fd", "/usr/share/edk2/OvmfX64/OVMF_VARS.fd", "raw"},
    {"/usr/share/edk2/OvmfX64/OVMF_CODE_4M.qcow2", "/usr/share/edk2/OvmfX64/OVMF_VARS_4M.qcow2",
     "qcow2"},
    {"/usr/share/edk2-ovmf/OVMF_CODE.fd", "/usr/share/edk2-ovmf/OVMF_VARS.fd", "raw"},
    /* NixOS: links that survive a garbage collection, store paths do not (nixpkgs#378894) */
    {"/run/libvirt/nix-ovmf/OVMF_CODE.fd", "/run/libvirt/nix-ovmf/OVMF_VARS.fd", "raw"},
    {"/run/libvirt/nix-ovmf/edk2-x86_64-code.fd", "/run/libvirt/nix-ovmf/edk2-i386-vars.fd", "raw"},
    /* QEMU's own bundle: the variables are the i386 file (pc-bios/descriptors/60-edk2-x86_64.json)
     */
    {"/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd", "raw"},
};

static DkvmFirmwarePair *pair_new(const char *code, const char *code_format, const char *vars,
                                  const char *vars_format, const char *source)
{
    DkvmFirmwarePair *pair = g_new0(DkvmFirmwarePair, 1);

    pair->code = g_strdup(code);
    pair->code_format = g_strdup(code_format);
    pair->vars = g_strdup(vars);
    pair->vars_format = g_strdup(vars_format);
    pair->source = g_strdup(source);
    return pair;
}

/* The size that the guest sees; 0 if PATH is no image of FORMAT that we can read. */
static guint64 image_size(const char *path, const char *format)
{
    g_autofree char *real = dkvm_path(path);
    guint8 header[32];
    struct stat status;
    guint64 size;
    ssize_t length;
    int fd = open(real, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0)
        return 0;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        return 0;
    }
    length = read(fd, header, sizeof header);
    close(fd);
    if (g_str_equal(format, "raw"))
        return (guint64)status.st_size;
    /* docs/interop/qcow2.txt: magic at 0, virtual size at 24, both big-endian */
    if (length != sizeof header || memcmp(header, "QFI\xfb", 4) != 0)
        return 0;
    memcpy(&size, header + 24, sizeof size);
    return GUINT64_FROM_BE(size);
}

/* OVMF is built as 1, 2 or 4 MiB in all: 2M is 1966080 + 131072, 4M is 3653632 + 540672 (Debian
 * 12). Code that was built for the one layout does not find its variables in the other. */
static gboolean matched(const DkvmFirmwarePair *pair)
{
    guint64 code = image_size(pair->code, pair->code_format);
    guint64 vars = image_size(pair->vars, pair->vars_format);

    if (code == 0 || vars == 0)
        return FALSE;
    if ((code > 2048 * KIB) == (vars > 256 * KIB))
        return TRUE;
    dkvm_log_warning("firmware %s (from %s) is not used: %s is of another size of build",
                     pair->code, pair->source, pair->vars);
    return FALSE;
}

static gboolean contains(JsonArray *array, const char *text)
{
    for (guint i = 0; array && i < json_array_get_length(array); i++)
        if (g_strcmp0(dkvm_json_array_string(array, i), text) == 0)
            return TRUE;
    return FALSE;
}

static gboolean targets_q35(JsonObject *target)
{
    JsonArray *machines = dkvm_json_array(target, "machines");

    if (g_strcmp0(dkvm_json_string(target, "architecture"), "x86_64") != 0 || !machines)
        return FALSE;
    for (guint i = 0; i < json_array_get_length(machines); i++) {
        const char *glob = dkvm_json_array_string(machines, i);
        if (glob && (g_str_has_prefix(glob, "pc-q35-") || g_pattern_match_simple(glob, "pc-q35-1")))
            return TRUE;
    }
    return FALSE;
}

/* For this machine, and without Secure Boot and SMM, which macOS does not start with. */
static gboolean wanted(JsonObject *descriptor)
{
    JsonArray *features = dkvm_json_array(descriptor, "features");
    JsonArray *targets = dkvm_json_array(descriptor, "targets");

    if (!contains(dkvm_json_array(descriptor, "interface-types"), "uefi"))
        return FALSE;
    if (contains(features, "secure-boot") || contains(features, "enrolled-keys") ||
        contains(features, "requires-smm"))
        return FALSE;
    for (guint i = 0; targets && i < json_array_get_length(targets); i++) {
        JsonObject *target = dkvm_json_array_object(targets, i);
        if (target && targets_q35(target))
            return TRUE;
    }
    return FALSE;
}

static gboolean image(JsonObject *mapping, const char *member, const char **path,
                      const char **format)
{
    JsonObject *object = dkvm_json_child(mapping, member);

    if (!object)
        return FALSE;
    *path = dkvm_json_string(object, "filename");
    *format = dkvm_json_string(object, "format");
    return *path && g_path_is_absolute(*path) &&
           (g_strcmp0(*format, "raw") == 0 || g_strcmp0(*format, "qcow2") == 0);
}

/* The pair that DESCRIPTOR names; NULL if it is not for us ("stateless" and "combined" images have
 * no variables of their own, "memory" ones are for confidential guests). */
static DkvmFirmwarePair *pair_of(JsonObject *descriptor, const char *source)
{
    JsonObject *mapping = dkvm_json_child(descriptor, "mapping");
    const char *code, *code_format, *vars, *vars_format, *mode;

    if (!mapping || !wanted(descriptor))
        return NULL;
    mode = dkvm_json_string(mapping, "mode");
    if (g_strcmp0(dkvm_json_string(mapping, "device"), "flash") != 0 ||
        (json_object_has_member(mapping, "mode") && g_strcmp0(mode, "split") != 0))
        return NULL;
    if (!image(mapping, "executable", &code, &code_format) ||
        !image(mapping, "nvram-template", &vars, &vars_format))
        return NULL;
    return pair_new(code, code_format, vars, vars_format, source);
}

/* Reads one descriptor.  A broken one must not cost the host all the others. */
static DkvmFirmwarePair *read_descriptor(const char *path)
{
    g_autofree char *real = dkvm_path(path);
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) descriptor = NULL;
    g_autofree char *text = NULL;
    gsize length = 0;

    text = dkvm_file_read(real, MAX_DESCRIPTOR, &length, &error);
    if (text && length == 0)
        return NULL; /* an empty file disables the ones that it masks */
    if (text)
        descriptor = dkvm_json_object(text, length, &error);
    if (descriptor &&
        !(dkvm_json_child(descriptor, "mapping") &&
          dkvm_json_array(descriptor, "interface-types") &&
          dkvm_json_array(descriptor, "targets") && dkvm_json_array(descriptor, "features")))
        g_set_error(&error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "interface-types, mapping, targets or features is missing");
    if (error) {
        dkvm_log_warning("firmware descriptor %s is skipped: %s", path, error->message);
        return NULL;
    }
    return pair_of(descriptor, path);
}

/* Puts the files of DIRECTORY into FILES (name -> path), over those that are there. */
static void list(GHashTable *files, const char *directory)
{
    g_autofree char *real = dkvm_path(directory);
    g_autoptr(GDir) dir = g_dir_open(real, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(directory, name, NULL);
        g_autofree char *file = g_build_filename(real, name, NULL);
        struct stat status;

        /* stat() first: opening a FIFO would wait for its writer */
        if (name[0] == '.' || stat(file, &status) < 0 || !S_ISREG(status.st_mode))
            continue;
        if (g_hash_table_size(files) >= MAX_DESCRIPTORS && !g_hash_table_contains(files, name)) {
            dkvm_log_warning("firmware descriptor %s is skipped: more than %d files", path,
                             MAX_DESCRIPTORS);
            continue;
        }
        g_hash_table_replace(files, g_strdup(name), g_steal_pointer(&path));
    }
}

static void from_descriptors(GPtrArray *found, const char *config_home)
{
    g_autoptr(GHashTable) files = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_autoptr(GList) names = NULL;

    list(files, "/usr/share/qemu/firmware");
    list(files, "/etc/qemu/firmware");
    if (config_home) {
        g_autofree char *own = g_build_filename(config_home, "qemu/firmware", NULL);
        list(files, own);
    }
    names = g_list_sort(g_hash_table_get_keys(files), (GCompareFunc)strcmp);
    for (GList *name = names; name; name = name->next) {
        DkvmFirmwarePair *pair = read_descriptor(g_hash_table_lookup(files, name->data));
        if (pair && matched(pair))
            g_ptr_array_add(found, pair);
        else
            dkvm_firmware_pair_free(pair);
    }
}

static DkvmFirmwarePair *known_pair(guint i)
{
    return pair_new(known[i].code, known[i].format, known[i].vars, known[i].format,
                    DKVM_FIRMWARE_KNOWN_PATH);
}

DkvmFirmwarePair *dkvm_firmware_known(const char *code)
{
    for (guint i = 0; i < G_N_ELEMENTS(known); i++)
        if (g_str_equal(known[i].code, code))
            return known_pair(i);
    return NULL;
}

static void from_known_paths(GPtrArray *found)
{
    for (guint i = 0; i < G_N_ELEMENTS(known); i++) {
        DkvmFirmwarePair *pair = known_pair(i);
        if (matched(pair))
            g_ptr_array_add(found, pair);
        else
            dkvm_firmware_pair_free(pair);
    }
}

static gboolean raw(const DkvmFirmwarePair *pair)
{
    return g_str_equal(pair->code_format, "raw") && g_str_equal(pair->vars_format, "raw");
}

void dkvm_firmware_find(GPtrArray *pairs, const char *config_home)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new();

    from_descriptors(found, config_home);
    if (found->len == 0)
        from_known_paths(found);
    for (guint i = 0; i < found->len; i++)
        if (raw(found->pdata[i]))
            g_ptr_array_add(pairs, found->pdata[i]);
    for (guint i = 0; i < found->len; i++)
        if (!raw(found->pdata[i]))
            g_ptr_array_add(pairs, found->pdata[i]);
}
