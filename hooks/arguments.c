/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks/arguments.h"

#include "lib/error.h"

static gboolean usage(GError **error, const char *text)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_USAGE, "%s; see dkvm-watchd --help", text);
    return FALSE;
}

static gboolean check(const DkvmWatchdOptions *o, GError **error)
{
    if (o->session && o->connect != NULL) {
        return usage(error, "--session and --connect exclude each other");
    }
    if (o->json && !o->status) {
        return usage(error, "--json goes with --status");
    }
    if (o->status && o->connect != NULL) {
        return usage(error, "--status goes without --connect");
    }
    for (char **uri = o->connect; uri != NULL && *uri != NULL; uri++) {
        if (**uri == '\0' || g_strv_contains((const char *const *)uri + 1, *uri)) {
            return usage(error, "--connect: a URI is empty or given twice");
        }
    }
    return TRUE;
}

gboolean dkvm_watchd_options_parse(DkvmWatchdOptions *o, int *argc, char ***argv, GError **error)
{
    const GOptionEntry entries[] = {
        {"connect", 'c', 0, G_OPTION_ARG_STRING_ARRAY, &o->connect,
         "libvirt connection to watch; may be repeated (default: qemu:///system)", "URI"},
        {"session", 0, 0, G_OPTION_ARG_NONE, &o->session,
         "watch qemu:///session while somebody uses it", NULL},
        {"status", 0, 0, G_OPTION_ARG_NONE, &o->status, "say what the running watcher does", NULL},
        {"json", 0, 0, G_OPTION_ARG_NONE, &o->json, "with --status: as JSON", NULL},
        {"version", 0, 0, G_OPTION_ARG_NONE, &o->version, "print the version", NULL},
        G_OPTION_ENTRY_NULL};
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) inner = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_set_summary(context, "Makes macOS domains Darwin guests as they are defined.");
    g_option_context_set_description(
        context,
        "Exit: 0 ended as told, 2 usage, 3 bad configuration, 6 a local file (--status: no "
        "watcher\nruns).  See dkvm-watchd(8).");
    if (!g_option_context_parse(context, argc, argv, &inner)) {
        return usage(error, inner->message);
    }
    if (*argc > 1) {
        return usage(error, "dkvm-watchd takes no operands");
    }
    return check(o, error);
}
