/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/transform.h"

#include <libxml/parser.h>
#include <libxslt/documents.h>
#include <libxslt/security.h>
#include <libxslt/transform.h>
#include <libxslt/xslt.h>
#include <libxslt/xsltInternals.h>
#include <libxslt/xsltutils.h>
#include <string.h>

#include "lib/error.h"

#define MAX_OPERATIONS 5000000UL
#define MAX_DEPTH 200
#define MAX_VARIABLES 4000
#define MAX_MESSAGE 4096

struct DkvmStylesheet {
    xsltStylesheet *sheet;
    char *name;
};

/* ---- what libxslt says ---- */

/* Where this thread collects it.  libxslt has one function for all threads (error.h:
 * xsltSetGenericErrorFunc), so the function is set once and asks whose text it is. */
static _Thread_local GString *collected;

/* libxslt hands an error over in pieces. */
static void G_GNUC_PRINTF(2, 3) collect(void *data, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (collected != NULL && collected->len < MAX_MESSAGE) {
        g_string_append_vprintf(collected, format, arguments);
    }
    va_end(arguments);
}

/* libxml2's function is each thread's own. */
static void collect_into(GString *said)
{
    collected = said;
    xmlSetGenericErrorFunc(NULL, collect);
}

static void collect_no_more(void)
{
    collected = NULL;
    xmlSetGenericErrorFunc(NULL, NULL);
}

/* ---- everything forbidden ---- */

static xsltSecurityPrefs *forbid_all(void)
{
    static const xsltSecurityOption options[] = {
        XSLT_SECPREF_READ_FILE, XSLT_SECPREF_WRITE_FILE, XSLT_SECPREF_CREATE_DIRECTORY,
        XSLT_SECPREF_READ_NETWORK, XSLT_SECPREF_WRITE_NETWORK};
    xsltSecurityPrefs *prefs = xsltNewSecurityPrefs();
    for (gsize i = 0; prefs != NULL && i < G_N_ELEMENTS(options); i++) {
        if (xsltSetSecurityPrefs(prefs, options[i], xsltSecurityForbid) != 0) {
            xsltFreeSecurityPrefs(prefs);
            return NULL;
        }
    }
    return prefs;
}

/* Stylesheets and document() load through this; libxslt's own loader reads files even where the
 * preferences say no (it asks them for some paths only). */
static xmlDoc *load_nothing(const xmlChar *uri, xmlDict *dict, int options, void *context,
                            xsltLoadType type)
{
    return NULL;
}

/* The preferences, once; NULL if libxslt could not set them, and then nothing is applied at all. */
static xsltSecurityPrefs *security(void)
{
    static xsltSecurityPrefs *prefs = NULL;
    static gsize done = 0;
    if (g_once_init_enter(&done)) {
        xsltInit();
        prefs = forbid_all();
        xsltSetDefaultSecurityPrefs(prefs);
        xsltSetLoaderFunc(load_nothing);
        xsltSetGenericErrorFunc(NULL, collect);
        g_once_init_leave(&done, 1);
    }
    return prefs;
}

/* ---- messages ---- */

/* "N|text" at the start of a line: an exit code (of those that a domain or host can cause) and its
 * message. */
static gboolean take_verdict(const char *said, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(said, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        if (strchr("347", (*line)[0]) != NULL && (*line)[0] != '\0' && (*line)[1] == '|') {
            g_set_error_literal(error, DKVM_ERROR, (*line)[0] - '0', *line + 2);
            return TRUE;
        }
    }
    return FALSE;
}

static void take_notes(const char *said, GPtrArray *notes)
{
    g_auto(GStrv) lines = g_strsplit(said, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        if (g_str_has_prefix(*line, "note|") || g_str_has_prefix(*line, "warning|")) {
            g_ptr_array_add(notes, g_strdup(*line));
        }
    }
}

static void set_failure(GError **error, const DkvmStylesheet *sheet, GString *said)
{
    /* libxslt dumps its stack after the reason. */
    g_strstrip(said->str);
    said->str[strcspn(said->str, "\n")] = '\0';
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_HOST, "cannot apply the stylesheet %s: %s",
                sheet->name,
                *said->str ? said->str : "it has no <domain> as its result; correct or remove it");
}

/* ---- the object ---- */

static xmlDoc *parse_sheet(const char *text, gsize length, const char *name, GError **error)
{
    xmlDoc *doc = xmlReadMemory(text, (int)length, NULL, NULL,
                                XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (doc == NULL || doc->intSubset != NULL || doc->extSubset != NULL) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "cannot read the stylesheet %s: %s; correct or remove it", name,
                    doc ? "it has a DOCTYPE" : "it is not well-formed XML");
        xmlFreeDoc(doc);
        return NULL;
    }
    return doc;
}

DkvmStylesheet *dkvm_stylesheet_new(const char *text, gsize length, const char *name,
                                    GError **error)
{
    g_autoptr(GString) said = g_string_new(NULL);
    if (security() == NULL) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_HOST,
                    "cannot use the stylesheet %s: libxslt does not let itself be secured", name);
        return NULL;
    }
    xmlDoc *doc = parse_sheet(text, length, name, error);
    if (doc == NULL) {
        return NULL;
    }
    collect_into(said);
    xsltStylesheet *compiled = xsltParseStylesheetDoc(doc);
    collect_no_more();
    /* A warning is an instruction that libxslt does not know and would leave out. */
    if (compiled == NULL || compiled->errors > 0 || compiled->warnings > 0) {
        g_strchomp(said->str);
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "cannot use the stylesheet %s: %s; correct or remove it", name, said->str);
        compiled ? xsltFreeStylesheet(compiled) : xmlFreeDoc(doc);
        return NULL;
    }
    DkvmStylesheet *sheet = g_new0(DkvmStylesheet, 1);
    sheet->sheet = compiled;
    sheet->name = g_strdup(name);
    return sheet;
}

void dkvm_stylesheet_free(DkvmStylesheet *sheet)
{
    if (sheet == NULL) {
        return;
    }
    xsltFreeStylesheet(sheet->sheet);
    g_free(sheet->name);
    g_free(sheet);
}

const char *dkvm_stylesheet_name(const DkvmStylesheet *sheet)
{
    return sheet->name;
}

static xsltTransformContext *new_context(DkvmStylesheet *sheet, DkvmDoc *input)
{
    xsltTransformContext *context = xsltNewTransformContext(sheet->sheet, input);
    if (context == NULL || xsltSetCtxtSecurityPrefs(security(), context) != 0) {
        xsltFreeTransformContext(context);
        return NULL;
    }
    context->opLimit = MAX_OPERATIONS;
    context->xpathCtxt->opLimit = MAX_OPERATIONS;
    context->maxTemplateDepth = MAX_DEPTH;
    context->maxTemplateVars = MAX_VARIABLES;
    xsltSetTransformErrorFunc(context, NULL, collect);
    return context;
}

DkvmDoc *dkvm_stylesheet_apply(DkvmStylesheet *sheet, DkvmDoc *input, GPtrArray *notes,
                               GError **error)
{
    g_autoptr(GString) said = g_string_new(NULL);
    xsltTransformContext *context = new_context(sheet, input);
    if (context == NULL) {
        set_failure(error, sheet, said);
        return NULL;
    }
    collect_into(said); /* its stack at the depth limit too */
    g_autoptr(DkvmDoc) result =
        xsltApplyStylesheetUser(sheet->sheet, input, NULL, NULL, NULL, context);
    collect_no_more();
    gboolean good = result != NULL && context->state == XSLT_STATE_OK;
    xsltFreeTransformContext(context);
    if (!good) {
        if (!take_verdict(said->str, error)) {
            set_failure(error, sheet, said);
        }
        return NULL;
    }
    xmlNode *root = xmlDocGetRootElement(result);
    if (root == NULL || !dkvm_xml_is(root, "domain")) {
        set_failure(error, sheet, said);
        return NULL;
    }
    take_notes(said->str, notes);
    return g_steal_pointer(&result);
}
