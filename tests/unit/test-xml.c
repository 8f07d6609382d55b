/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading what nobody has to be trusted for, and writing it as libvirt does. */
#include "tests/unit/helpers.h"

static GError *refusal(const char *text, gsize length)
{
    GError *error = NULL;
    g_autoptr(DkvmDoc) doc = dkvm_xml_parse(text, length, "the file", &error);
    g_assert_null(doc);
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_INPUT);
    assert_contains(error ? error->message : "", "the file");
    return error;
}

/* ---- refused ---- */

static const char *const evil[][2] = {
    {"nothing", ""},
    {"blank", " \n"},
    {"text", "hello"},
    {"open", "<domain>"},
    {"two-roots", "<a/><b/>"},
    {"undeclared-entity", "<a>&x;</a>"},
    {"attribute-twice", "<a b='1' b='2'/>"},
    {"bad-utf8", "<a>\xff</a>"},
    {"control", "<a>\x01</a>"},
    {"empty-doctype", "<!DOCTYPE a><a/>"},
    {"doctype-system", "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>"},
    {"doctype-public", "<!DOCTYPE a PUBLIC 'x' 'http://127.0.0.1/'><a/>"},
    {"internal-subset", "<!DOCTYPE a [<!ELEMENT a ANY>]><a/>"},
    {"xxe", "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/os-release'>]><a>&x;</a>"},
    {"parameter-entity", "<!DOCTYPE a [<!ENTITY % x SYSTEM 'file:///etc/os-release'> %x;]><a/>"},
    {"bomb", "<!DOCTYPE a [<!ENTITY b 'bbbb'><!ENTITY c '&b;&b;&b;'>]><a>&c;</a>"},
    {"doctype-late", "<a/><!DOCTYPE a>"},
};

static void test_evil(gconstpointer data)
{
    g_autoptr(GError) error = refusal(data, strlen(data));
    g_assert_nonnull(error);
}

/* What the file holds must not make a message that no terminal and no JSON can show. */
static void test_message_is_text(void)
{
    static const char *const texts[] = {"<a \xff='1'/>", "<a><\xc3(></a>", "<\xe4/>", "<a></\xe4>"};
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = refusal(texts[i], strlen(texts[i]));
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
    }
}

static void test_doctype_is_named(void)
{
    g_autoptr(GError) error = refusal("<!DOCTYPE a><a/>", 16);
    assert_contains(error->message, "DOCTYPE");
}

static char *nested(guint levels)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < levels; i++) {
        g_string_append(text, "<a>");
    }
    for (guint i = 0; i < levels; i++) {
        g_string_append(text, "</a>");
    }
    return g_string_free(text, FALSE);
}

static void test_depth(void)
{
    g_autofree char *most = nested(DKVM_XML_MAX_DEPTH), *more = nested(DKVM_XML_MAX_DEPTH + 1);
    g_autofree char *far = nested(100000);
    g_autoptr(DkvmDoc) doc = must_parse(most);
    g_autofree char *text = dkvm_xml_serialize(doc);
    g_assert_nonnull(text);
    g_autoptr(GError) error = refusal(more, strlen(more));
    assert_contains(error->message, "64 deep");
    g_autoptr(GError) other = refusal(far, strlen(far));
    g_assert_nonnull(other);
}

static void test_size(void)
{
    g_autofree char *text = g_malloc(DKVM_XML_MAX_BYTES + 1);
    memset(text, ' ', DKVM_XML_MAX_BYTES + 1);
    memcpy(text, "<a/>", 4);
    g_autoptr(DkvmDoc) doc = dkvm_xml_parse(text, DKVM_XML_MAX_BYTES, "the file", NULL);
    g_assert_nonnull(doc);
    g_autoptr(GError) error = refusal(text, DKVM_XML_MAX_BYTES + 1);
    assert_contains(error->message, "4194304");
}

/* LENGTH decides, not a terminator. */
static void test_length(void)
{
    g_autoptr(DkvmDoc) doc = dkvm_xml_parse("<a/>junk", 4, "x", NULL);
    g_assert_nonnull(doc);
    g_autoptr(GError) error = refusal("<a/>\0<b>", 8);
    g_assert_nonnull(error);
}

/* ---- written ---- */

static const struct {
    const char *name, *text, *written;
} forms[] = {
    {"empty", "<a></a>", "<a/>\n"},
    {"declaration", "<?xml version='1.0'?><a/>", "<a/>\n"},
    {"encoding", "<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe4</a>", "<a>\xc3\xa4</a>\n"},
    {"quotes", "<a b=\"it's\" c='\"'/>", "<a b='it&apos;s' c='&quot;'/>\n"},
    {"markup", "<a b='&lt;&gt;&amp;'>&lt;&gt;&amp;'\"</a>",
     "<a b='&lt;&gt;&amp;'>&lt;&gt;&amp;'\"</a>\n"},
    {"controls", "<a b='&#10;&#9;&#13;'>x&#13;\t\n</a>", "<a b='&#10;&#9;&#13;'>x&#13;\t\n</a>\n"},
    {"indent", "<a><b><c/></b></a>", "<a>\n  <b>\n    <c/>\n  </b>\n</a>\n"},
    {"blanks", "<a>\n\n   <b/>\n</a>", "<a>\n  <b/>\n</a>\n"},
    {"lone-line-break", "<a><b>\n</b></a>", "<a>\n  <b/>\n</a>\n"},
    {"lone-blank-is-text", "<a><b> </b></a>", "<a>\n  <b> </b>\n</a>\n"},
    {"cdata", "<a><![CDATA[<x>&]]></a>", "<a>&lt;x&gt;&amp;</a>\n"},
    {"comment", "<!--x--><a><!-- y --></a><!--z-->",
     "<!--x-->\n<a>\n  <!-- y -->\n</a>\n<!--z-->\n"},
    {"instruction", "<a><?p q?><?r?></a>", "<a>\n  <?p q?>\n  <?r?>\n</a>\n"},
    {"namespace-last", "<a xmlns:x='urn:x' b='c'><x:d x:e='f'/></a>",
     "<a b='c' xmlns:x='urn:x'>\n  <x:d x:e='f'/>\n</a>\n"},
    {"default-namespace", "<a xmlns='urn:x'/>", "<a xmlns='urn:x'/>\n"},
    {"namespace-value", "<a xmlns:x=\"urn:'&amp;\"/>", "<a xmlns:x='urn:&apos;&amp;'/>\n"},
    {"padded-text", "<a>  x  </a>", "<a>  x  </a>\n"},
    {"char-reference", "<a>&#228;&#x1F600;</a>", "<a>\xc3\xa4\xf0\x9f\x98\x80</a>\n"},
    {"empty-attribute", "<a b=''/>", "<a b=''/>\n"},
};

static void test_form(gconstpointer data)
{
    gsize i = GPOINTER_TO_SIZE(data);
    g_autofree char *once = canonical(forms[i].text);
    g_assert_cmpstr(once, ==, forms[i].written);
    g_autofree char *twice = canonical(once);
    g_assert_cmpstr(twice, ==, once);
}

static void test_golden_is_stable(void)
{
    g_autoptr(GPtrArray) inputs = golden_inputs();
    for (guint i = 0; i < inputs->len; i++) {
        const Golden *golden = inputs->pdata[i];
        g_autofree char *once = canonical(golden->text), *twice = canonical(once);
        g_assert_cmpstr(once, ==, twice);
    }
}

/* ---- looking around ---- */

static void test_helpers(void)
{
    g_autoptr(DkvmDoc) doc =
        must_parse("<a b='1' x:c='2' d='' xmlns:x='urn:x'><!--c--><x:e/><e f='g'/></a>");
    xmlNode *a = xmlDocGetRootElement(doc);
    g_assert_cmpstr(dkvm_xml_get(a, "b"), ==, "1");
    g_assert_null(dkvm_xml_get(a, "c")); /* in a namespace */
    g_assert_cmpstr(dkvm_xml_get(a, "d"), ==, "");
    g_assert_null(dkvm_xml_get(NULL, "b"));
    g_assert_null(dkvm_xml_child(NULL, "e"));
    g_assert_null(dkvm_xml_child(a, "nope"));
    g_assert_cmpstr(dkvm_xml_get(dkvm_xml_child(a, "e"), "f"), ==, "g");
    g_assert_true(dkvm_xml_child_ns(a, "e", "urn:x") == dkvm_xml_element(a->children));
    g_assert_false(dkvm_xml_is(dkvm_xml_element(a->children), "e"));
    g_assert_false(dkvm_xml_is(NULL, "e"));
    g_assert_false(dkvm_xml_is(a->children, "e")); /* a comment */
    g_autofree char *text = dkvm_xml_text(a), *none = dkvm_xml_text(NULL);
    g_assert_cmpstr(text, ==, "");
    g_assert_cmpstr(none, ==, "");
    dkvm_xml_set(a, "b", NULL);
    dkvm_xml_set(a, "b", NULL);
    dkvm_xml_set(a, "n", "<&'\">");
    g_assert_null(dkvm_xml_get(a, "b"));
    g_assert_cmpstr(dkvm_xml_get(a, "n"), ==, "<&'\">");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(evil); i++) {
        g_autofree char *path = g_strdup_printf("/xml/refused/%s", evil[i][0]);
        g_test_add_data_func(path, evil[i][1], test_evil);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(forms); i++) {
        g_autofree char *path = g_strdup_printf("/xml/written/%s", forms[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_form);
    }
    g_test_add_func("/xml/doctype-is-named", test_doctype_is_named);
    g_test_add_func("/xml/message-is-text", test_message_is_text);
    g_test_add_func("/xml/depth", test_depth);
    g_test_add_func("/xml/size", test_size);
    g_test_add_func("/xml/length", test_length);
    g_test_add_func("/xml/golden", test_golden_is_stable);
    g_test_add_func("/xml/helpers", test_helpers);
    return g_test_run();
}
