/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "lib/error.h"
#include "xslt/choices.h"
#include "xslt/cli.h"

/* GOption fills these; dkvm_options_parse() moves them out. */
typedef struct {
    char *model, *macos, **set;
} Raw;

static gboolean usage(GError **error, const char *text)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_USAGE, "%s; see dkvm-patch --help", text);
    return FALSE;
}

static gboolean parse_model(DkvmOptions *o, const Raw *raw, GError **error)
{
    o->model = raw->model ? dkvm_models_find(raw->model) : NULL;
    if (raw->model != NULL && o->model == NULL) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_USAGE,
                    "--model: there is no model '%.64s'; --list-models shows them", raw->model);
        return FALSE;
    }
    o->macos = raw->macos ? dkvm_macos_parse(raw->macos) : 0;
    if (raw->macos != NULL && o->macos == 0) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_USAGE,
                    "--macos: '%.64s' is no macOS version from 10.4 to 26 and no name of one; "
                    "--list-models shows them",
                    raw->macos);
        return FALSE;
    }
    return TRUE;
}

static gboolean parse_set(DkvmOptions *o, const Raw *raw, GError **error)
{
    o->set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    for (char **text = raw->set; text != NULL && *text != NULL; text++) {
        char *key = NULL, *value = NULL;
        if (!dkvm_choice_parse(*text, &key, &value, error)) {
            return FALSE;
        }
        g_hash_table_replace(o->set, key, value);
    }
    return TRUE;
}

/* Combinations that mean nothing, before anything is opened. */
static gboolean check(const DkvmOptions *o, GError **error)
{
    guint n = g_strv_length(o->operands);
    gboolean stands_alone = o->print_facts || o->list_models || o->version || o->explain;
    if (stands_alone) {
        return n == 0 || usage(error, "this option takes no operands");
    }
    if (o->all) {
        return n == 0 && !o->file ? TRUE
                                  : usage(error, "--all goes without operands and without --file");
    }
    if (n == 0) {
        return usage(error, o->file ? "--file needs at least one FILE ('-' is standard input)"
                                    : "name at least one domain, or use --all or --file");
    }
    if ((o->in_place || o->output_dir || o->create) && !o->file) {
        return usage(error, "--in-place, --output-dir and --create go with --file");
    }
    if ((o->in_place && o->output_dir) ||
        (o->create && (o->in_place || o->output_dir || o->revert))) {
        return usage(error, "--in-place, --output-dir and --create exclude each other");
    }
    if (o->forget && !o->revert) {
        return usage(error, "--forget goes with --revert");
    }
    if (o->revert && g_hash_table_size(o->set) > 0) {
        return usage(error,
                     "--set does not go with --revert, which takes everything back; one part is "
                     "taken back with --set PART=auto alone");
    }
    if (o->check && (o->revert || o->create)) {
        return usage(error, "--check goes neither with --revert nor with --create");
    }
    return TRUE;
}

static gboolean check_files(const DkvmOptions *o, GError **error)
{
    g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    gboolean shows_only = o->check || o->diff || o->dry_run || o->create;
    for (char **operand = o->operands; o->file && *operand != NULL; operand++) {
        if (g_str_equal(*operand, "-") && (o->in_place || o->output_dir)) {
            return usage(
                error, "standard input cannot be rewritten: leave --in-place and --output-dir out");
        }
        if (o->output_dir && !g_hash_table_add(names, g_path_get_basename(*operand))) {
            return usage(error, "--output-dir: two files have the same name");
        }
    }
    if (o->file && o->operands[0] && o->operands[1] && !o->in_place && !o->output_dir &&
        !shows_only) {
        return usage(error, "several files need --in-place or --output-dir");
    }
    return TRUE;
}

gboolean dkvm_options_parse(DkvmOptions *o, int *argc, char ***argv, GError **error)
{
    Raw raw = {0};
    const GOptionEntry entries[] = {
        {"connect", 'c', 0, G_OPTION_ARG_STRING, &o->connect, "libvirt connection", "URI"},
        {"file", 'f', 0, G_OPTION_ARG_NONE, &o->file, "operands are XML files ('-': stdin)", NULL},
        {"in-place", 'i', 0, G_OPTION_ARG_NONE, &o->in_place, "rewrite each file", NULL},
        {"output-dir", 'o', 0, G_OPTION_ARG_FILENAME, &o->output_dir, "write the files there",
         "DIR"},
        {"all", 'a', 0, G_OPTION_ARG_NONE, &o->all, "every domain that the policy matches", NULL},
        {"model", 'm', 0, G_OPTION_ARG_STRING, &raw.model, "Mac model", "NAME"},
        {"macos", 0, 0, G_OPTION_ARG_STRING, &raw.macos, "10.4 ... 26, or a name", "VERSION"},
        {"diff", 'd', 0, G_OPTION_ARG_NONE, &o->diff, "print a unified diff, change nothing", NULL},
        {"dry-run", 'n', 0, G_OPTION_ARG_NONE, &o->dry_run, "say what would change", NULL},
        {"revert", 'r', 0, G_OPTION_ARG_NONE, &o->revert, "undo", NULL},
        {"forget", 0, 0, G_OPTION_ARG_NONE, &o->forget, "with --revert: leave no marker", NULL},
        {"check", 0, 0, G_OPTION_ARG_NONE, &o->check, "exit 0 if patched and up to date", NULL},
        {"set", 's', 0, G_OPTION_ARG_STRING_ARRAY, &raw.set, "a choice for this domain",
         "KEY=VALUE"},
        {"facts", 0, 0, G_OPTION_ARG_FILENAME, &o->facts, "recorded host facts (JSON)", "FILE"},
        {"print-facts", 0, 0, G_OPTION_ARG_NONE, &o->print_facts, "print this host's facts", NULL},
        {"create", 0, 0, G_OPTION_ARG_NONE, &o->create, "with --file: patch, then define", NULL},
        {"explain-topology", 0, 0, G_OPTION_ARG_STRING, &o->explain, "would XNU boot it?", "SxCxT"},
        {"json", 0, 0, G_OPTION_ARG_NONE, &o->json, "results as JSON", NULL},
        {"list-models", 0, 0, G_OPTION_ARG_NONE, &o->list_models, "models and macOS versions",
         NULL},
        {"version", 0, 0, G_OPTION_ARG_NONE, &o->version, "print the version", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &o->operands, NULL,
         "DOMAIN|FILE..."},
        G_OPTION_ENTRY_NULL};
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) inner = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_set_summary(context, "Makes libvirt domains Darwin (macOS) guests, and back.");
    g_option_context_set_description(
        context,
        "Exit: 0 done, 1 --check: not patched, 2 usage, 3 bad input, 4 the host cannot,\n"
        "5 libvirt said no, 6 a local file, 7 refused to lose nothing.  See dkvm-patch(1).");
    gboolean good = g_option_context_parse(context, argc, argv, &inner);
    if (!good) {
        usage(error, inner->message);
    }
    if (o->operands == NULL) {
        o->operands = g_new0(char *, 1);
    }
    good = good && parse_model(o, &raw, error) && parse_set(o, &raw, error) && check(o, error) &&
           check_files(o, error);
    g_free(raw.model);
    g_free(raw.macos);
    g_strfreev(raw.set);
    return good;
}

void dkvm_options_clear(DkvmOptions *o)
{
    g_free(o->connect);
    g_free(o->output_dir);
    g_free(o->facts);
    g_free(o->explain);
    g_strfreev(o->operands);
    g_clear_pointer(&o->set, g_hash_table_unref);
}
