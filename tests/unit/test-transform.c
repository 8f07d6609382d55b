/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stylesheets: what they may not do, and how they say what they want. */
#include <glib/gstdio.h>

#include "tests/unit/helpers.h"

#define SHEET(body)                                                                                \
    "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'>" body         \
    "</xsl:stylesheet>"
#define ROOT(body) SHEET("<xsl:template match='/'>" body "</xsl:template>")

static DkvmDoc *apply(const char *text, GPtrArray *notes, GError **error)
{
    g_autoptr(DkvmStylesheet) sheet = dkvm_stylesheet_new(text, strlen(text), "my.xsl", error);
    if (sheet == NULL) {
        return NULL;
    }
    g_assert_cmpstr(dkvm_stylesheet_name(sheet), ==, "my.xsl");
    g_autoptr(DkvmDoc) input = must_parse("<input><a>1</a></input>");
    return dkvm_stylesheet_apply(sheet, input, notes, error);
}

/* ---- not a stylesheet ---- */

static const char *const not_compiled[][2] = {
    {"nothing", ""},
    {"open", "<xsl:stylesheet"},
    {"doctype", "<!DOCTYPE x>" ROOT("<domain/>")},
    {"entity", "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/os-release'>]>" ROOT("<domain/>")},
    {"import", SHEET("<xsl:import href='/etc/os-release'/>")},
    {"include", SHEET("<xsl:include href='http://127.0.0.1/x.xsl'/>")},
    {"bad-xpath", ROOT("<domain><xsl:value-of select='a['/></domain>")},
};

static void test_not_compiled(gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmStylesheet) sheet = dkvm_stylesheet_new(data, strlen(data), "my.xsl", &error);
    g_assert_null(sheet);
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_INPUT);
    assert_contains(error ? error->message : "", "my.xsl");
}

/* ---- compiled, but not done ---- */

static const char *const not_done[][2] = {
    {"no-root", ROOT("")},
    {"text-only", ROOT("x")},
    {"other-root", ROOT("<network/>")},
    {"other-namespace", ROOT("<d:domain xmlns:d='urn:d'/>")},
    {"endless", SHEET("<xsl:template match='/' name='t'><domain><xsl:call-template name='t'/>"
                      "</domain></xsl:template>")},
    {"endless-variables",
     SHEET("<xsl:template match='/'><domain><xsl:call-template name='t'/></domain></xsl:template>"
           "<xsl:template name='t'><xsl:variable name='v' select='1'/>"
           "<xsl:call-template name='t'/></xsl:template>")},
    {"unknown-function", ROOT("<domain><xsl:value-of select='frob(1)'/></domain>")},
    {"terminate", ROOT("<domain/><xsl:message terminate='yes'>over</xsl:message>")},
    {"many-operations",
     SHEET("<xsl:variable "
           "name='t'>xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx</xsl:variable>"
           "<xsl:template match='/'><domain><xsl:call-template name='t'>"
           "<xsl:with-param name='n' select='24'/></xsl:call-template></domain></xsl:template>"
           "<xsl:template name='t'><xsl:param name='n'/><xsl:if test='$n &gt; 0'>"
           "<xsl:call-template name='t'><xsl:with-param name='n' select='$n - "
           "1'/></xsl:call-template>"
           "<xsl:call-template name='t'><xsl:with-param name='n' select='$n - "
           "1'/></xsl:call-template>"
           "</xsl:if></xsl:template>")},
};

static void test_not_done(gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(DkvmDoc) doc = apply(data, notes, &error);
    g_assert_null(doc);
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_HOST);
    assert_contains(error ? error->message : "", "my.xsl");
}

/* ---- files and network ---- */

#define EXSL                                                                                       \
    "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform' "              \
    "xmlns:exsl='http://exslt.org/common' xmlns:x='http://icl.com/saxon' "                         \
    "extension-element-prefixes='exsl x'><xsl:template match='/'><domain>"

static const char *const reading[][2] = {
    {"document", ROOT("<domain><xsl:copy-of select=\"document('/etc/os-release')\"/>"
                      "<xsl:copy-of select=\"document('%s')\"/></domain>")},
    {"document-url", ROOT("<domain><xsl:copy-of select=\"document('file://%s')\"/></domain>")},
    {"document-itself",
     ROOT("<domain><xsl:copy-of select=\"document('%s', /)//secret\"/></domain>")},
};

static void test_reading(gconstpointer data)
{
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "dkvm-test-XXXXXX", NULL);
    gint fd = g_mkstemp(path);
    g_assert_true(g_file_set_contents(path, "<secret>hush</secret>", -1, NULL));
    g_autoptr(GString) text = g_string_new(data);
    g_string_replace(text, "%s", path, 0);
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(DkvmDoc) doc = apply(text->str, notes, NULL);
    g_autofree char *out = doc ? dkvm_xml_serialize(doc) : g_strdup("");
    assert_lacks(out, "hush");
    g_close(fd, NULL);
    g_remove(path);
}

static const char *const writing[][2] = {
    {"exsl",
     EXSL "<exsl:document href='%s'>x</exsl:document></domain></xsl:template></xsl:stylesheet>"},
    {"saxon", EXSL "<x:output href='%s'>x</x:output></domain></xsl:template></xsl:stylesheet>"},
    {"xslt11", "<xsl:stylesheet version='1.1' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'>"
               "<xsl:template match='/'><domain><xsl:document href='%s'>x</xsl:document></domain>"
               "</xsl:template></xsl:stylesheet>"},
};

static void test_writing(gconstpointer data)
{
    g_autofree char *dir = g_dir_make_tmp("dkvm-test-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "sub", "file", NULL);
    g_autofree char *direct = g_build_filename(dir, "file", NULL);
    const char *const targets[] = {path, direct};
    for (gsize i = 0; i < G_N_ELEMENTS(targets); i++) {
        g_autoptr(GString) text = g_string_new(data);
        g_string_replace(text, "%s", targets[i], 0);
        g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(DkvmDoc) doc = apply(text->str, notes, NULL);
        g_assert_true(doc == NULL || xmlDocGetRootElement(doc) != NULL);
        g_assert_false(g_file_test(targets[i], G_FILE_TEST_EXISTS));
    }
    g_assert_cmpint(g_rmdir(dir), ==, 0); /* and nothing else is in it */
}

/* ---- what they say ---- */

static void test_verdicts(void)
{
    static const struct {
        const char *text;
        gint code;
        const char *message;
    } rows[] = {
        {ROOT("<xsl:message terminate='yes'>4|no firmware</xsl:message>"), DKVM_ERROR_HOST,
         "no firmware"},
        {ROOT("<xsl:message terminate='yes'>7|refused: a|b</xsl:message>"), DKVM_ERROR_REFUSED,
         "refused: a|b"},
        {ROOT("<xsl:message>note|x</xsl:message><xsl:message terminate='yes'>3|y</xsl:message>"),
         DKVM_ERROR_INPUT, "y"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(DkvmDoc) doc = apply(rows[i].text, notes, &error);
        g_assert_null(doc);
        g_assert_error(error, DKVM_ERROR, rows[i].code);
        g_assert_cmpstr(error->message, ==, rows[i].message);
    }
}

/* Codes are exit codes: a stylesheet cannot say that all is well, or something that no program
 * says. */
static void test_verdict_out_of_range(void)
{
    static const char *const texts[] = {
        ROOT("<xsl:message terminate='yes'>0|fine</xsl:message>"),
        ROOT("<xsl:message terminate='yes'>1|not patched</xsl:message>"),
        ROOT("<xsl:message terminate='yes'>9|nine</xsl:message>"),
    };
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(DkvmDoc) doc = apply(texts[i], notes, &error);
        g_assert_null(doc);
        g_assert_cmpint(error->code, >=, DKVM_ERROR_USAGE);
        g_assert_cmpint(error->code, <=, DKVM_ERROR_REFUSED);
    }
}

static void test_notes(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(DkvmDoc) doc = apply(ROOT("<domain><xsl:value-of select='/input/a'/></domain>"
                                        "<xsl:message>note|one</xsl:message>"
                                        "<xsl:message>chatter</xsl:message>"
                                        "<xsl:message>warning|two</xsl:message>"),
                                   notes, &error);
    g_assert_no_error(error);
    g_autofree char *out = dkvm_xml_serialize(doc);
    g_assert_cmpstr(out, ==, "<domain>1</domain>\n");
    g_assert_cmpuint(notes->len, ==, 2);
    g_assert_cmpstr(notes->pdata[0], ==, "note|one");
    g_assert_cmpstr(notes->pdata[1], ==, "warning|two");
}

static void test_free_nothing(void)
{
    dkvm_stylesheet_free(NULL);
}

static void add_all(const char *group, const char *const (*rows)[2], gsize n, GTestDataFunc test)
{
    for (gsize i = 0; i < n; i++) {
        g_autofree char *path = g_strdup_printf("/transform/%s/%s", group, rows[i][0]);
        g_test_add_data_func(path, rows[i][1], test);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    add_all("not-compiled", not_compiled, G_N_ELEMENTS(not_compiled), test_not_compiled);
    add_all("not-done", not_done, G_N_ELEMENTS(not_done), test_not_done);
    add_all("reading", reading, G_N_ELEMENTS(reading), test_reading);
    add_all("writing", writing, G_N_ELEMENTS(writing), test_writing);
    g_test_add_func("/transform/verdicts", test_verdicts);
    g_test_add_func("/transform/verdict-out-of-range", test_verdict_out_of_range);
    g_test_add_func("/transform/notes", test_notes);
    g_test_add_func("/transform/free-nothing", test_free_nothing);
    return g_test_run();
}
