/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Golden pairs: tests/golden/in/NAME.xml, patched with the options that its first line names, is
 * tests/golden/out/NAME.xml, and what is said about it (notes, warnings, a refusal) out/NAME.txt.
 * Beside them out/list-models.txt and out/explain.txt.
 *
 *   golden               check, in TAP
 *   golden --regenerate  write what is there now; look at the difference with git diff
 *   golden --mutate      change every value of models.xml in turn: some pair must break (TAP)
 *
 * Run from the top of the checkout. */
#include <gio/gio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/config.h"
#include "xslt/choices.h"
#include "xslt/data.h"
#include "xslt/patch.h"
#include "xslt/vcpus.h"

#define IN "tests/golden/in"
#define OUT "tests/golden/out"
#define FACTS "tests/data/facts"
#define MODELS "xslt/models.xml"

/* Instead of the ones in data.c: models.xml is put here at run time, so that it can be changed, and
 * filled up with blanks, which XML allows at the end. */
#define MODELS_ROOM 65536
__asm__(".data\n.global dkvm_data_models\ndkvm_data_models:\n.fill 65536, 1, 32\n"
        ".global dkvm_data_models_size\ndkvm_data_models_size:\n.quad 65536\n"
        ".section .rodata\n.global dkvm_data_darwin\ndkvm_data_darwin:\n"
        ".incbin \"darwin.xsl\"\n.set dkvm_data_darwin_stop, .\n.byte 0\n.balign 8\n"
        ".global dkvm_data_darwin_size\ndkvm_data_darwin_size:\n.quad dkvm_data_darwin_stop - "
        "dkvm_data_darwin\n"
        ".previous\n");

static GHashTable *facts_by_name, *patchers;
static DkvmConfig *config;

static char *read_file(const char *path)
{
    char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return g_strdup("");
    }
    return text;
}

static void load_models(const char *text)
{
    char *room = (char *)dkvm_data_models;
    gsize length = strlen(text);
    g_assert(length < MODELS_ROOM);
    memset(room, ' ', MODELS_ROOM);
    memcpy(room, text, length);
}

/* ---- one pair ---- */

typedef struct {
    char *facts;
    DkvmWishes wishes;
} Options;

static void options_clear(Options *options)
{
    g_free(options->facts);
    g_hash_table_unref(options->wishes.set);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

static void take_option(Options *options, const char *word)
{
    const char *value = strchr(word, '=');
    g_assert_nonnull(value);
    value++;
    if (g_str_has_prefix(word, "facts=")) {
        options->facts = g_strdup(value);
    } else if (g_str_has_prefix(word, "macos=")) {
        options->wishes.macos = dkvm_macos_parse(value);
    } else if (g_str_has_prefix(word, "model=")) {
        options->wishes.model = dkvm_models_find(value);
    } else if (g_str_has_prefix(word, "set=")) {
        g_autoptr(GError) error = NULL;
        char *key = NULL, *setting = NULL;
        if (!dkvm_choice_parse(value, &key, &setting, &error)) {
            g_error("%s", error->message);
        }
        g_hash_table_replace(options->wishes.set, key, setting);
    } else {
        g_error("unknown option %s", word);
    }
}

/* "<!-- rule: ... | options: facts=X.json macos=14 | needs: ... -->" */
static Options parse_options(const char *text)
{
    Options options = {0};
    options.wishes.set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_autofree char *line = g_strndup(text, strcspn(text, "\n"));
    char *start = strstr(line, "options:");
    if (start != NULL) {
        start += strlen("options:");
        g_autofree char *rest = g_strndup(start, strcspn(start, "|>"));
        g_auto(GStrv) words = NULL;
        char *end = g_strrstr(rest, "--");
        if (end != NULL) {
            *end = '\0';
        }
        g_assert_true(g_shell_parse_argv(rest, NULL, &words, NULL));
        for (char **word = words; *word != NULL; word++) {
            take_option(&options, *word);
        }
    }
    return options;
}

static const DkvmFacts *facts(const char *name)
{
    DkvmFacts *known = g_hash_table_lookup(facts_by_name, name);
    if (known == NULL) {
        g_autofree char *path = g_build_filename(FACTS, name, NULL);
        g_autofree char *text = read_file(path);
        g_autoptr(GError) error = NULL;
        known = dkvm_facts_from_json(text, strlen(text), &error);
        if (known == NULL) {
            g_error("%s: %s", path, error->message);
        }
        g_hash_table_insert(facts_by_name, g_strdup(name), known);
    }
    return known;
}

static DkvmPatcher *patcher(const char *name)
{
    DkvmPatcher *known = g_hash_table_lookup(patchers, name);
    if (known == NULL) {
        g_autoptr(GError) error = NULL;
        known = dkvm_patcher_new(facts(name), config->osk, NULL, NULL, &error);
        if (known == NULL) {
            g_error("%s", error->message);
        }
        g_hash_table_insert(patchers, g_strdup(name), known);
    }
    return known;
}

/* The result of one input: XML (empty if refused) and what is said. */
static void run_pair(const char *name, char **xml, char **said)
{
    const DkvmDomainState state = {TRUE, DKVM_UNKNOWN, DKVM_UNKNOWN};
    g_autofree char *path = g_strdup_printf("%s/%s.xml", IN, name);
    g_autofree char *text = read_file(path);
    g_auto(Options) options = parse_options(text);
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmPatched) patched = dkvm_patch(patcher(options.facts), text, strlen(text), name,
                                                &state, &options.wishes, &error);
    GString *lines = g_string_new(NULL);
    if (patched == NULL) {
        g_string_append_printf(lines, "exit %d: %s\n", error->code, error->message);
    }
    for (guint i = 0; patched != NULL && i < patched->notes->len; i++) {
        g_string_append_printf(lines, "%s\n", (char *)g_ptr_array_index(patched->notes, i));
    }
    *xml = patched ? g_steal_pointer(&patched->xml) : g_strdup("");
    *said = g_string_free(lines, FALSE);
}

/* ---- the texts ---- */

static char *explain_text(void)
{
    static const char *const models[] = {"MacPro7,1", "MacPro5,1", "MacPro3,1"};
    static const DkvmMacos versions[] = {1011, 1012, 1400};
    static const char *const shapes[] = {"1x4x2", "1x6x1"};
    GString *text = g_string_new(NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(models) * G_N_ELEMENTS(versions) * G_N_ELEMENTS(shapes);
         i++) {
        const char *model = models[i / 6];
        DkvmMacos macos = versions[i / 2 % 3];
        DkvmTopologyQuestion question = dkvm_vcpus_question(
            facts("debian12-intel-avx512.json"), dkvm_models_cpu(model, macos), macos, TRUE);
        g_assert_true(dkvm_shape_parse(shapes[i % 2], &question.shape));
        g_autofree char *one = dkvm_topology_explain(&question, NULL);
        g_string_append_printf(text, "== %s %u %s\n%s\n", model, macos, shapes[i % 2], one);
    }
    return g_string_free(text, FALSE);
}

/* ---- all of them ---- */

typedef gboolean (*Visit)(const char *file, const char *content, gpointer data);

static GPtrArray *input_names(void)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) dir = g_dir_open(IN, 0, NULL);
    for (const char *file = dir ? g_dir_read_name(dir) : NULL; file != NULL;
         file = g_dir_read_name(dir)) {
        if (g_str_has_suffix(file, ".xml")) {
            g_ptr_array_add(names, g_strndup(file, strlen(file) - 4));
        }
    }
    g_ptr_array_sort(names, (GCompareFunc)(void (*)(void))g_strcmp0);
    return names;
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return g_strcmp0(*(const char *const *)a, *(const char *const *)b);
}

/* Calls VISIT with every output file's name and content as they are now, until it says FALSE. */
static gboolean visit_all(Visit visit, gpointer data)
{
    g_autoptr(GPtrArray) names = input_names();
    g_autofree char *list = dkvm_models_list();
    g_autofree char *explained = explain_text();
    g_ptr_array_sort(names, by_name);
    if (!visit("list-models.txt", list, data) || !visit("explain.txt", explained, data)) {
        return FALSE;
    }
    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *xml = NULL, *said = NULL;
        g_autofree char *xml_file = g_strconcat(name, ".xml", NULL);
        g_autofree char *said_file = g_strconcat(name, ".txt", NULL);
        run_pair(name, &xml, &said);
        if (!visit(xml_file, xml, data) || !visit(said_file, said, data)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean is_expected(const char *file, const char *content)
{
    g_autofree char *path = g_build_filename(OUT, file, NULL);
    g_autofree char *expected = read_file(path);
    return g_str_equal(expected, content);
}

static gboolean stop_at_difference(const char *file, const char *content, gpointer data)
{
    return is_expected(file, content);
}

static gboolean print_tap(const char *file, const char *content, gpointer data)
{
    guint *counts = data; /* all, bad */
    gboolean good = is_expected(file, content);
    counts[0]++;
    counts[1] += good ? 0 : 1;
    printf("%sok %u - %s\n", good ? "" : "not ", counts[0], file);
    return TRUE;
}

static gboolean write_out(const char *file, const char *content, gpointer data)
{
    g_autofree char *path = g_build_filename(OUT, file, NULL);
    if (*content == '\0') {
        unlink(path);
        return TRUE;
    }
    return g_file_set_contents(path, content, -1, NULL);
}

/* ---- mutation ---- */

/* Runs all pairs with MODELS in a child process.  TRUE if something broke (or the table was
 * refused). */
static gboolean breaks(const char *models)
{
    pid_t pid = fork();
    int status = 0;
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL) {
            _exit(0);
        }
        load_models(models);
        _exit(visit_all(stop_at_difference, NULL) ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    return status != 0;
}

/* A value like it that means something else: the last digit counted on, else a letter more. */
static char *mutated(const char *word)
{
    g_autofree char *copy = g_strdup(word);
    gsize n = strlen(copy);
    if (n > 0 && g_ascii_isdigit(copy[n - 1])) {
        copy[n - 1] = copy[n - 1] == '9' ? '1' : copy[n - 1] + 1;
        return g_steal_pointer(&copy);
    }
    return g_strconcat(word, "x", NULL);
}

static guint mutate_all(const char *text)
{
    /* Without comments and the XML declaration: values only. */
    g_autoptr(GRegex) comment = g_regex_new("<!--.*?-->", G_REGEX_DOTALL, 0, NULL);
    g_autoptr(GRegex) value = g_regex_new(" ([a-z]+)=\"([^\"]*)\"", 0, 0, NULL);
    g_autofree char *plain =
        g_regex_replace_literal(comment, strstr(text, "<models"), -1, 0, "", 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    guint count = 0, survived = 0;
    g_regex_match(value, plain, 0, &match);
    for (; g_match_info_matches(match); g_match_info_next(match, NULL)) {
        int start = 0, end = 0;
        g_match_info_fetch_pos(match, 2, &start, &end);
        g_autofree char *attribute = g_match_info_fetch(match, 1);
        for (int at = start; at < end;) {
            int length = (int)strcspn(plain + at, " \"");
            g_autofree char *word = g_strndup(plain + at, (gsize)length);
            g_autofree char *other = mutated(word);
            g_autofree char *changed =
                g_strdup_printf("%.*s%s%s", at, plain, other, plain + at + length);
            gboolean killed = breaks(changed);
            survived += killed ? 0 : 1;
            printf("%sok %u - %s=%s -> %s\n", killed ? "" : "not ", ++count, attribute, word,
                   other);
            fflush(stdout);
            at += length + 1;
        }
    }
    printf("1..%u\n", count);
    return survived;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    guint counts[2] = {0};
    setenv("DKVM_ROOT", "/nonexistent", 1); /* the shipped configuration */
    g_autofree char *models = read_file(MODELS);
    facts_by_name = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    patchers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    config = dkvm_config_load(&error);
    if (config == NULL) {
        g_error("%s", error->message);
    }
    if (argc > 1 && g_str_equal(argv[1], "--mutate")) {
        return mutate_all(models) > 0 ? 1 : 0;
    }
    load_models(models);
    if (argc > 1 && g_str_equal(argv[1], "--regenerate")) {
        return visit_all(write_out, NULL) ? 0 : 1;
    }
    visit_all(print_tap, counts);
    printf("1..%u\n", counts[0]);
    return counts[1] > 0 ? 1 : 0;
}
