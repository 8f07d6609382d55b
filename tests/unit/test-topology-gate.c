/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The oracle's gate: which CPU, vendor and TSC XNU starts on at all. */
#include <string.h>

#include "tests/unit/topology.h"

static DkvmTopologyVerdict gate(guint model, guint stepping, DkvmMacos macos, char **why)
{
    DkvmTopologyQuestion question = ask_about(V10, (Cpu){model, stepping}, 1, 1, 1);

    question.macos = macos;
    return dkvm_topology_ask(&question, NULL, why);
}

/* facts/xnu.md 7, and the CPUs of models.xml where it uses them. */
static void test_gate_by_version(void)
{
    static const struct {
        guint model;
        DkvmMacos macos;
        gboolean passes;
    } cases[] = {
        {15, 1004, TRUE},  {15, 1011, TRUE},   {15, 1012, FALSE},  {15, 1400, FALSE},
        {15, 0, TRUE},     {23, 1004, TRUE},   {23, 2600, TRUE},   {44, 1006, TRUE},
        {44, 1500, TRUE},  {44, 0, TRUE},      {78, 1012, TRUE},   {85, 1012, FALSE},
        {85, 1013, TRUE},  {85, 2600, TRUE},   {85, 0, TRUE},      {158, 1012, FALSE},
        {158, 1013, TRUE}, {142, 1013, TRUE},  {125, 1015, FALSE}, {126, 1100, TRUE},
        {159, 1500, TRUE}, {165, 1015, TRUE},  {165, 1400, TRUE},  {165, 0, TRUE},
        {106, 0, FALSE},   {106, 1500, FALSE}, {0, 0, FALSE},      {0, 1500, FALSE},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *why = NULL;
        DkvmTopologyVerdict verdict = gate(cases[i].model, 9, cases[i].macos, &why);

        g_test_message("model %u macOS %u: %s", cases[i].model, cases[i].macos, why);
        g_assert_cmpint(verdict, ==,
                        cases[i].passes ? DKVM_TOPOLOGY_BOOTS : DKVM_TOPOLOGY_CPU_GATE);
    }
}

static void assert_why(guint model, guint stepping, DkvmMacos macos, const char *part)
{
    g_autofree char *why = NULL;

    gate(model, stepping, macos, &why);
    if (!strstr(why, part))
        g_error("\"%s\" is not in: %s", part, why);
}

static void assert_no_note(guint model, guint stepping, DkvmMacos macos)
{
    g_autofree char *why = NULL;

    gate(model, stepping, macos, &why);
    g_assert_cmpstr(why, ==, "XNU starts with this shape.");
}

static void test_gate_words(void)
{
    assert_why(165, 2, 1300, "macOS 14 only");
    assert_no_note(165, 2, 1400);
    assert_why(165, 2, 0, "macOS 14 only");
    assert_why(85, 6, 0, "only in macOS 10.13 and newer");
    assert_no_note(85, 6, 1400);
    assert_why(15, 3, 0, "only in macOS 10.11 and older");
    assert_no_note(44, 1, 0);
    assert_why(15, 3, 1015, "macOS 10.15 refuses family 6 model 15");
    assert_why(85, 6, 1012, "macOS 10.12 refuses family 6 model 85");
    assert_why(106, 6, 0, "every macOS refuses family 6 model 106");
    assert_why(106, 6, 1400, "shows nothing");
    assert_why(60, 1, 1400, "stepping=4");
    assert_why(60, 1, 1400, "shows nothing");
}

static void test_haswell(void)
{
    static const struct {
        guint model, stepping;
        gboolean passes;
    } cases[] = {{60, 2, FALSE}, {60, 3, TRUE}, {69, 0, FALSE}, {69, 1, TRUE},
                 {70, 0, FALSE}, {70, 1, TRUE}, {63, 0, TRUE}};

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++)
        for (DkvmMacos macos = 0; macos <= 1500; macos += 1500)
            g_assert_cmpint(gate(cases[i].model, cases[i].stepping, macos, NULL), ==,
                            cases[i].passes ? DKVM_TOPOLOGY_BOOTS : DKVM_TOPOLOGY_CPU_GATE);
}

static void test_vendor(void)
{
    static const char *const others[] = {
        NULL, "", "GenuineInte", "GenuineIntel ", "genuineintel", "AuthenticAMD"};
    DkvmTopologyQuestion question = ask_about(V10, cascadelake, 1, 4, 1);

    for (guint i = 0; i < G_N_ELEMENTS(others); i++) {
        question.vendor = others[i];
        g_assert_cmpint(dkvm_topology_ask(&question, NULL, NULL), ==, DKVM_TOPOLOGY_CPU_GATE);
    }
    question = ask_about(V10, penryn, 1, 4, 1);
    question.family = 15;
    g_assert_cmpint(dkvm_topology_ask(&question, NULL, NULL), ==, DKVM_TOPOLOGY_CPU_GATE);
}

static void test_tsc(void)
{
    DkvmTopologyQuestion question = ask_about(V10, cascadelake, 1, 3, 1);
    g_autofree char *xnu = NULL;
    g_autofree char *kvm = NULL;
    g_autofree char *tcg = NULL;

    question.skip_tsc = FALSE;
    g_assert_cmpint(dkvm_topology_ask(&question, &xnu, &tcg), ==, DKVM_TOPOLOGY_TSC);
    g_assert_cmpstr(xnu, ==, "divide error");
    g_assert_nonnull(strstr(tcg, "Penryn"));
    question.tsc_leaf = TRUE; /* without KVM there is no such leaf */
    g_assert_cmpint(dkvm_topology_ask(&question, NULL, NULL), ==, DKVM_TOPOLOGY_TSC);
    question.kvm = TRUE;
    g_assert_cmpint(dkvm_topology_ask(&question, NULL, NULL), ==, DKVM_TOPOLOGY_BOOTS);
    question.tsc_leaf = FALSE;
    g_assert_cmpint(dkvm_topology_ask(&question, NULL, &kvm), ==, DKVM_TOPOLOGY_TSC);
    g_assert_nonnull(strstr(kvm, "vmware-cpuid-freq=on"));
    question.model = 23;
    question.shape.cores = 4;
    g_assert_cmpint(dkvm_topology_ask(&question, NULL, NULL), ==, DKVM_TOPOLOGY_BOOTS);
    question.model = 15;
    question.macos = 1009;
    g_assert_cmpint(dkvm_topology_ask(&question, NULL, NULL), ==, DKVM_TOPOLOGY_BOOTS);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/topology/gate/version", test_gate_by_version);
    g_test_add_func("/topology/gate/words", test_gate_words);
    g_test_add_func("/topology/gate/haswell", test_haswell);
    g_test_add_func("/topology/gate/vendor", test_vendor);
    g_test_add_func("/topology/gate/tsc", test_tsc);
    return g_test_run();
}
