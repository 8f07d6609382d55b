/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The marker: written and read back, and what a hostile one can do (nothing). */
#include "tests/unit/helpers.h"
#include "xslt/marker.h"

static char *domain_with(const char *attributes, const char *body)
{
    g_autofree char *marker =
        g_strdup_printf("  <dkvm:darwin xmlns:dkvm='urn:dkvm:domain:1.0' %s>%s"
                        "</dkvm:darwin>\n  </metadata>",
                        attributes, body);
    g_autoptr(GString) text = g_string_new(plain_domain);
    g_string_replace(text, "</metadata>", marker, 1);
    return g_strdup(text->str);
}

static DkvmMarker *read_marker(const char *text, GError **error)
{
    g_autoptr(DkvmDoc) doc = must_parse(text);
    return dkvm_marker_read(xmlDocGetRootElement(doc), error);
}

/* ---- refused ---- */

#define SET(at, was, now)                                                                          \
    "<dkvm:set at='" at "'><dkvm:was>" was "</dkvm:was><dkvm:now>" now "</dkvm:now></dkvm:set>"
#define ADD(at, now) "<dkvm:add at='" at "'>" now "</dkvm:add>"
#define REMOVE(at, more, was) "<dkvm:remove at='" at "' " more ">" was "</dkvm:remove>"

static const struct {
    const char *name, *body;
} nonsense[] = {
    {"unknown-kind", "<dkvm:move at='cpu'><cpu/></dkvm:move>"},
    {"no-at", "<dkvm:add><cpu/></dkvm:add>"},
    {"empty-at", ADD("", "<domain/>")},
    {"other-name", ADD("cpu", "<vcpu/>")},
    {"add-of-nothing", ADD("cpu", "")},
    {"add-of-two", ADD("cpu", "<cpu/><cpu/>")},
    {"set-without-was", "<dkvm:set at='cpu'><dkvm:now><cpu/></dkvm:now></dkvm:set>"},
    {"set-without-now", "<dkvm:set at='cpu'><dkvm:was><cpu/></dkvm:was></dkvm:set>"},
    {"set-of-two", SET("cpu", "<cpu/><cpu/>", "<cpu/>")},
    {"remove-of-nothing", REMOVE("cpu", "", "")},
    {"position-word", REMOVE("cpu", "position='x'", "<cpu/>")},
    {"position-negative", REMOVE("cpu", "position='-1'", "<cpu/>")},
    {"position-huge", REMOVE("cpu", "position='4294967296'", "<cpu/>")},
    {"uuid", SET("uuid", "<uuid>a</uuid>", "<uuid>b</uuid>")},
    {"name", SET("name", "<name>a</name>", "<name>b</name>")},
    {"genid", ADD("genid", "<genid/>")},
    {"metadata", REMOVE("metadata", "", "<metadata/>")},
    {"metadata-counted", ADD("metadata#1", "<metadata/>")},
    {"inside-metadata", REMOVE("metadata/x", "", "<x/>")},
    {"graphics", SET("devices/graphics[vnc]", "<graphics passwd='x'/>", "<graphics/>")},
    {"absolute", ADD("/cpu", "<cpu/>")},
    {"empty-step", ADD("os//cpu", "<cpu/>")},
    {"open-end", ADD("os/", "<cpu/>")},
    {"xpath", ADD("cpu | //*", "<cpu/>")},
    {"choice-without-key", "<dkvm:choice value='q35'/>"},
    {"choice-without-value", "<dkvm:choice key='machine'/>"},
    {"choice-unknown", "<dkvm:choice key='format' value='c'/>"},
    {"choice-file", "<dkvm:choice key='smbios' value='file=/etc/passwd'/>"},
    {"choice-type-file", "<dkvm:choice key='smbios' value='type=1,file=/etc/passwd'/>"},
    {"choice-comma", "<dkvm:choice key='cpu-flags' value='+x,y'/>"},
    {"choice-xpath", "<dkvm:choice key='video' value=\"vga' or '1\"/>"},
};

static void test_nonsense(gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = domain_with("schema='1'", data);
    g_autoptr(DkvmMarker) marker = read_marker(text, &error);
    g_assert_null(marker);
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_INPUT);
    assert_contains(error ? error->message : "", "marker");
    g_autoptr(GError) again = NULL;
    g_autoptr(DkvmPatched) reverted = dkvm_revert(text, strlen(text), "test", FALSE, &again);
    g_assert_null(reverted);
    g_assert_error(again, DKVM_ERROR, DKVM_ERROR_INPUT);
}

static void test_schema(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = domain_with("schema='2'", "");
    g_autoptr(DkvmMarker) marker = read_marker(text, &error);
    g_assert_null(marker);
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_INPUT);
}

static void test_too_many(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) body = g_string_new(NULL);
    for (guint i = 0; i < 4097; i++) {
        g_string_append(body, ADD("pm", "<pm/>"));
    }
    g_autofree char *text = domain_with("schema='1'", body->str);
    g_autoptr(DkvmMarker) marker = read_marker(text, &error);
    g_assert_null(marker);
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_INPUT);
}

static void test_no_secret_in_error(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = domain_with("", "<dkvm:choice key='osk' value='hush,hush'/>");
    g_autoptr(DkvmMarker) marker = read_marker(text, &error);
    g_assert_null(marker);
    assert_lacks(error ? error->message : "", "hush");
}

/* ---- harmless ---- */

/* Each with a domain around it: nothing crashes; refused as input, or name, UUID and graphics stay,
 * and what is KEPT is in the result of reverting. */
static const struct {
    const char *name, *body, *kept;
} hostile[] = {
    {"dangling-set", SET("devices/disk[zz]/target", "<target dev='a'/>", "<target dev='b'/>"),
     "dev='sda'"},
    {"dangling-remove", REMOVE("nowhere/x", "", "<x/>"), "<devices>"},
    {"nested-add", ADD("devices", "<devices><disk/></devices>") ADD("devices/disk", "<disk/>"),
     "mac.qcow2"},
    {"add-where-user-has-other", ADD("devices/memballoon", "<memballoon model='none'/>"),
     "<memballoon model='virtio'>"},
    {"add-in-removed", REMOVE("cpu", "", "<cpu mode='x'/>") ADD("cpu/topology", "<topology/>"),
     "<cpu "}, /* somebody's <cpu> stands there */
    {"position-max", REMOVE("devices/watchdog", "position='4294967295'", "<watchdog model='x'/>"),
     "<watchdog model='x'/>"},
    {"remove-twice", REMOVE("pm", "", "<pm/>") REMOVE("pm", "", "<pm/>"), "<pm/>"},
    {"remove-inside-removed", REMOVE("pm", "", "<pm><a/></pm>") REMOVE("pm/a", "", "<a/>"), "<pm>"},
    {"remove-outer-after-inner",
     REMOVE("cpu/model", "", "<model/>") REMOVE("cpu", "", "<cpu mode='y'/>"), "<cpu "},
    {"set-inside-added",
     ADD("devices/sound", "<sound model='ich6'><address type='pci' domain="
                          "'0x0000' bus='0x00' slot='0x04' function='0x0'/></sound>")
         SET("devices/sound/address", "<address bus='1'/>", "<address bus='0x00'/>"),
     "<devices>"},
    {"same-set-twice",
     SET("cpu", "<cpu check='a'/>", "<cpu check='partial'/>")
         SET("cpu", "<cpu check='b'/>", "<cpu check='partial'/>"),
     "check='b'"},
    {"set-text-over-children", SET("clock", "<clock>text</clock>", "<clock offset='utc'/>"),
     "text"},
    {"text-over-what-was-set",
     SET("clock", "<clock>t</clock>", "<clock offset='utc'/>")
         SET("clock/timer[hpet]", "<timer present='yes'/>", "<timer present='no'/>"),
     "t"},
    {"remove-below-text",
     SET("clock", "<clock>t</clock>", "<clock offset='utc'/>")
         REMOVE("clock/timer[kvm]/x", "", "<x/>"),
     "t"},
    {"count-nobody-has", ADD("devices/disk[sda]#4096", "<disk/>"), "mac.qcow2"},
    {"count-overflow", ADD("devices/disk[sda]#99999999999999999999", "<disk/>"), "mac.qcow2"},
    {"foreign-namespace", ADD("*:x", "<y:x xmlns:y='urn:y'/>"), "<devices>"},
    {"qemu-element", ADD("qemu:commandline", "<dkvm:qemu-commandline/>"), "<devices>"},
    {"root-of-everything", ADD("devices", "<devices/>"), "<devices>"},
    {"parent-step", REMOVE("devices/../name", "", "<name>evil</name>"), "<devices>"},
    {"parent-step-set", SET("devices/../name", "<name>evil</name>", "<name>mac</name>"),
     "<devices>"},
    {"deep", ADD("devices/a/b/c/d/e/f/g/h/i/j/k/l", "<l/>"), "<devices>"},
};

static void assert_untouched(const char *xml, const char *kept)
{
    assert_contains(xml, "<name>mac</name>");
    assert_contains(xml, "<uuid>4e013e70-48ce-5f56-8fd3-aaff52ec246e</uuid>");
    assert_contains(xml, "<graphics type='vnc' port='-1' autoport='yes' passwd='secret'/>");
    assert_contains(xml, kept);
}

static void test_hostile(gconstpointer data)
{
    gsize i = GPOINTER_TO_SIZE(data);
    g_autofree char *text =
        domain_with("schema='1' model='&lt;' macos='x' controllers='pci'", hostile[i].body);
    g_autoptr(GError) refused = NULL;
    g_autoptr(DkvmPatched) reverted = dkvm_revert(text, strlen(text), "test", FALSE, &refused);
    if (reverted != NULL) {
        assert_untouched(reverted->xml, hostile[i].kept);
        assert_lacks(reverted->xml, "dkvm:");
    } else {
        g_assert_error(refused, DKVM_ERROR, DKVM_ERROR_INPUT);
    }
    for (gsize h = 0; h < G_N_ELEMENTS(hosts); h++) {
        g_auto(Bench) bench = bench_new(&hosts[h]);
        g_autoptr(GError) error = NULL;
        g_autofree char *patched = try_patch(&bench, text, &as_installed, NULL, &error);
        if (patched == NULL) { /* it may say that it cannot, in a way that a person understands */
            g_assert_cmpint(error->code, >=, DKVM_ERROR_INPUT);
            g_assert_cmpint(error->code, <=, DKVM_ERROR_REFUSED);
            continue;
        }
        assert_untouched(patched, "<devices>");
    }
}

/* ---- written and read back ---- */

static void test_round_trip(void)
{
    g_auto(Bench) bench = bench_new(&hosts[0]);
    Options set = {.key = (char *)"cpu-flags", .value = (char *)"+ssse3,-pcid"};
    g_autofree char *text = must_patch(&bench, plain_domain, &as_empty, &set);
    g_autoptr(DkvmDoc) doc = must_parse(text);
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmMarker) marker = dkvm_marker_read(xmlDocGetRootElement(doc), &error);
    g_assert_no_error(error);
    g_assert_true(marker->present);
    g_assert_false(marker->off);
    g_assert_cmpstr(marker->model, ==, "MacPro7,1");
    g_assert_cmpstr(marker->macos, ==, "14");
    g_assert_cmpstr(marker->controllers, ==, "usb-0 sata-0 pci-0");
    g_assert_cmpstr(g_hash_table_lookup(marker->choices, "cpu-flags"), ==, "+ssse3,-pcid");
    dkvm_marker_write(xmlDocGetRootElement(doc), marker);
    g_autofree char *again = dkvm_xml_serialize(doc);
    g_assert_cmpstr(again, ==, text);
}

/* Attributes that only VIR_DOMAIN_XML_SECURE shows. */
static void test_no_secrets(void)
{
    for (gsize h = 0; h < G_N_ELEMENTS(hosts); h++) {
        g_auto(Bench) bench = bench_new(&hosts[h]);
        g_autofree char *text = must_patch(&bench, plain_domain, &as_empty, NULL);
        g_autofree char *marker = g_strndup(text, strstr(text, "</dkvm:darwin>") - text);
        assert_lacks(marker, "secret");
        assert_lacks(marker, "graphics");
    }
}

static void test_none(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmMarker) marker = read_marker(plain_domain, &error);
    g_assert_no_error(error);
    g_assert_false(marker->present);
    g_assert_cmpuint(marker->changes->list->len, ==, 0);
    dkvm_marker_free(NULL);
}

/* Where a <metadata> of our own goes. */
static void test_place(void)
{
    static const struct {
        const char *before, *after;
    } rows[] = {
        {"<domain/>", "<domain>\n  <metadata>"},
        {"<domain><os/></domain>", "<domain>\n  <metadata>"},
        {"<domain><name>a</name><os/></domain>", "</name>\n  <metadata>"},
        {"<domain><name>a</name><title>t</title><os/></domain>", "</title>\n  <metadata>"},
        {"<domain><name>a</name><description>t</description><os/></domain>",
         "</description>\n  <metadata>"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(DkvmDoc) doc = must_parse(rows[i].before);
        g_autoptr(DkvmMarker) marker = dkvm_marker_read(xmlDocGetRootElement(doc), NULL);
        marker->made = g_strdup("metadata");
        dkvm_marker_write(xmlDocGetRootElement(doc), marker);
        g_autofree char *with = dkvm_xml_serialize(doc);
        assert_contains(with, rows[i].after);
        dkvm_marker_remove(xmlDocGetRootElement(doc));
        dkvm_marker_remove(xmlDocGetRootElement(doc)); /* none left: nothing happens */
        g_autofree char *without = dkvm_xml_serialize(doc), *was = canonical(rows[i].before);
        g_assert_cmpstr(without, ==, was);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(nonsense); i++) {
        g_autofree char *path = g_strdup_printf("/marker/nonsense/%s", nonsense[i].name);
        g_test_add_data_func(path, nonsense[i].body, test_nonsense);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(hostile); i++) {
        g_autofree char *path = g_strdup_printf("/marker/hostile/%s", hostile[i].name);
        g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_hostile);
    }
    g_test_add_func("/marker/schema", test_schema);
    g_test_add_func("/marker/too-many", test_too_many);
    g_test_add_func("/marker/no-secret-in-error", test_no_secret_in_error);
    g_test_add_func("/marker/round-trip", test_round_trip);
    g_test_add_func("/marker/no-secrets", test_no_secrets);
    g_test_add_func("/marker/none", test_none);
    g_test_add_func("/marker/place", test_place);
    return g_test_run();
}
