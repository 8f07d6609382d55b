/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The oracle against every boot that was recorded, against the Python model.  Run in the top
 * folder: the tables are in tests/data. */
#include <json-glib/json-glib.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/topology.h"

#define MACHINE_LIMIT "MAX_CPUS is 64"

static Cpu cpu_of_kind(const char *kind)
{
    if (strcmp(kind, "penryn") == 0)
        return penryn;
    return strcmp(kind, "westmere") == 0 ? westmere : nehalem;
}

/* "7.2", "10.0.13" */
static gulong parse_version(const char *text)
{
    g_auto(GStrv) part = g_strsplit(text, ".", 3);

    return strtoul(part[0], NULL, 10) * 1000000 + strtoul(part[1], NULL, 10) * 1000 +
           (part[2] ? strtoul(part[2], NULL, 10) : 0);
}

/* The tables' short forms. */
static char *expand(const char *text)
{
    guint want, found;

    if (strcmp(text, "de") == 0)
        return g_strdup("divide error");
    if (sscanf(text, "%u!=%u", &want, &found) == 2)
        return g_strdup_printf("x86_validate_topology() %u threads but %u registered from MADT",
                               want, found);
    if (sscanf(text, "%u#%u", &want, &found) == 2)
        return g_strdup_printf("Should have %u Cores, but only found %u for Die", want, found);
    return g_strdup(text);
}

static char *xnu_says(const DkvmTopologyQuestion *question)
{
    char *xnu = NULL;
    g_autofree char *why = NULL;
    DkvmTopologyVerdict verdict = dkvm_topology_ask(question, &xnu, &why);

    g_assert_nonnull(why);
    g_assert_cmpint(verdict == DKVM_TOPOLOGY_BOOTS, ==, strcmp(xnu, "ok") == 0);
    return xnu;
}

static GStrv read_lines(const char *path)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;

    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    return g_strsplit(g_strchomp(text), "\n", -1);
}

/* Calls CHECK with the columns of every line that is no comment; how many there were. */
static guint check_lines(const char *path, guint width, void (*check)(GStrv columns))
{
    g_auto(GStrv) lines = read_lines(path);
    guint count = 0;

    for (guint i = 0; lines[i]; i++) {
        g_auto(GStrv) columns = g_strsplit(lines[i], "\t", -1);

        if (lines[i][0] == '#')
            continue;
        g_test_message("%s:%u", path, i + 1);
        g_assert_cmpuint(g_strv_length(columns), ==, width);
        check(columns);
        count++;
    }
    return count;
}

static void test_boots(void)
{
    g_auto(GStrv) lines = read_lines("tests/data/xnu-boots.jsonl");

    for (guint i = 0; lines[i]; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonNode) node = json_from_string(lines[i], &error);
        g_assert_no_error(error);
        JsonObject *boot = json_node_get_object(node);
        JsonArray *shape = json_object_get_array_member(boot, "shape");
        gulong version = (gulong)(json_object_get_double_member(boot, "qemu") * 1000 + 0.5);
        DkvmTopologyQuestion question =
            ask_about(version / 1000 * 1000000 + version % 1000 / 100 * 1000,
                      cpu_of_kind(json_object_get_string_member(boot, "kind")),
                      (guint)json_array_get_int_element(shape, 0),
                      (guint)json_array_get_int_element(shape, 1),
                      (guint)json_array_get_int_element(shape, 2));
        g_autofree char *xnu = xnu_says(&question);

        g_test_message("%s", lines[i]);
        g_assert_cmpstr(xnu, ==, json_object_get_string_member(boot, "xnu"));
    }
    g_assert_cmpuint(g_strv_length(lines), ==, 144);
}

static guint number(const char *text)
{
    return (guint)strtoul(text, NULL, 10);
}

/* Columns: see the head of xnu-held-out.tsv. */
static void check_held_out(GStrv c)
{
    gboolean present[1024] = {FALSE};
    DkvmTopologyQuestion question = {
        .qemu_version = parse_version(c[0]),
        .skip_tsc = !strstr(c[11], "tsc"),
        .vendor = c[6],
        .family = number(c[7]),
        .model = number(c[8]),
        .stepping = number(c[9]),
        .macos = 1100,
        .shape = {number(c[1]), number(c[2]), number(c[3]), number(c[4]), number(c[5])},
        .no_l3_cache = strstr(c[11], "l3off") != NULL,
        .no_msr35h = strstr(c[11], "nomsr") != NULL,
    };
    g_autofree char *want = expand(c[12]);
    g_autofree char *xnu = NULL;

    for (guint i = 0; i < number(c[10]); i++)
        present[i] = TRUE;
    question.present = strcmp(c[10], "-") == 0 ? NULL : present;
    question.present_count = G_N_ELEMENTS(present);

    xnu = xnu_says(&question);
    if (strcmp(want, "panic") == 0)
        g_assert_true(g_str_has_prefix(xnu, "x86_validate_topology() "));
    else
        g_assert_cmpstr(xnu, ==, want);
}

static void test_held_out(void)
{
    g_assert_cmpuint(check_lines("tests/data/xnu-held-out.tsv", 13, check_held_out), ==, 342);
}

static void check_grid_line(GStrv c)
{
    g_auto(GStrv) verdicts = g_strsplit(c[4], " ", -1);

    g_assert_cmpuint(g_strv_length(verdicts), ==, 24);
    for (guint cores = 1; cores <= 24; cores++) {
        guint sockets = number(c[2]), threads = number(c[3]);
        DkvmTopologyQuestion question =
            ask_about(parse_version(c[0]), cpu_of_kind(c[1]), sockets, cores, threads);
        g_autofree char *want = expand(verdicts[cores - 1]);
        g_autofree char *xnu = xnu_says(&question);

        if (strcmp(want, "ok") == 0 && sockets * cores * threads > 64)
            g_assert_true(g_str_has_prefix(xnu, MACHINE_LIMIT));
        else
            g_assert_cmpstr(xnu, ==, want);
    }
}

static void test_grid(void)
{
    g_assert_cmpuint(check_lines("tests/data/xnu-grid.tsv", 5, check_grid_line), ==, 4 * 3 * 4 * 2);
}

static char *verdict_of(gulong version, Cpu cpu, DkvmMacos macos, const char *shape)
{
    DkvmTopologyQuestion question = ask_about(version, cpu, 1, 1, 1);

    g_assert_true(dkvm_shape_parse(shape, &question.shape));
    question.macos = macos;
    return xnu_says(&question);
}

static void assert_verdict(gulong version, Cpu cpu, DkvmMacos macos, const char *shape,
                           const char *want)
{
    g_autofree char *xnu = verdict_of(version, cpu, macos, shape);
    g_autofree char *text = expand(want);

    g_assert_cmpstr(xnu, ==, text);
}

static void test_macos_rules(void)
{
    /* MSR 0x35 = 0 */
    assert_verdict(V5_2, nehalem, 1015, "2x1x1", "ok");
    assert_verdict(V5_2, nehalem, 0, "2x1x1", "ok");
    assert_verdict(V5_2, nehalem, 1014, "1x1x1", "de");
    assert_verdict(V5_2, nehalem, 1012, "1x1x1", "de");
    assert_verdict(V5_2, penryn, 1014, "1x4x2", "ok");
    /* The total is compared from 10.13.4, taken for 10.13, on. */
    assert_verdict(V10, penryn, 1013, "1x6x1", "8!=6");
    assert_verdict(V10, penryn, 0, "1x6x1", "8!=6");
    assert_verdict(V10, penryn, 1012, "1x6x1", "Should have 8 Cores, but only found 6 for Die");
    assert_verdict(V7_2, penryn, 1012, "1x6x1", "de");
    assert_verdict(V7_2, penryn, 1006, "1x4x2", "ok");
    /* Conroe counts by CPUID as Penryn does. */
    assert_verdict(V5_2, (Cpu){15, 3}, 1009, "1x4x1", "ok");
    assert_verdict(V10, (Cpu){15, 3}, 1009, "1x3x1",
                   "Should have 4 Cores, but only found 3 for Die");
}

/* What only a kernel without the total can say. */
static void test_tree(void)
{
    static const gboolean missing_thread[] = {TRUE, TRUE, TRUE, FALSE};
    static const gboolean missing_core[] = {TRUE, TRUE, FALSE, FALSE, TRUE, TRUE, TRUE, TRUE};
    static const gboolean only_odd[] = {FALSE, TRUE, FALSE, TRUE};
    static const gboolean two_and_none[] = {TRUE, TRUE, TRUE, FALSE, TRUE, TRUE, TRUE, TRUE};
    static const gboolean nobody[] = {FALSE};
    static const struct {
        guint sockets, dies, cores, threads;
        gboolean no_l3;
        const gboolean *present;
        guint count;
        const char *want;
    } cases[] = {
        {1, 1, 2, 2, FALSE, missing_thread, 4, "Should have 4 Threads, but only found 3 for Die"},
        {2, 1, 2, 2, FALSE, missing_core, 8, "Should have 2 Cores, but only found 1 for Die"},
        {2, 1, 2, 2, FALSE, two_and_none, 8, "Should have 4 Threads, but only found 3 for Die"},
        {1, 1, 2, 2, FALSE, only_odd, 4, "Should have 4 Threads, but only found 2 for Die"},
        {1, 1, 2, 2, FALSE, nobody, 1, "Should have 2 Cores, but only found 0 for Die"},
        /* An array that is too short: the rest is absent. */
        {2, 1, 2, 2, FALSE, missing_core, 2, "Should have 2 Cores, but only found 1 for Die"},
        {1, 1, 4, 1, TRUE, missing_core, 4, "Should have 4 Dies, but only found 2 for package"},
        {2, 1, 4, 1, TRUE, missing_core, 8, "Should have 4 Dies, but only found 2 for package"},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        DkvmTopologyQuestion question =
            ask_about(V10, nehalem, cases[i].sockets, cases[i].cores, cases[i].threads);
        g_autofree char *xnu = NULL;

        question.macos = 1012;
        question.shape.dies = cases[i].dies;
        question.no_l3_cache = cases[i].no_l3;
        question.present = cases[i].present;
        question.present_count = cases[i].count;
        xnu = xnu_says(&question);
        g_test_message("%u", i);
        g_assert_cmpstr(xnu, ==, cases[i].want);
    }
}

static void assert_encoding(const DkvmEncoding *e, guint32 cores, guint32 logical, guint32 sharing,
                            guint32 msr35)
{
    g_assert_cmpuint(e->cores, ==, cores);
    g_assert_cmpuint(e->logical, ==, logical);
    g_assert_cmpuint(e->sharing, ==, sharing);
    g_assert_cmphex(e->msr35, ==, msr35);
}

/* The formulas of facts/xnu.md 5, in numbers. */
static void test_numbers(void)
{
    DkvmTopologyQuestion q = ask_about(0, nehalem, 2, 5, 2);
    DkvmEncoding e[DKVM_ENCODINGS_MAX];

    q.shape.dies = 3;
    q.shape.modules = 2;
    g_assert_cmpuint(dkvm_qemu_encodings(&q, e), ==, 4);
    assert_encoding(&e[0], 64, 128, 32, 0x1e003c);
    assert_encoding(&e[1], 64, 60, 32, 0x1e003c);
    assert_encoding(&e[2], 5, 10, 16, 0x5000a);
    assert_encoding(&e[3], 5, 10, 16, 0);
    q.no_l3_cache = TRUE;
    dkvm_qemu_encodings(&q, e);
    assert_encoding(&e[0], 64, 128, 2, 0x1e003c);
    assert_encoding(&e[2], 5, 10, 2, 0x5000a);

    q = ask_about(V8_2, nehalem, 1, 128, 2);
    g_assert_cmpuint(dkvm_qemu_encodings(&q, e), ==, 3);
    assert_encoding(&e[0], 64, 255, 256, 0x800100);
    assert_encoding(&e[1], 64, 0, 256, 0x800100);
    assert_encoding(&e[2], 64, 0, 256, 0x800100);
    q = ask_about(V7_2, nehalem, 1, 1, 1);
    g_assert_cmpuint(dkvm_qemu_encodings(&q, e), ==, 1);
    assert_encoding(&e[0], 1, 1, 1, 0x10001);
    q.qemu_version = V9_1;
    g_assert_cmpuint(dkvm_qemu_encodings(&q, e), ==, 3);
    q.qemu_version = V11_1;
    g_assert_cmpuint(dkvm_qemu_encodings(&q, e), ==, 1);
    q.qemu_version = V5_2;
    g_assert_cmpuint(dkvm_qemu_encodings(&q, e), ==, 1);
}

static void test_apic_ids(void)
{
    static const guint32 want[] = {0,  1,  2,  3,  4,  5,  8,  9,  10, 11, 12, 13,
                                   16, 17, 18, 19, 20, 21, 32, 33, 34, 35, 36, 37,
                                   40, 41, 42, 43, 44, 45, 48, 49, 50, 51, 52, 53};
    DkvmTopologyQuestion q = ask_about(V10, nehalem, 2, 3, 2);
    g_autoptr(GArray) ids = NULL;

    q.shape.dies = 3;
    ids = dkvm_qemu_apic_ids(&q);
    g_assert_cmpmem(ids->data, ids->len * sizeof want[0], want, sizeof want);
}

static void assert_crafted(const DkvmEncoding *encoding, guint cores, const char *want,
                           const char *where)
{
    DkvmTopologyQuestion question = ask_about(V10, nehalem, 1, cores, 1);
    const char *got;
    g_autofree char *xnu = dkvm_xnu_verdict(&question, encoding, &got);

    g_assert_cmpstr(xnu, ==, want);
    g_assert_cmpstr(got, ==, where);
}

/* Numbers that no QEMU gives, for one rule each. */
static void test_crafted(void)
{
    assert_crafted(&(DkvmEncoding){"test", 5, 5, 5, 0x30005}, 3, "ok", NULL);
    assert_crafted(&(DkvmEncoding){"test", 1, 1, 1, 0x0}, 1, "ok", NULL);
    assert_crafted(&(DkvmEncoding){"test", 1, 1, 1, 0x1}, 1, "divide error", "x86_LLC_info");
    assert_crafted(&(DkvmEncoding){"test", 2, 2, 2, 0x20001}, 2, "divide error", "x86_LLC_info");
    assert_crafted(&(DkvmEncoding){"test", 8, 6, 8, 0x60006}, 6, "divide error", "initTopoParms");
    assert_crafted(&(DkvmEncoding){"test", 2, 8, 2, 0x20002}, 2, "divide error", "initTopoParms");
    assert_crafted(&(DkvmEncoding){"test", 6, 6, 8, 0x60006}, 6, "divide error",
                   "x86_package_find");
}

/* No QEMU tells so little of a core; the check is XNU's all the same. */
static void test_odd_core(void)
{
    static const gboolean present[] = {TRUE, TRUE, TRUE, TRUE, FALSE, FALSE};
    static const DkvmEncoding encoding = {"test", 2, 8, 8, 0x20004};
    DkvmTopologyQuestion question = ask_about(V10, nehalem, 1, 2, 3);
    const char *where;
    g_autofree char *xnu = NULL;

    question.present = present;
    question.present_count = 6;
    xnu = dkvm_xnu_verdict(&question, &encoding, &where);
    g_assert_cmpstr(xnu, ==, "Should have 2 Threads, but only found 3 for Core");
    g_assert_cmpstr(where, ==, "x86_validate_topology");
}

/* XNU learned the boot-arg with 10.15. */
static void test_old_boot_arg(void)
{
    DkvmTopologyQuestion question = ask_about(V10, nehalem, 1, 4, 1);

    question.no_msr35h = TRUE;
    g_assert_cmpint(dkvm_topology_ask(&question, NULL, NULL), ==, DKVM_TOPOLOGY_SHAPE);
    question.macos = 1014;
    g_assert_cmpint(dkvm_topology_ask(&question, NULL, NULL), ==, DKVM_TOPOLOGY_BOOTS);
}

static void test_encodings(void)
{
    /* Between the seen versions every candidate has to pass. */
    assert_verdict(V8_2, nehalem, 1400, "1x6x1", "de");
    assert_verdict(V8_2, nehalem, 1400, "1x4x2", "ok");
    assert_verdict(V9_1, nehalem, 1400, "1x6x1", "de");
    assert_verdict(V9_1, penryn, 1400, "1x6x1", "8!=6");
    assert_verdict(V9_1, nehalem, 1400, "1x8x1", "ok");
    assert_verdict(9999999, nehalem, 1400, "1x6x1", "de");
    assert_verdict(10000000, nehalem, 1400, "1x6x1", "ok");
    assert_verdict(7001999, nehalem, 1400, "1x4x1", "1!=4");
    assert_verdict(7002000, nehalem, 1400, "1x4x1", "ok");
    assert_verdict(0, nehalem, 1400, "1x4x1", "1!=4");
    assert_verdict(0, nehalem, 1400, "1x6x1", "de");
    assert_verdict(0, nehalem, 1400, "2x1x1", "ok");
    assert_verdict(0, penryn, 1400, "1x4x2", "ok");
    assert_verdict(0, penryn, 1400, "1x3x2", "8!=6");
    /* The widths of the fields: 6 bits of cores, 8 of threads. */
    assert_verdict(V7_2, penryn, 1400, "1x64x1", "ok");
    assert_verdict(V7_2, penryn, 1400, "1x65x1", "MAX_CPUS is 64 but 65 vCPUs are present");
    assert_verdict(V7_2, penryn, 1400, "1x100x1", "de");
    assert_verdict(V7_2, penryn, 1400, "1x64x4", "de");
    assert_verdict(V10, penryn, 1400, "1x64x2", "MAX_CPUS is 64 but 128 vCPUs are present");
    assert_verdict(V10, penryn, 1400, "1x128x2", "de");
}

static void test_limit(void)
{
    g_autofree char *over = verdict_of(V10, nehalem, 1400, "2x33x1");
    g_autofree char *at = verdict_of(V10, nehalem, 1400, "1x32x2");
    gboolean present[128] = {FALSE};
    DkvmTopologyQuestion question = ask_about(V10, nehalem, 2, 64, 1);

    g_assert_cmpstr(over, ==, "MAX_CPUS is 64 but 66 vCPUs are present");
    g_assert_cmpstr(at, ==, "ok");
    for (guint i = 0; i < 64; i++)
        present[i] = TRUE;
    question.present = present;
    question.present_count = 128;
    g_assert_cmpint(dkvm_topology_ask(&question, NULL, NULL), ==, DKVM_TOPOLOGY_BOOTS);
}

static void test_invalid_shape(void)
{
    static const DkvmShape shapes[] = {
        {0, 1, 1, 1, 1}, {1, 0, 1, 1, 1},   {1, 1, 0, 1, 1},         {1, 1, 1, 0, 1},
        {1, 1, 1, 1, 0}, {5, 1, 1, 255, 1}, {1, 1, 1, 65536, 65536}, {G_MAXUINT, 1, 1, 2, 1},
    };

    for (guint i = 0; i < G_N_ELEMENTS(shapes); i++) {
        DkvmTopologyQuestion question = ask_about(V10, nehalem, 1, 1, 1);
        g_autofree char *xnu = NULL;
        g_autofree char *text = NULL;
        gboolean boots = TRUE;

        question.shape = shapes[i];
        xnu = xnu_says(&question);
        g_assert_cmpstr(xnu, ==, "no such shape");
        text = dkvm_topology_explain(&question, &boots);
        g_assert_false(boots);
        g_assert_nonnull(strstr(text, "no such shape"));
    }
}

static void test_parse(void)
{
    static const char *const bad[] = {"",
                                      "1",
                                      "1x4",
                                      "1x4x2x1",
                                      "x4x2",
                                      "1xx2",
                                      "1x4x",
                                      "0x4x2",
                                      "1x0x2",
                                      "1x4x0",
                                      "256x1x1",
                                      "1x256x1",
                                      "1x4x02",
                                      "+1x4x2",
                                      " 1x4x2",
                                      "1x4x2 ",
                                      "-1x4x2",
                                      "1X4X2",
                                      "1,4,2",
                                      "5x205x1",
                                      "32x33x1",
                                      "1x4x2\n",
                                      "99999999999999999999x1x1"};
    DkvmShape shape = {9, 9, 9, 9, 9};

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_test_message("%s", bad[i]);
        g_assert_false(dkvm_shape_parse(bad[i], &shape));
    }
    g_assert_false(dkvm_shape_parse(NULL, &shape));
    g_assert_cmpuint(shape.cores, ==, 9); /* untouched */
    g_assert_true(dkvm_shape_parse("3x4x2", &shape));
    g_assert_cmpmem(&shape, sizeof shape, (&(DkvmShape){3, 1, 1, 4, 2}), sizeof shape);
    g_assert_true(dkvm_shape_parse("1x255x1", &shape));
    g_assert_true(dkvm_shape_parse("4x128x2", &shape));
    g_assert_true(dkvm_shape_parse("255x1x4", &shape));
}

static void assert_explains(const DkvmTopologyQuestion *question, gboolean boots,
                            const char *const *parts)
{
    gboolean got = !boots;
    g_autofree char *text = dkvm_topology_explain(question, &got);

    g_test_message("%s", text);
    g_assert_cmpint(got, ==, boots);
    g_assert_true(g_str_has_suffix(text, "\n"));
    for (; *parts; parts++)
        if (!strstr(text, *parts))
            g_error("\"%s\" is not in:\n%s", *parts, text);
}

#define EXPLAINS(question, boots, ...)                                                             \
    assert_explains(question, boots, (const char *const[]){__VA_ARGS__, NULL})

static void test_explain(void)
{
    DkvmTopologyQuestion q = ask_about(V10, cascadelake, 1, 6, 1);

    EXPLAINS(&q, TRUE, "shape:   1 socket, 6 cores, 1 thread: 6 vCPUs, 6 present\n",
             "GenuineIntel family 6 model 85 stepping 6, macOS 11, TCG", "QEMU:    10.0.13\n",
             "8 cores and 8 threads per package, 8 threads share the last cache, MSR 0x35 = "
             "0x60006 -> ok",
             "XNU:     ok\n", "boots:");
    q.qemu_version = V7_2;
    EXPLAINS(&q, FALSE, "like QEMU 7.2: 6 cores and 6 threads", "XNU:     divide error",
             "x86_package_find", "The screen shows", "nearby:  5 as 5x1x1, 6 as 3x2x1, 7 as 7x1x1");
    q.qemu_version = V8_2;
    q.macos = 0;
    q.kvm = TRUE;
    EXPLAINS(&q, FALSE, "8.2.0, not tried",
             "like QEMU 10:", "like QEMU 9.1:", "macOS unknown, KVM");
    q.qemu_version = 0;
    EXPLAINS(&q, FALSE, "version unknown", "like QEMU before 7.2:");
    q = ask_about(V5_2, westmere, 1, 1, 1);
    q.macos = 1014;
    EXPLAINS(&q, FALSE, "x86_LLC_info", "use QEMU 7.2 or newer", "nearby:  no shape boots");
    q = ask_about(V5_2, penryn, 1, 6, 1);
    EXPLAINS(&q, FALSE, "MSR 0x35 = 0x0", "Take another shape");
    q = ask_about(V10, penryn, 2, 2, 2);
    q.shape.dies = 2;
    q.shape.modules = 2;
    EXPLAINS(&q, TRUE, "2 sockets, 2 dies, 2 modules, 2 cores, 2 threads: 32 vCPUs");
    q = ask_about(V10, penryn, 1, 4, 1);
    q.no_msr35h = TRUE;
    EXPLAINS(&q, FALSE, "Remove the boot-arg", "x86_validate_topology");
    q.skip_tsc = FALSE;
    q.model = 44;
    EXPLAINS(&q, FALSE, "tsc_init", "shows nothing");
    q.vendor = NULL;
    EXPLAINS(&q, FALSE, "(no vendor)", "Unsupported CPU", "shows nothing");
    g_free(dkvm_topology_explain(&q, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/topology/boots", test_boots);
    g_test_add_func("/topology/held-out", test_held_out);
    g_test_add_func("/topology/grid", test_grid);
    g_test_add_func("/topology/macos", test_macos_rules);
    g_test_add_func("/topology/tree", test_tree);
    g_test_add_func("/topology/numbers", test_numbers);
    g_test_add_func("/topology/apic-ids", test_apic_ids);
    g_test_add_func("/topology/crafted", test_crafted);
    g_test_add_func("/topology/odd-core", test_odd_core);
    g_test_add_func("/topology/boot-arg", test_old_boot_arg);
    g_test_add_func("/topology/encodings", test_encodings);
    g_test_add_func("/topology/limit", test_limit);
    g_test_add_func("/topology/invalid", test_invalid_shape);
    g_test_add_func("/topology/parse", test_parse);
    g_test_add_func("/topology/explain", test_explain);
    return g_test_run();
}
