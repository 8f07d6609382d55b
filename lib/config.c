/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/config.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/error.h"
#include "lib/file.h"
#include "lib/paths.h"

#ifndef DKVM_SYSCONFDIR
#define DKVM_SYSCONFDIR "/etc"
#endif

/* facts/style.md C5 */
#define CONFIG_MAX (1024 * 1024)
#define LINE_MAX_BYTES 4096
#define NAME_MAX_BYTES 255
#define OSK_LENGTH 64
#define MAX_SERVICES 16

/* ---- values ------------------------------------------------------------------------------- */

/* Each takes a value that was read, and returns FALSE if it is not in its grammar. */
typedef gboolean Setter(DkvmConfig *config, GKeyFile *file, const char *group, const char *key);

static char *text_of(GKeyFile *file, const char *group, const char *key)
{
    char *text = g_key_file_get_string(file, group, key, NULL);

    return text ? g_strchomp(text) : g_strdup("\n"); /* a wrong escape: in no grammar */
}

static gboolean set_match(DkvmConfig *config, GKeyFile *file, const char *group, const char *key)
{
    static const char *const words[] = {"macos", "marked", "all"};
    static const DkvmMatch values[] = {DKVM_MATCH_MACOS, DKVM_MATCH_MARKED, DKVM_MATCH_ALL};
    g_autofree char *text = text_of(file, group, key);

    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        if (strcmp(text, words[i]) == 0) {
            config->match = values[i];
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean is_name_pattern(const char *text)
{
    gsize length = strlen(text);

    if (length == 0 || length > NAME_MAX_BYTES || !g_utf8_validate(text, -1, NULL))
        return FALSE;
    for (const char *p = text; *p; p = g_utf8_next_char(p)) {
        if (g_unichar_iscntrl(g_utf8_get_char(p)))
            return FALSE;
    }
    return TRUE;
}

static gboolean set_names(DkvmConfig *config, GKeyFile *file, const char *group, const char *key)
{
    g_auto(GStrv) names = g_key_file_get_string_list(file, group, key, NULL, NULL);

    if (!names)
        return FALSE;
    /* An empty pattern is refused, not dropped: it would match no name, and without it the list
     * may be empty, which matches every name. */
    for (char **name = names; *name; name++) {
        if (!is_name_pattern(g_strstrip(*name)))
            return FALSE;
    }
    g_strfreev(config->names);
    config->names = g_steal_pointer(&names);
    return TRUE;
}

static gboolean set_model(DkvmConfig *config, GKeyFile *file, const char *group, const char *key)
{
    g_autofree char *text = text_of(file, group, key);

    if (!g_regex_match_simple("\\A[A-Za-z0-9,]{0,32}\\z", text, 0, 0))
        return FALSE;
    g_free(config->model);
    config->model = *text ? g_steal_pointer(&text) : NULL;
    return TRUE;
}

static gboolean set_settle(DkvmConfig *config, GKeyFile *file, const char *group, const char *key)
{
    g_autofree char *text = text_of(file, group, key);
    double seconds;

    /* Digits only: strtod alone takes "inf", "nan" and "0x1p3" too. */
    if (!g_regex_match_simple("\\A[0-9]{1,2}(\\.[0-9]{1,3})?\\z", text, 0, 0))
        return FALSE;
    seconds = g_ascii_strtod(text, NULL);
    if (seconds > 60)
        return FALSE;
    config->settle_seconds = seconds;
    return TRUE;
}

/* Raw: a backslash is one of the 64 characters, not the start of an escape. */
static gboolean set_osk(DkvmConfig *config, GKeyFile *file, const char *group, const char *key)
{
    g_autofree char *text = g_key_file_get_value(file, group, key, NULL);

    if (!text || strlen(text) != OSK_LENGTH)
        return FALSE;
    for (const char *p = text; *p; p++) {
        if (!g_ascii_isprint(*p) || *p == ',')
            return FALSE;
    }
    g_free(config->osk);
    config->osk = g_steal_pointer(&text);
    return TRUE;
}

static gboolean set_domains(DkvmConfig *config, GKeyFile *file, const char *group, const char *key)
{
    static const char *const words[] = {"darwin", "marked", "all", NULL};
    static const DkvmHandoffDomains values[] = {DKVM_HANDOFF_DARWIN, DKVM_HANDOFF_MARKED,
                                                DKVM_HANDOFF_ALL};
    g_autofree char *text = text_of(file, group, key);

    for (gsize i = 0; words[i]; i++) {
        if (strcmp(text, words[i]) == 0) {
            config->handoff_domains = values[i];
            return TRUE;
        }
    }
    return FALSE;
}

/* OFF, or ON, which turns *FLAG on. */
static gboolean set_either(GKeyFile *file, const char *group, const char *key, const char *off,
                           const char *on, gboolean *flag)
{
    g_autofree char *text = text_of(file, group, key);

    if (strcmp(text, off) != 0 && strcmp(text, on) != 0)
        return FALSE;
    *flag = strcmp(text, on) == 0;
    return TRUE;
}

static gboolean set_first_boot(DkvmConfig *config, GKeyFile *file, const char *group,
                               const char *key)
{
    return set_either(file, group, key, "leave", "restart", &config->first_boot_restart);
}

static gboolean set_desktop(DkvmConfig *config, GKeyFile *file, const char *group, const char *key)
{
    return set_either(file, group, key, "refuse", "stop", &config->desktop_stop);
}

static gboolean set_holders(DkvmConfig *config, GKeyFile *file, const char *group, const char *key)
{
    return set_either(file, group, key, "refuse", "terminate", &config->holders_terminate);
}

static gboolean set_hugepages(DkvmConfig *config, GKeyFile *file, const char *group,
                              const char *key)
{
    return set_either(file, group, key, "refuse", "allocate", &config->hugepages_allocate);
}

static gboolean set_bar_size(DkvmConfig *config, GKeyFile *file, const char *group, const char *key)
{
    static const char *const words[] = {"keep", "largest", "smallest"};
    static const DkvmBarSize values[] = {DKVM_BAR_KEEP, DKVM_BAR_LARGEST, DKVM_BAR_SMALLEST};
    g_autofree char *text = text_of(file, group, key);

    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        if (strcmp(text, words[i]) == 0) {
            config->bar_size = values[i];
            return TRUE;
        }
    }
    return FALSE;
}

/* pci_reset_fn_methods in the kernel's drivers/pci/pci.c, in its order. */
static const char *const reset_methods[] = {"device_specific", "acpi", "flr", "af_flr", "pm", "bus",
                                            "cxl_bus"};

static gboolean set_reset_method(DkvmConfig *config, GKeyFile *file, const char *group,
                                 const char *key)
{
    g_autofree char *text = text_of(file, group, key);

    if (strcmp(text, "keep") == 0) {
        config->reset_method = NULL;
        return TRUE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(reset_methods); i++) {
        if (strcmp(text, reset_methods[i]) == 0) {
            config->reset_method = reset_methods[i];
            return TRUE;
        }
    }
    return FALSE;
}

/* Units that the host or the hand-over itself stands on; a display manager is "desktop". */
static gboolean is_needed_unit(const char *unit)
{
    static const char *const prefixes[] = {
        "systemd-",          "dbus",        "libvirt",      "virtqemud",
        "virtlogd",          "virtlockd",   "virtproxyd",   "virtnetworkd",
        "virtnodedevd",      "virtsecretd", "virtstoraged", "virtinterfaced",
        "virtnwfilterd",     "ssh",         "dkvm",         "user@",
        "user-runtime-dir@", "elogind",     "seatd",        "display-manager."};

    for (gsize i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        if (g_str_has_prefix(unit, prefixes[i]))
            return TRUE;
    }
    return FALSE;
}

/* systemd.unit(5), without escapes and templates. */
static gboolean is_service(const char *unit)
{
    return g_regex_match_simple(
               "\\A[A-Za-z0-9_][A-Za-z0-9:_.@-]{0,200}(?<!@)\\.(service|socket)\\z", unit, 0, 0) &&
           !is_needed_unit(unit);
}

static gboolean set_services(DkvmConfig *config, GKeyFile *file, const char *group, const char *key)
{
    g_auto(GStrv) units = g_key_file_get_string_list(file, group, key, NULL, NULL);

    if (!units || g_strv_length(units) > MAX_SERVICES)
        return FALSE;
    for (char **unit = units; *unit; unit++) {
        if (!is_service(g_strstrip(*unit)))
            return FALSE;
    }
    g_strfreev(config->handoff_services);
    config->handoff_services = g_steal_pointer(&units);
    return TRUE;
}

/* Those of the kernel that need no more than their name ("userspace" needs a frequency). */
static gboolean set_governor(DkvmConfig *config, GKeyFile *file, const char *group, const char *key)
{
    static const char *const words[] = {"performance", "powersave",    "schedutil",
                                        "ondemand",    "conservative", NULL};
    g_autofree char *text = text_of(file, group, key);

    if (strcmp(text, "keep") != 0 && !g_strv_contains(words, text))
        return FALSE;
    g_free(config->governor);
    config->governor = strcmp(text, "keep") != 0 ? g_steal_pointer(&text) : NULL;
    return TRUE;
}

static gboolean set_host_cpus(DkvmConfig *config, GKeyFile *file, const char *group,
                              const char *key)
{
    g_autofree char *text = text_of(file, group, key);
    g_autofree DkvmNumbers *cpus = g_new0(DkvmNumbers, 1);

    if (!dkvm_numbers_parse(text, cpus) || (*text && dkvm_numbers_count(cpus) == 0))
        return FALSE;
    g_free(config->host_cpus);
    config->host_cpus = *text ? g_steal_pointer(&cpus) : NULL;
    return TRUE;
}

static gboolean set_irqs(DkvmConfig *config, GKeyFile *file, const char *group, const char *key)
{
    return set_either(file, group, key, "leave", "move", &config->irqs_move);
}

static gboolean set_suspend(DkvmConfig *config, GKeyFile *file, const char *group, const char *key)
{
    return set_either(file, group, key, "never", "rescue", &config->suspend_rescue);
}

static gboolean set_reboot(DkvmConfig *config, GKeyFile *file, const char *group, const char *key)
{
    return set_either(file, group, key, "never", "rescue", &config->reboot_rescue);
}

static const struct Key {
    const char *group, *key, *allowed;
    Setter *set;
} keys[] = {
    {"define", "match", "macos, marked or all", set_match},
    {"define", "names", "name patterns separated by ';', or nothing for every name", set_names},
    {"define", "first-boot", "restart or leave", set_first_boot},
    {"define", "model", "a model that 'dkvm-patch --list-models' lists, or nothing", set_model},
    {"define", "settle-seconds", "a number from 0 to 60 with at most 3 decimals", set_settle},
    {"handoff", "domains", "darwin, marked or all", set_domains},
    {"handoff", "desktop", "refuse or stop", set_desktop},
    {"handoff", "holders", "refuse or terminate", set_holders},
    {"handoff", "hugepages", "refuse or allocate", set_hugepages},
    {"handoff", "bar-size", "keep, largest or smallest", set_bar_size},
    {"handoff", "reset-method", "keep, device_specific, acpi, flr, af_flr, pm, bus or cxl_bus",
     set_reset_method},
    {"handoff", "services",
     "at most 16 names NAME.service or NAME.socket separated by ';', none that the host stands on "
     "(systemd-*, dbus*, libvirt*, virt*d, ssh*, dkvm*, user@*, display-manager.service)",
     set_services},
    {"handoff", "governor", "keep, performance, powersave, schedutil, ondemand or conservative",
     set_governor},
    {"handoff", "host-cpus", "a list of CPUs such as 0-1,8-9, or nothing", set_host_cpus},
    {"handoff", "irqs", "leave or move", set_irqs},
    {"handoff", "suspend", "never or rescue", set_suspend},
    {"handoff", "reboot", "never or rescue", set_reboot},
    {"smc", "osk", "exactly 64 printable ASCII characters without a comma", set_osk},
};

/* ---- one file ----------------------------------------------------------------------------- */

static gboolean reject(GError **error, const char *path, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static gboolean reject(GError **error, const char *path, const char *format, ...)
{
    va_list arguments;
    g_autofree char *why = NULL;

    va_start(arguments, format);
    why = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT, "cannot use the configuration '%s': %s", path,
                why);
    return FALSE;
}

/* What an unknown name looks like in a message.  Text that is no name may be the OSK with a
 * mistyped line around it, and that must not be printed. */
static const char *shown(const char *name)
{
    return g_regex_match_simple("\\A[A-Za-z0-9_-]{1,32}\\z", name, 0, 0) ? name : "(not a name)";
}

/* The keys of GROUP, or the groups if GROUP is NULL; for "use one of". */
static char *allowed_names(const char *group)
{
    GString *list = g_string_new(NULL);
    const char *last = "";

    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        const char *name = group ? keys[i].key : keys[i].group;

        if ((group && strcmp(keys[i].group, group) != 0) || strcmp(name, last) == 0)
            continue;
        g_string_append_printf(list, group ? "%s%s" : "%s[%s]", list->len ? ", " : "", name);
        last = name;
    }
    return g_string_free(list, FALSE);
}

static gboolean is_group(const char *group)
{
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (strcmp(keys[i].group, group) == 0)
            return TRUE;
    }
    return FALSE;
}

static const struct Key *find_key(const char *group, const char *key)
{
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (strcmp(keys[i].group, group) == 0 && strcmp(keys[i].key, key) == 0)
            return &keys[i];
    }
    return NULL;
}

static gboolean apply_key(DkvmConfig *config, GKeyFile *file, const char *path, const char *group,
                          const char *name, GError **error)
{
    const struct Key *key = find_key(group, name);

    if (!key) {
        g_autofree char *allowed = allowed_names(group);

        return reject(error, path, "group [%s] has no key '%s'; use one of: %s", group, shown(name),
                      allowed);
    }
    if (!key->set(config, file, group, name))
        return reject(error, path, "the value of '%s' in group [%s] is not valid; write %s", name,
                      group, key->allowed);
    return TRUE;
}

static gboolean apply_group(DkvmConfig *config, GKeyFile *file, const char *path, const char *group,
                            GError **error)
{
    g_auto(GStrv) names = NULL;

    if (!is_group(group)) {
        g_autofree char *allowed = allowed_names(NULL);

        return reject(error, path, "there is no group [%s]; use one of: %s", shown(group), allowed);
    }
    names = g_key_file_get_keys(file, group, NULL, NULL);
    for (char **name = names; name && *name; name++) {
        if (!apply_key(config, file, path, group, *name, error))
            return FALSE;
    }
    return TRUE;
}

/* GKeyFile would say what is wrong, but quotes the line, which may hold the OSK, and has no line
 * numbers.  So what it refuses is looked for here first. */
static gboolean check_line(const char *line, gsize length, guint number, gboolean *in_group,
                           const char *path, GError **error)
{
    g_autofree char *text = NULL;

    if (length > LINE_MAX_BYTES)
        return reject(error, path, "line %u is longer than %d bytes; shorten it", number,
                      LINE_MAX_BYTES);
    if (memchr(line, '\0', length) || !g_utf8_validate(line, (gssize)length, NULL))
        return reject(error, path, "line %u is not UTF-8 text; write it again", number);
    text = g_strstrip(g_strndup(line, length));
    if (*text == '\0' || *text == '#')
        return TRUE;
    if (*text == '[' && g_str_has_suffix(text, "]")) {
        *in_group = TRUE;
        return TRUE;
    }
    if (*text == '=' || !strchr(text, '='))
        return reject(error, path,
                      "line %u is neither a [group], a key=value nor a # comment; "
                      "correct or remove it",
                      number);
    if (!*in_group)
        return reject(error, path, "line %u stands before the first group; put it below one",
                      number);
    return TRUE;
}

static gboolean check_lines(const char *text, gsize length, const char *path, GError **error)
{
    gboolean in_group = FALSE;
    const char *end = text + length;
    guint number = 1;

    for (const char *line = text; line < end; number++) {
        const char *next = memchr(line, '\n', (gsize)(end - line));
        gsize size = (gsize)((next ? next : end) - line);

        if (!check_line(line, size, number, &in_group, path, error))
            return FALSE;
        line += size + 1;
    }
    return TRUE;
}

static gboolean apply_text(DkvmConfig *config, const char *text, gsize length, const char *path,
                           GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_auto(GStrv) groups = NULL;

    if (!check_lines(text, length, path, error))
        return FALSE;
    /* KEEP_TRANSLATIONS: without it "match[de]" vanishes without a word. */
    if (!g_key_file_load_from_data(file, text, length, G_KEY_FILE_KEEP_TRANSLATIONS, NULL))
        return reject(error, path,
                      "a group or key name has characters that no name has; "
                      "compare it with the dkvm.conf that was installed");
    groups = g_key_file_get_groups(file, NULL);
    for (char **group = groups; *group; group++) {
        if (!apply_group(config, file, path, *group, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean apply_file(DkvmConfig *config, const char *path, GError **error)
{
    gsize length = 0;
    g_autofree char *text = dkvm_file_read(path, CONFIG_MAX, &length, error);

    return text && apply_text(config, text, length, path, error);
}

/* ---- all files ---------------------------------------------------------------------------- */

/* A name with a leading dot is an editor's own, as for the shell's *.conf. */
static int is_fragment(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && g_str_has_suffix(entry->d_name, ".conf");
}

/* Not alphasort(3), whose order depends on the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static gboolean apply_fragment(DkvmConfig *config, const char *directory, const char *name,
                               GError **error)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    struct stat st;

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return TRUE;
    return apply_file(config, path, error); /* says why, if stat could not */
}

static gboolean apply_directory(DkvmConfig *config, const char *directory, GError **error)
{
    struct dirent **entries = NULL;
    int count = scandir(directory, &entries, is_fragment, by_name);
    gboolean ok = TRUE;

    if (count < 0 && errno == ENOENT)
        return TRUE;
    if (count < 0) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                    "cannot read the configuration directory '%s': %s; make it a directory that "
                    "this user may read, or remove it",
                    directory, g_strerror(errno));
        return FALSE;
    }
    for (int i = 0; i < count; i++) {
        ok = ok && apply_fragment(config, directory, entries[i]->d_name, error);
        free(entries[i]);
    }
    free(entries);
    return ok;
}

static DkvmConfig *config_new(void)
{
    DkvmConfig *config = g_new0(DkvmConfig, 1);

    config->match = DKVM_MATCH_MACOS;
    config->names = g_new0(char *, 1);
    config->handoff_services = g_new0(char *, 1);
    config->first_boot_restart = TRUE;
    config->settle_seconds = 1.5;
    config->osk = g_strdup(DKVM_DEFAULT_OSK);
    return config;
}

DkvmConfig *dkvm_config_load(GError **error)
{
    g_autoptr(DkvmConfig) config = config_new();
    g_autofree char *main_file = dkvm_path(DKVM_SYSCONFDIR "/dkvm/dkvm.conf");
    g_autofree char *directory = dkvm_path(DKVM_SYSCONFDIR "/dkvm/dkvm.conf.d");
    struct stat st;

    /* lstat: a link that leads nowhere is a mistake, not a missing file. */
    if (lstat(main_file, &st) == 0 || errno != ENOENT) {
        if (!apply_file(config, main_file, error))
            return NULL;
    }
    if (!apply_directory(config, directory, error))
        return NULL;
    return g_steal_pointer(&config);
}

void dkvm_config_free(DkvmConfig *config)
{
    if (!config)
        return;
    g_strfreev(config->names);
    g_strfreev(config->handoff_services);
    g_free(config->model);
    g_free(config->osk);
    g_free(config->governor);
    g_free(config->host_cpus);
    g_free(config);
}
