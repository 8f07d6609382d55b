/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Properties of patching and reverting over every golden input on several hosts, and the promises
 * of design section 4 one by one.  Run in the top folder. */
#include "tests/unit/helpers.h"

#define MAX_MESSAGES 60

static GPtrArray *inputs;

/* A refusal is right for some inputs on some hosts; a result that is not stable never is. */
static gboolean is_refusal(const GError *error)
{
    return (error->code == DKVM_ERROR_HOST || error->code == DKVM_ERROR_REFUSED) &&
           strstr(error->message, "patching the result again") == NULL;
}

/* One bug shows in hundreds of inputs: the first few say enough. */
static void fail_at(const Golden *golden, const Host *host, const char *what, const char *detail)
{
    static guint failures = 0;
    g_test_fail();
    if (failures++ >= MAX_MESSAGES) {
        return;
    }
    g_test_message("%s on %s: %s: %s", golden->name, host->name, what, detail);
}

/* The first line in which A and B differ, both ways. */
static char *difference(const char *a, const char *b)
{
    g_auto(GStrv) x = g_strsplit(a, "\n", -1);
    g_auto(GStrv) y = g_strsplit(b, "\n", -1);
    guint i = 0;
    while (x[i] != NULL && y[i] != NULL && g_str_equal(x[i], y[i])) {
        i++;
    }
    return g_strdup_printf("line %u: '%.300s' but '%.300s'", i + 1, x[i] ? x[i] : "",
                           y[i] ? y[i] : "");
}

/* Where a removed element stood among its like is counted without those that stay removed. */
static char *without_positions(const char *xml)
{
    g_autoptr(GRegex) position = g_regex_new(" (position|after)='[^']*'", 0, 0, NULL);
    return g_regex_replace_literal(position, xml, -1, 0, "", 0, NULL);
}

static void expect_same(const Golden *golden, const Host *host, const char *what, const char *is,
                        const char *should)
{
    if (g_str_equal(is, should)) {
        return;
    }
    g_autofree char *detail = difference(is, should);
    g_autofree char *is_plain = without_positions(is), *should_plain = without_positions(should);
    g_autofree char *x = without_order(is_plain), *y = without_order(should_plain);
    if (!g_str_has_prefix(what, "model") && strstr(what, ", then") != NULL && g_str_equal(x, y)) {
        return; /* what is put back and taken away again may stand elsewhere among its like */
    }
    fail_at(golden, host, what, detail);
}

static void expect_reverted(const Golden *golden, const Host *host, const char *what,
                            const char *reverted)
{
    g_autofree char *is = without_order(reverted), *was = without_order(golden->text);
    if (!g_str_equal(is, was)) {
        g_autofree char *detail = difference(is, was);
        fail_at(golden, host, what, detail);
    }
}

/* The options of GOLDEN with KEY=VALUE in addition or instead; for one call. */
static Options with(const Golden *golden, const char *key, const char *value)
{
    Options options = golden->options;
    if (g_str_equal(key, "macos")) {
        options.macos = (char *)value;
    } else if (g_str_equal(key, "model")) {
        options.model = (char *)value;
    } else {
        options.key = (char *)key;
        options.value = (char *)value;
    }
    return options;
}

/* NULL for a refusal that may be. */
static char *patch_golden(Bench *bench, const Golden *golden, const Host *host, const char *text,
                          const DkvmDomainState *state, const Options *options)
{
    g_autoptr(GError) error = NULL;
    char *xml = try_patch(bench, text, state, options, &error);
    if (xml == NULL && !is_refusal(error)) {
        fail_at(golden, host, "patch", error->message);
    }
    return xml;
}

/* ---- over all inputs ---- */

static void check_identity(const Golden *golden, const Host *host, const char *once)
{
    g_autoptr(DkvmDoc) before = must_parse(golden->text), after = must_parse(once);
    static const char *const names[] = {"name", "uuid"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *was =
            dkvm_xml_text(dkvm_xml_child(xmlDocGetRootElement(before), names[i]));
        g_autofree char *is = dkvm_xml_text(dkvm_xml_child(xmlDocGetRootElement(after), names[i]));
        expect_same(golden, host, names[i], is, was);
    }
}

static guint check_stable(Bench *bench, const Golden *golden, const Host *host,
                          const DkvmDomainState *state)
{
    g_autofree char *once =
        patch_golden(bench, golden, host, golden->text, state, &golden->options);
    if (once == NULL) {
        return 0;
    }
    g_autofree char *twice = patch_golden(bench, golden, host, once, state, NULL);
    if (twice == NULL) {
        fail_at(golden, host, "patched again", "it was refused");
        return 0;
    }
    expect_same(golden, host, "patched twice", twice, once);
    check_identity(golden, host, once);
    g_autofree char *reverted = must_revert(once);
    expect_reverted(golden, host, "reverted", reverted);
    return 1;
}

static void test_stable(gconstpointer data)
{
    const Host *host = data;
    g_auto(Bench) bench = bench_new(host);
    guint patched = 0;
    for (guint i = 0; i < inputs->len; i++) {
        for (gsize s = 0; s < G_N_ELEMENTS(states); s++) {
            patched += check_stable(&bench, inputs->pdata[i], host, states[s]);
        }
    }
    g_test_message("%u of %u patched", patched, inputs->len * 3);
    g_assert_cmpuint(patched, >=, inputs->len * 3 * 9 / 10);
}

static const DkvmDomainState *answer(gpointer data)
{
    return data;
}

/* The same domain while something else than STATE is thought likely until the answer is there: XML
 * and messages, or the refusal. */
static char *patched_with_guess(Bench *bench, const char *text, const DkvmDomainState *likely,
                                const DkvmDomainState *state)
{
    g_autoptr(GError) error = NULL;
    DkvmWishes wishes = {0};
    DkvmPatchCalls calls = {.state = answer, .likely = likely, .data = (gpointer)state};
    DkvmDoc *doc = dkvm_xml_parse(text, strlen(text), "test", &error);
    g_assert_no_error(error);
    g_autoptr(DkvmPatched) patched =
        dkvm_patch_doc(bench->patcher, doc, text, strlen(text), "test", &calls, &wishes, &error);
    if (patched == NULL) {
        return g_strdup(error->message);
    }
    g_ptr_array_add(patched->notes, NULL);
    g_autofree char *notes = g_strjoinv("\n", (char **)patched->notes->pdata);
    g_ptr_array_set_size(patched->notes, (int)patched->notes->len - 1);
    return g_strconcat(patched->xml, notes, NULL);
}

static void test_guess(gconstpointer data)
{
    const Host *host = data;
    g_auto(Bench) bench = bench_new(host);
    guint differ = 0;
    for (guint i = 0; i < inputs->len; i++) {
        const Golden *golden = inputs->pdata[i];
        g_autofree char *empty = patched_with_guess(&bench, golden->text, NULL, &as_empty);
        g_autofree char *installed = patched_with_guess(&bench, golden->text, NULL, &as_installed);
        g_autofree char *right =
            patched_with_guess(&bench, golden->text, &as_installed, &as_installed);
        g_autofree char *wrong = patched_with_guess(&bench, golden->text, &as_empty, &as_installed);
        differ += !g_str_equal(empty, installed);
        expect_same(golden, host, "what was likely is so", right, installed);
        expect_same(golden, host, "what was likely is not so", wrong, installed);
    }
    g_test_message("%u of %u depend on it", differ, inputs->len);
    g_assert_cmpuint(differ, >=, 20);
}

/* Patching with KEY=FIRST and then with KEY=SECOND is patching with KEY=SECOND. */
static void check_second_wins(Bench *bench, const Golden *golden, const Host *host,
                              const DkvmDomainState *state, const char *key, const char *first,
                              const char *second)
{
    Options one = with(golden, key, first), two = with(golden, key, second);
    Options only_second = {0};
    if (g_str_equal(key, "macos")) {
        only_second.macos = (char *)second;
    } else {
        only_second.model = (char *)second;
    }
    g_autofree char *before = patch_golden(bench, golden, host, golden->text, state, &one);
    g_autofree char *direct = patch_golden(bench, golden, host, golden->text, state, &two);
    if (before == NULL || direct == NULL) {
        return;
    }
    g_autofree char *after = patch_golden(bench, golden, host, before, state, &only_second);
    g_autofree char *what = g_strdup_printf("%s %s, then %s", key, first, second);
    if (after == NULL) {
        fail_at(golden, host, what, "refused");
        return;
    }
    expect_same(golden, host, what, after, direct);
}

static void test_model_then_model(gconstpointer data)
{
    const Host *host = data;
    g_auto(Bench) bench = bench_new(host);
    for (guint i = 0; i < inputs->len; i++) {
        const Golden *golden = inputs->pdata[i];
        check_second_wins(&bench, golden, host, &as_empty, "model", "MacPro7,1", "MacPro3,1");
        check_second_wins(&bench, golden, host, &as_installed, "model", "MacPro2,1", "MacPro5,1");
    }
}

static void test_macos_then_macos(gconstpointer data)
{
    const Host *host = data;
    g_auto(Bench) bench = bench_new(host);
    for (guint i = 0; i < inputs->len; i++) {
        const Golden *golden = inputs->pdata[i];
        check_second_wins(&bench, golden, host, &as_empty, "macos", "10.6", "14");
        check_second_wins(&bench, golden, host, &as_empty, "macos", "15", "10.11");
    }
}

/* The lines that say what an installed guest depends on. */
static char *kinds_of_devices(const char *xml)
{
    GString *kinds = g_string_new(NULL);
    const char *devices = strstr(xml, "\n  <devices>");
    g_auto(GStrv) lines = g_strsplit(devices ? devices : "", "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        if (strstr(*line, "<target dev=") != NULL || strstr(*line, "<model type=") != NULL ||
            strstr(*line, "<controller type='usb'") != NULL || strstr(*line, "<sound ") != NULL) {
            g_string_append_printf(kinds, "%s\n", *line);
        }
    }
    return g_string_free(kinds, FALSE);
}

/* An upgrade of an installed guest: all that FIRST works with works with SECOND too. */
static void check_devices_stay(Bench *bench, const Golden *golden, const Host *host,
                               const char *first, const char *second)
{
    Options only_first = {.macos = (char *)first}, only_second = {.macos = (char *)second};
    g_autofree char *before =
        patch_golden(bench, golden, host, golden->text, &as_empty, &only_first);
    g_autofree char *after =
        before ? patch_golden(bench, golden, host, before, &as_installed, &only_second) : NULL;
    if (after == NULL) {
        return;
    }
    g_autofree char *what = g_strdup_printf("macos %s, upgraded to %s", first, second);
    g_autofree char *is = kinds_of_devices(after), *was = kinds_of_devices(before);
    if (strstr(was, "bus='scsi'") == NULL) { /* a disk that FIRST cannot use and nobody may move */
        expect_same(golden, host, what, is, was);
    }
    g_autofree char *reverted = must_revert(after);
    expect_reverted(golden, host, what, reverted);
}

/* Another macOS that some of the devices do not work with: the way back is not lost. */
static void check_way_back(Bench *bench, const Golden *golden, const Host *host,
                           const DkvmDomainState *state, const char *first, const char *second)
{
    Options only_first = {.macos = (char *)first}, only_second = {.macos = (char *)second};
    g_autofree char *before = patch_golden(bench, golden, host, golden->text, state, &only_first);
    g_autofree char *after =
        before ? patch_golden(bench, golden, host, before, state, &only_second) : NULL;
    if (after == NULL) {
        return;
    }
    g_autofree char *what = g_strdup_printf("macos %s, then %s, then reverted", first, second);
    g_autofree char *reverted = must_revert(after);
    expect_reverted(golden, host, what, reverted);
}

static void test_way_back(gconstpointer data)
{
    const Host *host = data;
    g_auto(Bench) bench = bench_new(host);
    for (guint i = 0; i < inputs->len; i++) {
        const Golden *golden = inputs->pdata[i];
        check_way_back(&bench, golden, host, &as_installed, "14", "10.13");
        check_way_back(&bench, golden, host, &as_installed, "15", "10.6");
        check_way_back(&bench, golden, host, &as_empty, "10.13", "15");
    }
}

static void test_upgraded(gconstpointer data)
{
    const Host *host = data;
    g_auto(Bench) bench = bench_new(host);
    for (guint i = 0; i < inputs->len; i++) {
        const Golden *golden = inputs->pdata[i];
        if (strstr(golden->text, "device='disk'") != NULL) { /* else nothing is installed on it */
            check_devices_stay(&bench, golden, host, "10.14", "14");
            check_devices_stay(&bench, golden, host, "12", "26");
        }
    }
}

static const char *const some_choices[][2] = {
    {"topology", "1x2x1"},
    {"video", "vmvga"},
    {"video", "none"},
    {"nic", "e1000"},
    {"disk", "sata"},
    {"disk", "virtio"},
    {"usb", "nec-xhci"},
    {"usb", "ich9-ehci1"},
    {"sound", "none"},
    {"sound", "usb"},
    {"hpet", "no"},
    {"smbios", "type=2,product=x"},
    {"cpu-flags", "-pcid"},
    {"handoff.consoles", "off"},
    {"input", "native"},
    {"input", "commandline"},
    {"macos", "14"},
    {"model", "MacPro4,1"},
    {"osk", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"},
};

static void check_forgotten(Bench *bench, const Golden *golden, const Host *host,
                            const DkvmDomainState *state, const char *key, const char *value)
{
    Options plain = golden->options;
    if (plain.key == NULL || !g_str_equal(plain.key, "machine")) {
        plain = (Options){.macos = plain.macos, .model = plain.model};
    }
    if ((plain.macos && g_str_equal(key, "macos")) || (plain.model && g_str_equal(key, "model"))) {
        return; /* that one is set already */
    }
    Options set = {.key = (char *)key, .value = (char *)value};
    Options forget = {.key = (char *)key, .value = (char *)"auto"};
    g_autofree char *never = patch_golden(bench, golden, host, golden->text, state, &plain);
    g_autofree char *chosen = never ? patch_golden(bench, golden, host, never, state, &set) : NULL;
    if (chosen == NULL) {
        return;
    }
    g_autofree char *what = g_strdup_printf("%s=%s, then auto", key, value);
    g_autofree char *after = patch_golden(bench, golden, host, chosen, state, &forget);
    if (after == NULL) {
        fail_at(golden, host, what, "refused");
        return;
    }
    expect_same(golden, host, what, after, never);
    g_autofree char *reverted = must_revert(chosen);
    expect_reverted(golden, host, what, reverted);
}

static void test_set_then_auto(gconstpointer data)
{
    const Host *host = data;
    g_auto(Bench) bench = bench_new(host);
    for (guint i = 0; i < inputs->len; i++) {
        /* A fifth of the choices for each; every choice meets every kind of input on some host. */
        for (gsize k = (i + (gsize)(host - hosts)) % 5; k < G_N_ELEMENTS(some_choices); k += 5) {
            /* An installed guest keeps the devices that work with either macOS. */
            gboolean empty = k % 2 || g_str_equal(some_choices[k][0], "macos");
            check_forgotten(&bench, inputs->pdata[i], host, empty ? &as_empty : &as_installed,
                            some_choices[k][0], some_choices[k][1]);
        }
    }
}

/* ---- the admin's stylesheets ---- */

#define ADMIN(templates)                                                                           \
    "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'>"              \
    "<xsl:template match='/'><xsl:apply-templates select='*/domain'/></xsl:template>"              \
    "<xsl:template match='@*|node()'><xsl:copy><xsl:apply-templates select='@*|node()'/>"          \
    "</xsl:copy></xsl:template>" templates "</xsl:stylesheet>"
#define TITLE                                                                                      \
    "<xsl:template match='domain/os'><title>by the admin</title><xsl:copy>"                        \
    "<xsl:apply-templates select='@*|node()'/></xsl:copy></xsl:template>"

static DkvmPatched *patch_with(const char *sheet, const char *text, GError **error)
{
    GError *broken = NULL;
    g_autoptr(DkvmFacts) facts = host_facts(&hosts[0]);
    g_autoptr(GPtrArray) admin =
        g_ptr_array_new_with_free_func((GDestroyNotify)dkvm_stylesheet_free);
    g_ptr_array_add(admin, dkvm_stylesheet_new(sheet, strlen(sheet), "50-mine.xsl", &broken));
    g_assert_no_error(broken);
    g_autoptr(DkvmPatcher) patcher = dkvm_patcher_new(facts, TEST_OSK, "MacPro5,1", admin, &broken);
    g_assert_no_error(broken);
    return dkvm_patch(patcher, text, strlen(text), "test", &as_installed, NULL, error);
}

static void test_admin(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DkvmPatched) once = patch_with(ADMIN(TITLE), plain_domain, &error);
    g_assert_no_error(error);
    assert_contains(once->xml, "  <title>by the admin</title>\n");
    assert_contains(once->xml, "<dkvm:add at='title'>");
    assert_contains(once->xml, "model='MacPro5,1'");
    g_autoptr(DkvmPatched) twice = patch_with(ADMIN(TITLE), once->xml, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(twice->xml, ==, once->xml);
    g_autofree char *reverted = must_revert(once->xml);
    g_assert_cmpstr(reverted, ==, plain_domain);
    /* The stylesheet is gone: so is what it did. */
    g_autoptr(DkvmPatched) without = patch_with(ADMIN(""), once->xml, &error);
    assert_lacks(without->xml, "by the admin");
}

/* What is the user's alone, and what would change again and again. */
static void test_admin_refused(void)
{
    static const char *const sheets[] = {
        ADMIN("<xsl:template match='domain/name'><name>x</name></xsl:template>"),
        ADMIN("<xsl:template match='domain/name/text()'>x</xsl:template>"),
        ADMIN("<xsl:template match='domain/uuid'/>"),
        ADMIN("<xsl:template match='domain/metadata'/>"),
        ADMIN("<xsl:template match='graphics/@passwd'/>"),
        ADMIN("<xsl:template match='graphics'/>"),
        ADMIN("<xsl:template match='domain/@type'><xsl:attribute name='type'>qemu</xsl:attribute>"
              "</xsl:template>"),
        ADMIN("<xsl:template match='/*/domain'><domain/></xsl:template>"),
        ADMIN("<xsl:template match='/*/domain'><network/></xsl:template>"),
        ADMIN("<xsl:template match='/*/domain'><xsl:message terminate='yes'>no</xsl:message>"
              "</xsl:template>"),
    };
    for (gsize i = 0; i < G_N_ELEMENTS(sheets); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(DkvmPatched) none = patch_with(sheets[i], plain_domain, &error);
        g_assert_null(none);
        g_assert_error(error, DKVM_ERROR, DKVM_ERROR_HOST);
    }
}

/* ---- what no libvirt prints, but a file can hold (found by tests/fuzz) ---- */

/* Either refused, or stable and undone. */
static void check_odd(const char *from, const char *to)
{
    for (gsize s = 0; s < G_N_ELEMENTS(states); s++) {
        g_auto(Bench) bench = bench_new(&hosts[0]);
        g_autoptr(GError) error = NULL;
        g_autofree char *own = replaced(plain_domain, from, to);
        g_autofree char *once = try_patch(&bench, own, states[s], NULL, &error);
        if (once == NULL) {
            g_assert_cmpint(error->code, >=, DKVM_ERROR_INPUT);
            continue;
        }
        g_autofree char *twice = try_patch(&bench, once, states[s], NULL, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(twice, ==, once);
        g_autofree char *reverted = must_revert(once);
        g_autofree char *is = without_order(reverted), *was = without_order(own);
        g_assert_cmpstr(is, ==, was);
    }
}

/* An element that holds text and elements: nothing is freed twice. */
static void test_mixed_content(void)
{
    check_odd(">4194304</currentMemory>", "><x/>4194304<y/></currentMemory>");
    check_odd("'>4</vcpu>", "'>5<x/></vcpu>");
}

/* Text that becomes empty must not be written as <x></x> once and as <x/> the next time. */
static void test_text_becomes_empty(void)
{
    check_odd("  <clock offset",
              "  <pm><suspend-to-mem enabled='yes'>x</suspend-to-mem></pm>\n  <clock offset");
}

/* A result whose marker could not be read again could never be reverted. */
static void test_key_too_long(void)
{
    g_autofree char *mac = g_strnfill(3000, 'a');
    check_odd("52:54:00:dc:71:00", mac);
    check_odd("52:54:00:dc:71:00", "graphics");
}

/* ---- refusals ---- */

static void test_refusals(void)
{
    static const struct {
        gint code;
        const char *from, *to;
    } bad[] = {
        {DKVM_ERROR_INPUT, "type='kvm'", "type='lxc'"},
        {DKVM_ERROR_INPUT, "<domain type='kvm'>", "<domain>"},
        {DKVM_ERROR_INPUT, "<name>mac</name>", ""},
        {DKVM_ERROR_INPUT, "arch='x86_64'", "arch='ppc64'"},
        {DKVM_ERROR_INPUT, ">hvm<", ">xen<"},
        {DKVM_ERROR_INPUT, "</domain>", ""},
        {DKVM_ERROR_INPUT, ">4</vcpu>", ">many</vcpu>"},
    };
    g_auto(Bench) bench = bench_new(&hosts[0]);
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GString) text = g_string_new(plain_domain);
        g_string_replace(text, bad[i].from, bad[i].to, 1);
        g_autofree char *xml = try_patch(&bench, text->str, &as_file, NULL, &error);
        g_assert_null(xml);
        g_assert_error(error, DKVM_ERROR, bad[i].code);
    }
}

static void test_host_cannot(void)
{
    g_auto(Bench) bench = bench_new(&hosts[0]);
    g_autoptr(GError) error = NULL;
    bench.facts->applesmc = DKVM_NO;
    g_autofree char *no_smc = try_patch(&bench, plain_domain, &as_file, NULL, &error);
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_HOST);
    assert_contains(error->message, "isa-applesmc");
    g_clear_error(&error);
    bench.facts->applesmc = DKVM_YES;
    g_ptr_array_set_size(bench.facts->firmware, 0);
    g_autofree char *no_firmware = try_patch(&bench, plain_domain, &as_file, NULL, &error);
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_HOST);
    g_assert_null(no_smc);
    g_assert_null(no_firmware);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    inputs = golden_inputs();
    static const struct {
        const char *name;
        GTestDataFunc test;
    } over_all[] = {
        {"stable", test_stable},
        {"model-then-model", test_model_then_model},
        {"macos-then-macos", test_macos_then_macos},
        {"upgraded", test_upgraded},
        {"set-then-auto", test_set_then_auto},
    };
    for (gsize t = 0; t < G_N_ELEMENTS(over_all); t++) {
        /* Two rounds over all inputs cost minutes: the first and the last host, or all of them. */
        gsize step = t == 0 || g_getenv("DKVM_LONG") ? 1 : G_N_ELEMENTS(hosts) - 1;
        for (gsize h = 0; h < G_N_ELEMENTS(hosts); h += step) {
            g_autofree char *path =
                g_strdup_printf("/patch/all/%s/%s", over_all[t].name, hosts[h].name);
            g_test_add_data_func(path, &hosts[h], over_all[t].test);
        }
    }
    g_test_add_data_func("/patch/way-back", &hosts[0], test_way_back);
    g_test_add_data_func("/patch/guess", &hosts[0], test_guess);
    g_test_add_func("/patch/admin", test_admin);
    g_test_add_func("/patch/admin-refused", test_admin_refused);
    g_test_add_func("/patch/key-too-long", test_key_too_long);
    g_test_add_func("/patch/text-becomes-empty", test_text_becomes_empty);
    g_test_add_func("/patch/mixed-content", test_mixed_content);
    g_test_add_func("/patch/refusals", test_refusals);
    g_test_add_func("/patch/host-cannot", test_host_cannot);
    int status = g_test_run();
    g_ptr_array_unref(inputs);
    return status;
}
