/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the parts of dkvm-patch share: the parsed command line, the outcome of each operand, and the
 * host's facts with everything made from them. */
#pragma once

#include <libvirt/libvirt.h>

#include "lib/config.h"
#include "xslt/patch.h"

typedef struct {
    char *connect; /* -c */
    gboolean file, in_place, all, diff, dry_run, revert, forget, check, create, json;
    char *output_dir;  /* -o */
    char *facts;       /* --facts */
    const char *model; /* -m, our spelling */
    DkvmMacos macos;   /* --macos */
    GHashTable *set;   /* -s: key -> value or "auto" */
    char **operands;   /* never NULL */
    char *explain;     /* --explain-topology */
    gboolean print_facts, list_models, version;
} DkvmOptions;

/* Parses the command line.  Returns FALSE with an error whose code is the exit code.  --help prints
 * and exits 0. */
gboolean dkvm_options_parse(DkvmOptions *options, int *argc, char ***argv, GError **error);
void dkvm_options_clear(DkvmOptions *options);

/* A program run. */
typedef struct {
    const DkvmOptions *options;
    DkvmConfig *config;
    virConnectPtr conn; /* NULL for plain files */
    DkvmFacts *facts;   /* made when first needed */
    GPtrArray *admin;
    DkvmPatcher *patcher; /* made when first needed; NULL for --revert */
    int exit_code;        /* the highest so far */
    GPtrArray *outcomes;  /* JsonNode*, for --json */
} DkvmCli;

/* The patcher for this run; makes facts and patcher at the first call.  NULL with an error. */
DkvmPatcher *dkvm_cli_patcher(DkvmCli *cli, GError **error);
/* The facts: --facts, else the connection's, else this machine's. */
const DkvmFacts *dkvm_cli_facts(DkvmCli *cli, GError **error);

/* Patches or reverts TEXT as the options say. */
DkvmPatched *dkvm_cli_apply(DkvmCli *cli, const char *text, gsize length, const char *what,
                            const DkvmDomainState *state, GError **error);

/* Tells what happened to OBJECT (a domain's name or a file).  PATCHED may be NULL (with ERROR).
 * TEXT: a line for people about what follows ("takes effect at the next start"), or NULL.  Raises
 * the exit code.  STORED: the new definition was written somewhere. */
void dkvm_cli_report(DkvmCli *cli, const char *object, const DkvmPatched *patched, gboolean stored,
                     const char *text, const GError *error);

/* To standard output, in the bytes given (a domain's XML is UTF-8 whatever the locale is).  Whether
 * all of it got there is checked once, at the end of the program. */
void dkvm_cli_print(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* The operands as files, as --create's files, as domains. */
void dkvm_cli_files(DkvmCli *cli);
void dkvm_cli_create(DkvmCli *cli);
void dkvm_cli_domains(DkvmCli *cli);
