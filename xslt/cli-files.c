/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/file.h"
#include "lib/output.h"
#include "lib/paths.h"
#include "lib/xml.h"
#include "xslt/cli.h"

/* libvirt's own store: it keeps the definitions in memory and would write over the file. */
static gboolean is_libvirts(const char *path)
{
    g_autofree char *store = dkvm_path("/etc/libvirt/qemu");
    char *real = realpath(path, NULL), *real_store = realpath(store, NULL);
    gboolean inside = real != NULL && real_store != NULL && g_str_has_prefix(real, real_store) &&
                      strchr("/", real[strlen(real_store)]) != NULL;
    free(real);
    free(real_store);
    return inside;
}

static gboolean write_stdout(const char *text, GError **error)
{
    gsize length = strlen(text);
    if (fwrite(text, 1, length, stdout) == length && fflush(stdout) == 0) {
        return TRUE;
    }
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE, "cannot write to standard output: %s",
                g_strerror(errno));
    return FALSE;
}

static gboolean store(const DkvmCli *cli, DkvmOutput *output, const char *path,
                      const DkvmPatched *patched, gboolean *stored, GError **error)
{
    const DkvmOptions *o = cli->options;
    *stored = FALSE;
    if (o->check || o->diff || o->dry_run) {
        return TRUE;
    }
    if (output != NULL) {
        g_autofree char *name = g_path_get_basename(path);
        *stored = dkvm_output_write(output, name, patched->xml, strlen(patched->xml), error);
        return *stored;
    }
    if (!o->in_place) {
        *stored = !o->json;
        return o->json || write_stdout(patched->xml, error);
    }
    if (!patched->changed) {
        return TRUE; /* not even the time stamp */
    }
    *stored = dkvm_file_replace(path, patched->xml, strlen(patched->xml), error);
    return *stored;
}

static void one_file(DkvmCli *cli, DkvmOutput *output, const char *path)
{
    const char *what = g_str_equal(path, "-") ? "standard input" : path;
    const DkvmDomainState state = {
        .from_file = TRUE, .disks_empty = DKVM_UNKNOWN, .own_emulator = DKVM_UNKNOWN};
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmPatched) patched = NULL;
    gboolean stored = FALSE;
    gsize length = 0;
    const char *target = cli->options->in_place ? path : cli->options->output_dir;
    if (target != NULL && is_libvirts(target)) {
        g_set_error(
            &error, DKVM_ERROR, DKVM_ERROR_REFUSED,
            "cannot rewrite %s: it is libvirt's own copy, which libvirt would write over; name "
            "the domain instead: dkvm-patch DOMAIN",
            path);
        dkvm_cli_report(cli, what, NULL, FALSE, NULL, error);
        return;
    }
    g_autofree char *text = dkvm_file_read(path, DKVM_XML_MAX_BYTES, &length, &error);
    if (text != NULL) {
        patched = dkvm_cli_apply(cli, text, length, what, &state, &error);
    }
    if (patched != NULL) {
        store(cli, output, path, patched, &stored, &error);
    }
    dkvm_cli_report(cli, what, patched, stored, NULL, error);
}

static gboolean writes_to_directory(const DkvmOptions *o)
{
    return o->output_dir != NULL && !o->check && !o->diff && !o->dry_run;
}

void dkvm_cli_files(DkvmCli *cli)
{
    const DkvmOptions *o = cli->options;
    g_autoptr(GError) error = NULL;
    DkvmOutput *output = writes_to_directory(o) ? dkvm_output_open(o->output_dir, &error) : NULL;
    for (char **path = o->operands; *path != NULL && error == NULL; path++) {
        one_file(cli, output, *path);
    }
    dkvm_output_close(output, error ? NULL : &error);
    if (error != NULL) {
        dkvm_cli_report(cli, o->output_dir, NULL, FALSE, NULL, error);
    }
}
