/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <libvirt/virterror.h>
#include <string.h>

#include "lib/error.h"
#include "lib/file.h"
#include "lib/policy.h"
#include "xslt/cli.h"
#include "xslt/connection.h"

typedef struct {
    DkvmCli *cli;
    virDomainPtr domain;
} Work;

static DkvmPatched *make(DkvmUpdate *update, const char *xml, gpointer data, GError **error)
{
    Work *work = data;
    const DkvmOptions *o = work->cli->options;
    const char *name = virDomainGetName(work->domain);
    if (o->revert) {
        return dkvm_revert(xml, strlen(xml), name, !o->forget, error);
    }
    const DkvmWishes wishes = {.model = o->model, .macos = o->macos, .set = o->set};
    DkvmPatcher *patcher = dkvm_cli_patcher(work->cli, error);
    DkvmDoc *doc = patcher ? dkvm_xml_parse(xml, strlen(xml), name, error) : NULL;
    return doc ? dkvm_connection_patch(update, patcher, doc, xml, work->cli->facts, &wishes, error)
               : NULL;
}

/* What the new definition waits for. */
static char *what_then(virDomainPtr domain)
{
    GString *text = g_string_new(NULL);
    if (virDomainIsActive(domain) == 1) {
        g_string_append(text, "takes effect at the next start (a restart from inside is not one)");
    }
    if (virDomainHasManagedSaveImage(domain, 0) == 1) {
        g_string_append_printf(text,
                               "%sit has a managed save, which starts the old machine; "
                               "give it up with virsh managedsave-remove",
                               text->len ? "; " : "");
    }
    if (virDomainSnapshotNum(domain, VIR_DOMAIN_SNAPSHOT_LIST_INTERNAL) > 0) {
        g_string_append_printf(text,
                               "%sit has internal snapshots, which start the old machine; "
                               "patch again after virsh snapshot-revert",
                               text->len ? "; " : "");
    }
    return g_string_free(text, text->len == 0);
}

static void one_domain(DkvmCli *cli, virDomainPtr domain)
{
    const DkvmOptions *o = cli->options;
    const char *name = virDomainGetName(domain);
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmPatched) patched = NULL;
    g_autofree char *then = NULL;
    gboolean stored = FALSE;
    if (virDomainIsPersistent(domain) == 0) {
        g_set_error(
            &error, DKVM_ERROR, DKVM_ERROR_REFUSED,
            "cannot patch %s: it is transient, it has no definition that a next start would use; "
            "define it first (virsh dumpxml | virsh define)",
            name);
        dkvm_cli_report(cli, name, NULL, FALSE, NULL, error);
        return;
    }
    Work work = {cli, domain};
    gboolean store = !o->check && !o->diff && !o->dry_run;
    patched = dkvm_connection_update(domain, make, &work, store, &stored, &error);
    then = stored ? what_then(domain) : NULL;
    dkvm_cli_report(cli, name, patched, stored, then, error);
}

static gboolean matches(DkvmCli *cli, virDomainPtr domain)
{
    g_autofree char *xml = dkvm_connection_read(domain, NULL);
    g_autoptr(DkvmDoc) doc = xml ? dkvm_xml_parse(xml, strlen(xml), "domain", NULL) : NULL;
    return doc != NULL && dkvm_policy_matches(cli->config, xmlDocGetRootElement(doc));
}

static void all_domains(DkvmCli *cli)
{
    g_autoptr(GError) error = NULL;
    virDomainPtr *domains = NULL;
    int count = virConnectListAllDomains(cli->conn, &domains, VIR_CONNECT_LIST_DOMAINS_PERSISTENT);
    if (count < 0) {
        dkvm_libvirt_error(&error, "list the domains", NULL,
                           "is its daemon still running (systemctl status libvirtd)?");
        dkvm_cli_report(cli, "libvirt", NULL, FALSE, NULL, error);
        return;
    }
    for (int i = 0; i < count; i++) {
        if (matches(cli, domains[i])) {
            one_domain(cli, domains[i]);
        }
        virDomainFree(domains[i]);
    }
    free(domains);
}

void dkvm_cli_domains(DkvmCli *cli)
{
    if (cli->options->all) {
        all_domains(cli);
        return;
    }
    for (char **name = cli->options->operands; *name != NULL; name++) {
        g_autoptr(GError) error = NULL;
        virDomainPtr domain = dkvm_connection_find(cli->conn, *name, &error);
        if (domain == NULL) {
            dkvm_cli_report(cli, *name, NULL, FALSE, NULL, error);
            continue;
        }
        one_domain(cli, domain);
        virDomainFree(domain);
    }
}

/* ---- --create ---- */

static gboolean exists(DkvmCli *cli, const DkvmPatched *patched, GError **error)
{
    virDomainPtr by_name = virDomainLookupByName(cli->conn, patched->name);
    virDomainPtr by_uuid =
        patched->uuid ? virDomainLookupByUUIDString(cli->conn, patched->uuid) : NULL;
    gboolean found = by_name != NULL || by_uuid != NULL;
    if (found) {
        g_set_error(
            error, DKVM_ERROR, DKVM_ERROR_REFUSED,
            "cannot create %s: there is a domain with this %s; rename one of them, or patch the "
            "existing one by its name",
            patched->name, by_name ? "name" : "UUID");
    }
    if (by_name != NULL) {
        virDomainFree(by_name);
    }
    if (by_uuid != NULL) {
        virDomainFree(by_uuid);
    }
    return found;
}

/* Defines, and patches once more with what only the connection knows: whether the disks are empty.
 */
static gboolean create(DkvmCli *cli, const DkvmPatched *patched, GError **error)
{
    virDomainPtr domain = virDomainDefineXMLFlags(cli->conn, patched->xml, 0);
    if (domain == NULL) {
        return dkvm_libvirt_error(
            error, "define", patched->name,
            "--diff shows what was to be defined; choose otherwise with --set, "
            "or change what libvirt names in the file");
    }
    Work work = {cli, domain};
    gboolean stored = FALSE;
    g_autoptr(DkvmPatched) again =
        dkvm_connection_update(domain, make, &work, TRUE, &stored, error);
    virDomainFree(domain);
    return again != NULL;
}

static void create_one(DkvmCli *cli, const char *path)
{
    const DkvmOptions *o = cli->options;
    const DkvmDomainState state = {
        .from_file = TRUE, .disks_empty = DKVM_UNKNOWN, .own_emulator = DKVM_UNKNOWN};
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmPatched) patched = NULL;
    g_autofree char *then = NULL;
    gsize length = 0;
    gboolean created = FALSE;
    g_autofree char *text = dkvm_file_read(path, DKVM_XML_MAX_BYTES, &length, &error);
    if (text != NULL) {
        patched = dkvm_cli_apply(cli, text, length, path, &state, &error);
    }
    if (patched != NULL && !exists(cli, patched, &error) && !o->diff && !o->dry_run) {
        created = create(cli, patched, &error);
    }
    if (created) {
        g_autofree char *quoted = g_shell_quote(patched->name);
        then = g_strdup_printf("start it with: virsh start %s", quoted);
    }
    dkvm_cli_report(cli, patched ? patched->name : path, patched, created, then, error);
}

void dkvm_cli_create(DkvmCli *cli)
{
    for (char **path = cli->options->operands; *path != NULL; path++) {
        create_one(cli, *path);
    }
}
