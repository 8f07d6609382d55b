/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Words to options and back. */
#include "tests/unit/helpers.h"
#include "xslt/commandline.h"

#define DOMAIN(prefix, body)                                                                       \
    "<domain xmlns:" prefix "='http://libvirt.org/schemas/domain/qemu/1.0'><" prefix               \
    ":commandline>" body "</" prefix ":commandline></domain>"
#define DEFAULT_NAMESPACE                                                                          \
    "<domain><commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'>"                     \
    "<arg value='-x'/><arg value='y'/></commandline></domain>"
#define ARG(value) "<q:arg value='" value "'/>"

static const struct {
    const char *name, *words, *options;
} rows[] = {
    {"pair", ARG("-cpu") ARG("a"), "<option name='-cpu' value='a'/>"},
    {"alone", ARG("-usb"), "<option name='-usb'/>"},
    {"two-alone", ARG("-usb") ARG("-S"), "<option name='-usb'/><option name='-S'/>"},
    {"alone-then-pair", ARG("-usb") ARG("-cpu") ARG("a"),
     "<option name='-usb'/><option name='-cpu' value='a'/>"},
    {"two-values", ARG("-cpu") ARG("a") ARG("b"),
     "<option name='-cpu' value='a'/><option value='b'/>"},
    {"value-first", ARG("a") ARG("-cpu"), "<option value='a'/><option name='-cpu'/>"},
    {"empty-value", ARG("-cpu") ARG(""), "<option name='-cpu' value=''/>"},
    {"env-between", ARG("-cpu") "<q:env name='A'/>" ARG("a"),
     "<option name='-cpu'/><q:env name='A'/><option value='a'/>"},
    {"no-value-attribute", "<q:arg/>" ARG("a"), "<q:arg/><option value='a'/>"},
    {"foreign-arg", "<arg value='-x'/>" ARG("-y"), "<arg value='-x'/><option name='-y'/>"},
    {"comment-first", "<!--c-->" ARG("-cpu") ARG("a"), "<!--c--><option name='-cpu' value='a'/>"},
    {"nothing", "", ""},
};

/* The text that the tree has when it is written out. */
static char *bodied(const char *body)
{
    g_autofree char *text = g_strdup_printf(DOMAIN("q", "%s"), body);
    return canonical(text);
}

static void test_row(gconstpointer data)
{
    gsize i = GPOINTER_TO_SIZE(data);
    g_autofree char *words = bodied(rows[i].words), *options = bodied(rows[i].options);
    g_autoptr(DkvmDoc) doc = must_parse(words);
    dkvm_commandline_group(xmlDocGetRootElement(doc));
    g_autofree char *grouped = dkvm_xml_serialize(doc);
    g_assert_cmpstr(grouped, ==, options);
    dkvm_commandline_ungroup(xmlDocGetRootElement(doc));
    g_autofree char *back = dkvm_xml_serialize(doc);
    g_assert_cmpstr(back, ==, words);
}

static void test_prefixes(void)
{
    static const char *const texts[] = {
        DOMAIN("qemu", "<qemu:arg value='-x'/><qemu:arg value='y'/>"),
        DOMAIN("dkvm", "<dkvm:arg value='-x'/><dkvm:arg value='y'/>"),
        DEFAULT_NAMESPACE,
    };
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(DkvmDoc) doc = must_parse(texts[i]);
        xmlNode *domain = xmlDocGetRootElement(doc);
        g_autofree char *was = dkvm_xml_serialize(doc);
        dkvm_commandline_group(domain);
        xmlNode *option =
            dkvm_xml_child(dkvm_xml_child_ns(domain, "commandline", DKVM_NS_QEMU), "option");
        g_assert_cmpstr(dkvm_xml_get(option, "name"), ==, "-x");
        g_assert_cmpstr(dkvm_xml_get(option, "value"), ==, "y");
        dkvm_commandline_ungroup(domain);
        g_autofree char *is = dkvm_xml_serialize(doc);
        g_assert_cmpstr(is, ==, was);
    }
}

static void test_without(void)
{
    g_autoptr(DkvmDoc) doc =
        must_parse("<domain><commandline><arg value='-x'/></commandline></domain>");
    g_autofree char *was = dkvm_xml_serialize(doc);
    dkvm_commandline_group(xmlDocGetRootElement(doc));
    dkvm_commandline_ungroup(xmlDocGetRootElement(doc));
    g_autofree char *is = dkvm_xml_serialize(doc);
    g_assert_cmpstr(is, ==, was);
}

/* "Every <qemu:commandline>": libvirt takes the first, but words must not get lost in another. */
static void test_two_commandlines(void)
{
    g_autoptr(DkvmDoc) doc = must_parse(
        "<domain xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:commandline><q:arg "
        "value='-x'/></q:commandline><q:commandline><q:arg value='-y'/></q:commandline></domain>");
    g_autofree char *was = dkvm_xml_serialize(doc);
    dkvm_commandline_group(xmlDocGetRootElement(doc));
    dkvm_commandline_ungroup(xmlDocGetRootElement(doc));
    g_autofree char *is = dkvm_xml_serialize(doc);
    g_assert_cmpstr(is, ==, was);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/commandline/%s", rows[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_row);
    }
    g_test_add_func("/commandline/prefixes", test_prefixes);
    g_test_add_func("/commandline/without", test_without);
    g_test_add_func("/commandline/two", test_two_commandlines);
    return g_test_run();
}
