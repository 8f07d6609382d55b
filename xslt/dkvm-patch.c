/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dkvm-patch: libvirt domains become Darwin guests, and back.  See dkvm-patch.1.scd. */
#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/file.h"
#include "lib/log.h"
#include "xslt/admin.h"
#include "xslt/cli.h"
#include "xslt/connection.h"
#include "xslt/facts-connection.h"
#include "xslt/topology.h"
#include "xslt/vcpus.h"

#define MAX_FACTS (1024 * 1024)

static DkvmFacts *read_facts(const char *path, GError **error)
{
    gsize length = 0;
    g_autofree char *text = dkvm_file_read(path, MAX_FACTS, &length, error);
    DkvmFacts *facts = text ? dkvm_facts_from_json(text, length, error) : NULL;
    if (facts == NULL) {
        g_prefix_error(error, "--facts %s: ", path);
    }
    return facts;
}

const DkvmFacts *dkvm_cli_facts(DkvmCli *cli, GError **error)
{
    if (cli->facts != NULL) {
        return cli->facts;
    }
    if (cli->options->facts != NULL) {
        cli->facts = read_facts(cli->options->facts, error);
    } else if (cli->conn != NULL) {
        cli->facts = dkvm_facts_connection(cli->conn, error);
    } else {
        cli->facts = dkvm_facts_local(error);
    }
    return cli->facts;
}

DkvmPatcher *dkvm_cli_patcher(DkvmCli *cli, GError **error)
{
    if (cli->patcher != NULL) {
        return cli->patcher;
    }
    const DkvmFacts *facts = dkvm_cli_facts(cli, error);
    if (facts == NULL) {
        return NULL;
    }
    if (cli->config->model != NULL && dkvm_models_find(cli->config->model) == NULL) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "dkvm.conf: [define] model: there is no model '%s'; dkvm-patch --list-models "
                    "shows them",
                    cli->config->model);
        return NULL;
    }
    if (cli->conn == NULL || !dkvm_connection_is_session(cli->conn)) {
        cli->admin = dkvm_admin_stylesheets(error);
        if (cli->admin == NULL) {
            return NULL;
        }
    }
    cli->patcher = dkvm_patcher_new(facts, cli->config->osk, cli->config->model, cli->admin, error);
    return cli->patcher;
}

DkvmPatched *dkvm_cli_apply(DkvmCli *cli, const char *text, gsize length, const char *what,
                            const DkvmDomainState *state, GError **error)
{
    const DkvmOptions *o = cli->options;
    if (o->revert) {
        return dkvm_revert(text, length, what, !o->file && !o->forget, error);
    }
    const DkvmWishes wishes = {.model = o->model, .macos = o->macos, .set = o->set};
    DkvmPatcher *patcher = dkvm_cli_patcher(cli, error);
    return patcher ? dkvm_patch(patcher, text, length, what, state, &wishes, error) : NULL;
}

/* ---- what stands alone ---- */

static void print_json(JsonNode *root)
{
    g_autofree char *text = json_to_string(root, TRUE);
    dkvm_cli_print("%s\n", text);
}

static const char no_kvm[] = "This host has no KVM: emulated, XNU does not get past tsc_init "
                             "unless the CPU is Penryn; use a "
                             "host with KVM.";

static void explain_text(const DkvmTopologyQuestion *question, gboolean *boots)
{
    g_autofree char *text = dkvm_topology_explain(question, boots);
    dkvm_cli_print("%s%s", text, g_str_has_suffix(text, "\n") ? "" : "\n");
    if (question->skip_tsc) {
        dkvm_cli_print("%s\n", no_kvm);
    }
}

static void explain_json(const DkvmTopologyQuestion *question, const char *model, gboolean *boots)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    g_autofree char *macos = dkvm_macos_text(question->macos);
    json_builder_begin_object(b);
    json_builder_set_member_name(b, "model");
    json_builder_add_string_value(b, model);
    json_builder_set_member_name(b, "macos");
    json_builder_add_string_value(b, macos);
    dkvm_topology_json(b, question, boots);
    if (question->skip_tsc) {
        json_builder_set_member_name(b, "note");
        json_builder_add_string_value(b, no_kvm);
    }
    json_builder_end_object(b);
    g_autoptr(JsonNode) root = json_builder_get_root(b);
    print_json(root);
}

static void explain(DkvmCli *cli, GError **error)
{
    DkvmShape shape;
    gboolean boots = FALSE;
    if (!dkvm_shape_parse(cli->options->explain, &shape)) {
        g_set_error(
            error, DKVM_ERROR, DKVM_ERROR_USAGE,
            "--explain-topology: '%.32s' is not SxCxT (sockets, cores, threads), such as 1x4x2",
            cli->options->explain);
        return;
    }
    const DkvmFacts *facts = dkvm_cli_facts(cli, error);
    if (facts == NULL) {
        return;
    }
    DkvmMacos macos = cli->options->macos;
    const char *model = cli->options->model ? cli->options->model : dkvm_models_default(macos);
    DkvmTopologyQuestion question =
        dkvm_vcpus_question(facts, dkvm_models_cpu(model, macos), macos, facts->kvm != DKVM_NO);
    question.shape = shape;
    question.skip_tsc =
        facts->kvm == DKVM_NO; /* said below instead: the topology was asked about */
    if (cli->options->json) {
        explain_json(&question, model, &boots);
    } else {
        explain_text(&question, &boots);
    }
    cli->exit_code = boots ? 0 : 1;
}

static gboolean is_alone(const DkvmOptions *o)
{
    return o->version || o->list_models || o->print_facts || o->explain != NULL;
}

static gboolean stands_alone(DkvmCli *cli, GError **error)
{
    const DkvmOptions *o = cli->options;
    if (o->version) {
        dkvm_cli_print("dkvm-patch " DKVM_VERSION "\n");
        return TRUE;
    }
    if (o->list_models && o->json) {
        g_autoptr(JsonNode) root = dkvm_models_json();
        print_json(root);
        return TRUE;
    }
    if (o->list_models) {
        g_autofree char *list = dkvm_models_list();
        dkvm_cli_print("%s", list);
        return TRUE;
    }
    if (o->print_facts) {
        const DkvmFacts *facts = dkvm_cli_facts(cli, error);
        g_autofree char *json = facts ? dkvm_facts_to_json(facts) : NULL;
        if (json != NULL) {
            dkvm_cli_print("%s%s", json, g_str_has_suffix(json, "\n") ? "" : "\n");
        }
        return TRUE;
    }
    if (o->explain != NULL) {
        explain(cli, error);
        return TRUE;
    }
    return FALSE;
}

/* ---- the run ---- */

static gboolean needs_connection(const DkvmOptions *o)
{
    if (o->version || o->list_models) {
        return FALSE;
    }
    gboolean about_domains = !o->file && !o->print_facts && !o->explain;
    return about_domains || o->create || (o->connect != NULL && o->facts == NULL);
}

static void run(DkvmCli *cli, GError **error)
{
    gboolean needs_config = !cli->options->version && !cli->options->list_models;
    cli->config = needs_config ? dkvm_config_load(error) : NULL;
    if (needs_config && cli->config == NULL) {
        return;
    }
    if (needs_connection(cli->options)) {
        cli->conn = dkvm_connection_open(cli->options->connect, error);
        if (cli->conn == NULL) {
            return;
        }
    }
    if (stands_alone(cli, error)) {
        return;
    }
    if (cli->options->create) {
        dkvm_cli_create(cli);
    } else if (cli->options->file) {
        dkvm_cli_files(cli);
    } else {
        dkvm_cli_domains(cli);
    }
}

static void print_outcomes(DkvmCli *cli)
{
    g_autoptr(JsonArray) array = json_array_new();
    for (guint i = 0; i < cli->outcomes->len; i++) {
        json_array_add_element(array, json_node_copy(g_ptr_array_index(cli->outcomes, i)));
    }
    g_autoptr(JsonNode) root = json_node_new(JSON_NODE_ARRAY);
    json_node_set_array(root, array);
    print_json(root);
}

static void cli_clear(DkvmCli *cli)
{
    g_clear_pointer(&cli->patcher, dkvm_patcher_free);
    g_clear_pointer(&cli->admin, g_ptr_array_unref);
    g_clear_pointer(&cli->facts, dkvm_facts_free);
    g_clear_pointer(&cli->config, dkvm_config_free);
    g_clear_pointer(&cli->outcomes, g_ptr_array_unref);
    if (cli->conn != NULL) {
        dkvm_connection_close(cli->conn);
    }
}

/* A closed standard file would be the next one that is opened.  What takes its place cannot be used
 * in its direction, so that reading and writing still fail. */
static void hold_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        int flags = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", flags) != fd) {
            abort();
        }
    }
}

int main(int argc, char **argv)
{
    DkvmOptions options = {0};
    DkvmCli cli = {.options = &options};
    g_autoptr(GError) error = NULL;
    hold_standard_files();
    setlocale(LC_ALL, "");
    signal(SIGPIPE, SIG_IGN); /* a libvirtd or a reader that goes away is an error like any other */
    dkvm_log_init("dkvm-patch");
    cli.outcomes = g_ptr_array_new_with_free_func((GDestroyNotify)json_node_unref);
    if (dkvm_options_parse(&options, &argc, &argv, &error)) {
        run(&cli, &error);
    }
    if (error != NULL && is_alone(&options)) {
        dkvm_log_error("%s", error->message);
        cli.exit_code = error->code;
    } else if (error != NULL) {
        dkvm_cli_report(&cli, "dkvm-patch", NULL, FALSE, NULL, error);
    }
    if (options.json && !is_alone(&options)) {
        print_outcomes(&cli);
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        dkvm_log_error("cannot write to standard output: %s; what was printed is not complete",
                       g_strerror(errno));
        cli.exit_code = MAX(cli.exit_code, DKVM_ERROR_FILE);
    }
    int exit_code = cli.exit_code;
    cli_clear(&cli);
    dkvm_options_clear(&options);
    return exit_code;
}
