/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Differences between two trees, and that taking them back gives the first again (compare.c,
 * change.c, merge.c, undo.c). */
#include "tests/unit/helpers.h"
#include "xslt/compare.h"
#include "xslt/edited.h"
#include "xslt/merge.h"
#include "xslt/undo.h"

#define Q "xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'"

/* The id of the n-th element in document order down to the second level below <domain> is n, as
 * dkvm_compare_number() gives them. */
static const struct {
    const char *name, *base, *target, *changes;
} rows[] = {
    {"nothing", "<domain><a/></domain>", "<domain dkvm-id='0'><a dkvm-id='1'/></domain>", ""},
    {"attribute", "<domain><a b='1'/></domain>",
     "<domain dkvm-id='0'><a dkvm-id='1' b='2'/></domain>", "set a;"},
    {"attribute-gone", "<domain><a b='1'/></domain>",
     "<domain dkvm-id='0'><a dkvm-id='1'/></domain>", "set a;"},
    {"attribute-new", "<domain><a/></domain>", "<domain dkvm-id='0'><a dkvm-id='1' b=''/></domain>",
     "set a;"},
    {"text", "<domain><a>1</a></domain>", "<domain dkvm-id='0'><a dkvm-id='1'>2</a></domain>",
     "set a;"},
    {"text-gone", "<domain><a>1</a></domain>", "<domain dkvm-id='0'><a dkvm-id='1'/></domain>",
     "set a;"},
    {"added", "<domain><a/></domain>", "<domain dkvm-id='0'><a dkvm-id='1'/><b/></domain>",
     "add b;"},
    {"added-first", "<domain><a/></domain>", "<domain dkvm-id='0'><b/><a dkvm-id='1'/></domain>",
     "add b;"},
    {"added-to-empty", "<domain/>", "<domain dkvm-id='0'><b/></domain>", "add b;"},
    {"container-added", "<domain/>", "<domain dkvm-id='0'><pm><x/><y/></pm></domain>",
     "add pm;add pm/x;add pm/y;"},
    {"container-in-container", "<domain/>",
     "<domain dkvm-id='0'><os><firmware><feature name='n'/></firmware></os></domain>",
     "add os;add os/firmware;add os/firmware/feature[n];"},
    {"removed", "<domain><a/><b/></domain>", "<domain dkvm-id='0'><b dkvm-id='2'/></domain>",
     "remove a;"},
    {"removed-last", "<domain><a/><b/></domain>", "<domain dkvm-id='0'><a dkvm-id='1'/></domain>",
     "remove b;"},
    {"removed-of-many", "<domain><a/><a/><a/></domain>",
     "<domain dkvm-id='0'><a dkvm-id='1'/><a dkvm-id='3'/></domain>", "remove a#2;"},
    {"all-removed", "<domain><a/><a/></domain>", "<domain dkvm-id='0'/>", "remove a;remove a#1;"},
    {"inside", "<domain><d><e><f g='1'/></e></d></domain>",
     "<domain dkvm-id='0'><d dkvm-id='1'><e dkvm-id='2'><f g='2'/></e></d></domain>", "set d/e/f;"},
    {"inside-removed", "<domain><d><e><f/></e></d></domain>",
     "<domain dkvm-id='0'><d dkvm-id='1'><e dkvm-id='2'/></d></domain>", "remove d/e/f;"},
    {"inside-added", "<domain><d><e/></d></domain>",
     "<domain dkvm-id='0'><d dkvm-id='1'><e dkvm-id='2'><f/></e></d></domain>", "add d/e/f;"},
    {"copied-twice", "<domain><a b='1'/></domain>",
     "<domain dkvm-id='0'><a b='1' dkvm-id='1'/><a b='1' dkvm-id='1'/></domain>", "add a#1;"},
    {"id-of-another-parent", "<domain><a/><d><e/></d></domain>",
     "<domain dkvm-id='0'><a dkvm-id='1'/><d dkvm-id='2'><e dkvm-id='1'/></d></domain>",
     "add d/e;remove d/e#1;"},
    {"id-out-of-range", "<domain><a/></domain>",
     "<domain dkvm-id='0'><a dkvm-id='1'/><a dkvm-id='99'/><a dkvm-id='x'/></domain>",
     "add a#1;add a#2;"},
    {"option",
     "<domain " Q "><q:commandline><option name='-cpu' value='a'/></q:commandline></domain>",
     "<domain " Q
     " dkvm-id='0'><q:commandline dkvm-id='1'><option dkvm-id='2' name='-cpu' value='b'/>"
     "</q:commandline></domain>",
     "set qemu:commandline/option[-cpu];"},
    {"commandline-added", "<domain/>",
     "<domain dkvm-id='0'><q:commandline " Q "><option name='-usb'/></q:commandline></domain>",
     "add qemu:commandline;add qemu:commandline/option[-usb];"},
};

static char *list(const DkvmChanges *changes)
{
    static const char *const kinds[] = {"set", "add", "remove"};
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < changes->list->len; i++) {
        const DkvmChange *change = changes->list->pdata[i];
        g_string_append_printf(text, "%s %s;", kinds[change->kind], change->at);
    }
    return g_string_free(text, FALSE);
}

static gboolean every(const DkvmChange *change, gpointer data)
{
    return TRUE;
}

/* Applied to a copy it gives the target; taken back it gives the base. */
static void test_row(gconstpointer data)
{
    gsize i = GPOINTER_TO_SIZE(data);
    g_autoptr(DkvmDoc) original = must_parse(rows[i].base), base = must_parse(rows[i].base);
    g_autoptr(DkvmDoc) target = must_parse(rows[i].target);
    xmlNode *domain = xmlDocGetRootElement(original), *seen = xmlDocGetRootElement(base);
    dkvm_merge_link(seen, domain);
    g_autoptr(GPtrArray) numbered = dkvm_compare_number(seen);
    g_autoptr(DkvmChanges) changes = dkvm_compare(numbered, seen, xmlDocGetRootElement(target));
    g_autofree char *is = list(changes);
    g_assert_cmpstr(is, ==, rows[i].changes);
    g_autoptr(GHashTable) made = g_hash_table_new(NULL, NULL);
    for (guint c = 0; c < changes->list->len; c++) {
        dkvm_merge_apply(changes->list->pdata[c], numbered, made);
    }
    g_assert_true(dkvm_node_equal(domain, xmlDocGetRootElement(target)));
    dkvm_edited_look(domain, changes);
    for (guint c = 0; c < changes->list->len; c++) {
        g_assert_false(((DkvmChange *)changes->list->pdata[c])->edited);
    }
    dkvm_undo(domain, changes, every, NULL);
    g_autoptr(DkvmDoc) was = must_parse(rows[i].base);
    g_assert_true(dkvm_node_equal(domain, xmlDocGetRootElement(was)));
}

/* ---- equality ---- */

static void test_node_equal(void)
{
    static const struct {
        const char *a, *b;
        gboolean equal;
    } pairs[] = {
        {"<a b='1' c='2'/>", "<a c='2' b='1'/>", TRUE},
        {"<a dkvm-id='3'/>", "<a/>", TRUE},
        {"<a b='1'/>", "<a dkvm-id='1'/>", FALSE},
        {"<a b='1'/>", "<a/>", FALSE},
        {"<a/>", "<a b='1'/>", FALSE},
        {"<a b='1'/>", "<a c='1'/>", FALSE},
        {"<a/>", "<b/>", FALSE},
        {"<a/>", "<x:a xmlns:x='urn:x'/>", FALSE},
        {"<x:a xmlns:x='urn:x'/>", "<y:a xmlns:y='urn:x'/>", TRUE},
        {"<a>1</a>", "<a>1</a>", TRUE},
        {"<a>1</a>", "<a>2</a>", FALSE},
        {"<a>1</a>", "<a/>", FALSE},
        {"<a><b/><c/></a>", "<a><c/><b/></a>", FALSE},
        {"<a><b/></a>", "<a><b/><b/></a>", FALSE},
        {"<a><b/><!--x--></a>", "<a><b/></a>", TRUE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(pairs); i++) {
        g_autoptr(DkvmDoc) a = must_parse(pairs[i].a), b = must_parse(pairs[i].b);
        gboolean equal = dkvm_node_equal(xmlDocGetRootElement(a), xmlDocGetRootElement(b));
        if (equal != pairs[i].equal) {
            g_test_message("%s %s", pairs[i].a, pairs[i].b);
            g_test_fail();
        }
    }
}

static void test_change_equal(void)
{
    g_autoptr(DkvmDoc) doc = must_parse("<domain><pm/><cpu mode='a'/></domain>");
    const xmlNode *pm = dkvm_xml_child(xmlDocGetRootElement(doc), "pm");
    const xmlNode *cpu = dkvm_xml_child(xmlDocGetRootElement(doc), "cpu");
    g_autoptr(DkvmChanges) changes = dkvm_changes_new();
    const DkvmChange *a = dkvm_changes_add(changes, DKVM_CHANGE_ADD, "pm", NULL, pm, FALSE);
    DkvmChange *b = dkvm_changes_add(changes, DKVM_CHANGE_ADD, "pm", NULL, pm, FALSE);
    b->position = 7; /* shifts with what the user adds */
    g_assert_true(dkvm_change_equal(a, b));
    const DkvmChange *others[] = {
        dkvm_changes_add(changes, DKVM_CHANGE_REMOVE, "pm", pm, NULL, FALSE),
        dkvm_changes_add(changes, DKVM_CHANGE_ADD, "pm#1", NULL, pm, FALSE),
        dkvm_changes_add(changes, DKVM_CHANGE_ADD, "pm", NULL, cpu, FALSE),
        dkvm_changes_add(changes, DKVM_CHANGE_ADD, "pm", pm, pm, FALSE),
    };
    for (gsize i = 0; i < G_N_ELEMENTS(others); i++) {
        g_assert_false(dkvm_change_equal(a, others[i]));
    }
    dkvm_changes_free(NULL);
}

/* ---- copies ---- */

static void test_import(void)
{
    g_autoptr(DkvmDoc) from =
        must_parse("<domain " Q "><q:commandline dkvm-id='4'><q:env name='a'/>"
                   "<!--c--></q:commandline><y:z xmlns:y='urn:y'/></domain>");
    static const struct {
        const char *root, *copy;
    } places[] = {
        {"<domain/>", "<qemu:commandline>"},
        {"<domain xmlns:qemu='urn:other'/>", "<dkvm-qemu:commandline>"},
        {"<domain xmlns:a='http://libvirt.org/schemas/domain/qemu/1.0'/>", "<a:commandline>"},
        {"<domain xmlns='http://libvirt.org/schemas/domain/qemu/1.0'/>", "<qemu:commandline>"},
    };
    const xmlNode *first = dkvm_xml_element(xmlDocGetRootElement(from)->children);
    for (gsize i = 0; i < G_N_ELEMENTS(places); i++) {
        g_autoptr(DkvmDoc) to = must_parse(places[i].root);
        xmlAddChild(xmlDocGetRootElement(to), dkvm_node_import(to, first, FALSE));
        g_autofree char *text = dkvm_xml_serialize(to);
        assert_contains(text, places[i].copy);
        assert_contains(text, "<!--c-->");
        assert_lacks(text, "dkvm-id");
    }
    g_autoptr(DkvmDoc) to = must_parse("<domain/>");
    xmlAddChild(xmlDocGetRootElement(to),
                dkvm_node_import(to, dkvm_xml_element(first->next), TRUE));
    g_autofree char *text = dkvm_xml_serialize(to);
    assert_contains(text, "<y:z xmlns:y='urn:y'/>");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/compare/%s", rows[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_row);
    }
    g_test_add_func("/compare/node-equal", test_node_equal);
    g_test_add_func("/compare/change-equal", test_change_equal);
    g_test_add_func("/compare/import", test_import);
    return g_test_run();
}
