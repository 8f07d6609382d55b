/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xslt/models.c, and models.xml as far as the code relies on it. */
#include <glib.h>

#include "xslt/data.h"
#include "xslt/models.h"

static void test_document(void)
{
    xmlDoc *document = dkvm_models_document();

    g_assert_nonnull(document);
    g_assert_true(document == dkvm_models_document());
    g_assert_cmpstr((const char *)xmlDocGetRootElement(document)->name, ==, "models");
}

static gpointer load_in_thread(gpointer unused)
{
    return (gpointer)dkvm_models_cpus();
}

static void test_threads(void)
{
    GThread *threads[8];

    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("load", load_in_thread, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        g_assert_true(g_thread_join(threads[i]) == (gpointer)dkvm_models_cpus());
}

static void test_parse(void)
{
    static const struct {
        const char *text;
        DkvmMacos version;
    } cases[] = {
        {"10.4", 1004},
        {"10.9", 1009},
        {"10.15", 1015},
        {"10.15.7", 1015},
        {"11", 1100},
        {"11.6", 1100},
        {"11.6.8", 1100},
        {"14.2", 1400},
        {"26", 2600},
        {" 14 ", 1400},
        {"sonoma", 1400},
        {"SONOMA", 1400},
        {"macOS Sonoma", 1400},
        {"macos 14", 1400},
        {"macos14.1", 1400},
        {"Mac OS X 10.7", 1007},
        {"OS X Mavericks", 1009},
        {"Mac OS X Mountain Lion", 1008},
        {"high-sierra", 1013},
        {"High Sierra", 1013},
        {"highsierra", 1013},
        {"high_sierra", 1013},
        {"el capitan", 1011},
        {"ElCapitan", 1011},
        {"big-sur", 1100},
        {"sierra", 1012},
        {"tiger", 1004},
        {"tahoe", 2600},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].text);
        g_assert_cmpuint(dkvm_macos_parse(cases[i].text), ==, cases[i].version);
    }
}

static void test_parse_rejects(void)
{
    static const char *const cases[] = {
        "",         " ",       "-",        "macos",      "macOS ",   "10",        "10.3",
        "10.0",     "10.16",   "10.99",    "16",         "17",       "18",        "19",
        "20",       "21",      "22",       "23",         "24",       "25",        "27",
        "9",        "0",       "-14",      "+14",        "014",      "10.04",     "1 4",
        "10. 15",   "10 15",   "10-15",    "10.15.",     ".15",      "14.",       "14..2",
        "11.6.8.1", "14x",     "x14",      "0x0e",       "1e1",      "10,15",     "14\n15",
        "unknown",  "sonoma2", "sonomaa",  "son",        "s o",      "1004",      "1400",
        "100",      "windows", "\xff\xfe", "4294968396", "14 sonom", "14.123456", "10.15.123",
    };
    g_autofree char *longer = g_strnfill(4096, '1');
    g_autofree char *blanks = g_strdup_printf("%40s", "sonoma");

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i]);
        g_assert_cmpuint(dkvm_macos_parse(cases[i]), ==, 0);
    }
    g_assert_cmpuint(dkvm_macos_parse(NULL), ==, 0);
    g_assert_cmpuint(dkvm_macos_parse(longer), ==, 0);
    g_assert_cmpuint(dkvm_macos_parse(blanks), ==, 0);
}

static void test_osinfo(void)
{
    static const struct {
        const char *id;
        DkvmMacos version;
    } cases[] = {
        {"http://apple.com/macos/14", 1400},
        {"https://apple.com/macos/14", 1400},
        {"http://apple.com/macos/10.15", 1015},
        {"http://apple.com/macosx/10.7", 1007},
        {"https://apple.com/macosx/10.4", 1004},
        {"http://apple.com/macos/sonoma", 1400},
        {"http://apple.com/macos/26", 2600},
        {"http://apple.com/macosx/10.0", 0},
        {"http://apple.com/macos/16", 0},
        {"http://apple.com/macos/", 0},
        {"http://apple.com/macos", 0},
        {"http://apple.com/macos/14/", 0},
        {"http://apple.com/ios/14", 0},
        {"http://apple.com/14", 0},
        {"http://apple.com.example.org/macos/14", 0},
        {"http://example.org/apple.com/macos/14", 0},
        {"ftp://apple.com/macos/14", 0},
        {"apple.com/macos/14", 0},
        {"HTTP://apple.com/macos/14", 0},
        {"http://microsoft.com/win/11", 0},
        {"14", 0},
        {"", 0},
        {NULL, 0},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].id ? cases[i].id : "NULL");
        g_assert_cmpuint(dkvm_macos_from_osinfo(cases[i].id), ==, cases[i].version);
    }
}

static void test_text(void)
{
    static const struct {
        DkvmMacos version;
        const char *text;
    } cases[] = {{0, "unknown"}, {1004, "10.4"}, {1015, "10.15"}, {1100, "11"}, {2600, "26"}};

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = dkvm_macos_text(cases[i].version);

        g_assert_cmpstr(text, ==, cases[i].text);
        g_assert_cmpuint(dkvm_macos_parse(text), ==, cases[i].version);
    }
}

static void test_find(void)
{
    g_assert_cmpstr(dkvm_models_find("MacPro7,1"), ==, "MacPro7,1");
    g_assert_cmpstr(dkvm_models_find("macpro5,1"), ==, "MacPro5,1");
    g_assert_cmpstr(dkvm_models_find("MACPRO2,1"), ==, "MacPro2,1");
    g_assert_null(dkvm_models_find("MacPro6,1"));
    g_assert_null(dkvm_models_find("MacPro"));
    g_assert_null(dkvm_models_find("MacPro7,1 "));
    g_assert_null(dkvm_models_find(""));
    g_assert_null(dkvm_models_find(NULL));
}

static void test_default(void)
{
    g_assert_cmpstr(dkvm_models_default(0), ==, "MacPro7,1");
    g_assert_cmpstr(dkvm_models_default(1600), ==, "MacPro7,1");
    g_assert_cmpstr(dkvm_models_default(1004), ==, "MacPro2,1");
    g_assert_cmpstr(dkvm_models_default(1005), ==, "MacPro4,1");
    g_assert_cmpstr(dkvm_models_default(1014), ==, "MacPro5,1");
    g_assert_cmpstr(dkvm_models_default(1015), ==, "MacPro7,1");
    g_assert_cmpstr(dkvm_models_default(2600), ==, "MacPro7,1");
}

static void test_cpu(void)
{
    static const struct {
        const char *model;
        DkvmMacos version;
        const char *cpu;
    } cases[] = {
        {"MacPro7,1", 0, "Cascadelake-Server"},
        {"MacPro7,1", 1400, "Cascadelake-Server"},
        {"MacPro7,1", 1013, "Cascadelake-Server"},
        {"MacPro7,1", 1012, "Westmere-v2"},
        {"MacPro7,1", 1006, "Westmere-v2"},
        {"MacPro7,1", 1005, "Penryn"},
        {"MacPro7,1", 1004, "Penryn"},
        {"MacPro5,1", 0, "Westmere-v2"},
        {"MacPro5,1", 1006, "Westmere-v2"},
        {"MacPro5,1", 1005, "Penryn"},
        {"MacPro4,1", 0, "Conroe-v1"},
        {"MacPro4,1", 1011, "Conroe-v1"},
        {"MacPro4,1", 1012, "Penryn"},
        {"macpro3,1", 1004, "Conroe-v1"},
        {"MacPro2,1", 2600, "Penryn"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        const DkvmCpuModel *cpu = dkvm_models_cpu(cases[i].model, cases[i].version);

        g_test_message("%s %u", cases[i].model, cases[i].version);
        g_assert_nonnull(cpu);
        g_assert_cmpstr(cpu->name, ==, cases[i].cpu);
    }
    g_assert_null(dkvm_models_cpu("MacPro6,1", 0));
    g_assert_null(dkvm_models_cpu(NULL, 0));
}

static void test_cpus(void)
{
    const DkvmCpuModel *const *cpus = dkvm_models_cpus();
    const DkvmCpuModel *westmere = dkvm_models_cpu("MacPro5,1", 0);
    gsize count = 0;

    while (cpus[count]) {
        g_assert_nonnull(cpus[count]->name);
        g_assert_nonnull(cpus[count]->libvirt);
        g_assert_cmpuint(cpus[count]->family, ==, 6);
        g_assert_cmpuint(cpus[count]->model, >, 0);
        count++;
    }
    g_assert_cmpuint(count, ==, 4);
    g_assert_cmpstr(westmere->libvirt, ==, "Westmere-IBRS");
    g_assert_cmpuint(westmere->model, ==, 44);
    g_assert_cmpuint(westmere->stepping, ==, 1);
}

/* The rules of models.xml that the code counts on: every version and model row leads somewhere. */
static void test_table(void)
{
    static const DkvmMacos versions[] = {0,    1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012,
                                         1013, 1014, 1015, 1100, 1200, 1300, 1400, 1500, 2600};
    xmlNode *root = xmlDocGetRootElement(dkvm_models_document());
    guint models = 0, rows = 0;

    for (xmlNode *node = root->children; node; node = node->next) {
        if (!xmlStrEqual(node->name, BAD_CAST "model"))
            continue;
        xmlChar *name = xmlGetProp(node, BAD_CAST "name");

        for (gsize i = 0; i < G_N_ELEMENTS(versions); i++)
            g_assert_nonnull(dkvm_models_cpu((const char *)name, versions[i]));
        xmlFree(name);
        models++;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(versions); i++) {
        const char *model = dkvm_models_default(versions[i]);
        g_autofree char *text = dkvm_macos_text(versions[i]);

        g_assert_cmpstr(dkvm_models_find(model), ==, model);
        g_assert_cmpuint(dkvm_macos_parse(text), ==, versions[i]);
        rows++;
    }
    g_assert_cmpuint(models, ==, 5);
    g_assert_cmpuint(rows, ==, G_N_ELEMENTS(versions));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/models/threads", test_threads);
    g_test_add_func("/models/document", test_document);
    g_test_add_func("/models/parse", test_parse);
    g_test_add_func("/models/parse-rejects", test_parse_rejects);
    g_test_add_func("/models/osinfo", test_osinfo);
    g_test_add_func("/models/text", test_text);
    g_test_add_func("/models/find", test_find);
    g_test_add_func("/models/default", test_default);
    g_test_add_func("/models/cpu", test_cpu);
    g_test_add_func("/models/cpus", test_cpus);
    g_test_add_func("/models/table", test_table);
    return g_test_run();
}
