/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The choice of a shape against brute force. */
#include <string.h>

#include "tests/unit/topology.h"

static gboolean choose(gulong version, Cpu cpu, const DkvmTopologyWish *wish, DkvmShape *shape,
                       char **why)
{
    DkvmTopologyQuestion question = ask_about(version, cpu, 7, 7, 7);

    question.skip_tsc = FALSE; /* the TSC gate is no matter of the shape */
    *shape = (DkvmShape){0};
    return dkvm_topology_choose(&question, wish, shape, why);
}

static void assert_choice(gulong version, Cpu cpu, DkvmTopologyWish wish, const char *want)
{
    DkvmShape shape;
    g_autofree char *why = NULL;
    g_autofree char *got = NULL;

    if (!choose(version, cpu, &wish, &shape, &why))
        g_error("%s", why);
    g_assert_null(why);
    got = g_strdup_printf("%ux%ux%u", shape.sockets, shape.cores, shape.threads);
    g_assert_cmpstr(got, ==, want);
    g_assert_cmpuint(shape.dies * shape.modules, ==, 1);
}

static void assert_no_choice(gulong version, Cpu cpu, DkvmTopologyWish wish, const char *part)
{
    DkvmShape shape;
    g_autofree char *why = NULL;

    g_assert_false(choose(version, cpu, &wish, &shape, &why));
    if (!strstr(why, part))
        g_error("\"%s\" is not in: %s", part, why);
}

/* Rows of design.md 4 and of the header. */
static void test_choose_examples(void)
{
    assert_choice(V10, cascadelake, (DkvmTopologyWish){.vcpus = 6, .smt = TRUE}, "1x3x2");
    assert_choice(V10, cascadelake, (DkvmTopologyWish){.vcpus = 6}, "1x6x1");
    assert_choice(V10, cascadelake, (DkvmTopologyWish){.vcpus = 7, .smt = TRUE}, "1x7x1");
    assert_choice(V7_2, cascadelake, (DkvmTopologyWish){.vcpus = 6, .smt = TRUE}, "1x2x2");
    assert_choice(V10, penryn, (DkvmTopologyWish){.vcpus = 6, .smt = TRUE}, "1x2x2");
    assert_choice(V7_2, cascadelake, (DkvmTopologyWish){.vcpus = 4, .smt = TRUE}, "1x2x2");
    assert_choice(V10, cascadelake, (DkvmTopologyWish){.vcpus = 1, .smt = TRUE}, "1x1x1");
    assert_choice(V10, cascadelake, (DkvmTopologyWish){.vcpus = 0}, "1x1x1");
    assert_choice(V10, cascadelake, (DkvmTopologyWish){.vcpus = 16, .host_threads = 6}, "1x6x1");
    assert_choice(V10, cascadelake, (DkvmTopologyWish){.vcpus = 4000000000u}, "1x64x1");
    /* Westmere: at most 15 cores, so 32 threads are 15 x 2. */
    assert_choice(V10, westmere, (DkvmTopologyWish){.vcpus = 32, .smt = TRUE}, "1x15x2");
    assert_choice(V8_2, cascadelake, (DkvmTopologyWish){.vcpus = 6}, "1x4x1");
    assert_choice(0, cascadelake, (DkvmTopologyWish){.vcpus = 6}, "1x1x1");
    assert_choice(0, penryn, (DkvmTopologyWish){.vcpus = 6, .smt = TRUE}, "1x2x2");
}

static void test_choose_keep_count(void)
{
    assert_choice(V10, cascadelake, (DkvmTopologyWish){.vcpus = 6, .keep_count = TRUE, .smt = TRUE},
                  "1x3x2");
    /* Not limited by the host: the number is the user's. */
    assert_choice(V10, cascadelake,
                  (DkvmTopologyWish){.vcpus = 6, .keep_count = TRUE, .host_threads = 2}, "1x6x1");
    /* 7.2 needs powers of two per socket: three sockets. */
    assert_choice(V7_2, cascadelake,
                  (DkvmTopologyWish){.vcpus = 6, .keep_count = TRUE, .smt = TRUE}, "3x1x2");
    assert_choice(V7_2, cascadelake, (DkvmTopologyWish){.vcpus = 6, .keep_count = TRUE}, "3x2x1");
    assert_choice(V7_2, cascadelake,
                  (DkvmTopologyWish){.vcpus = 7, .keep_count = TRUE, .smt = TRUE}, "7x1x1");
    /* Two threads where one does not do: 16 cores are too many for Westmere. */
    assert_choice(V7_2, westmere, (DkvmTopologyWish){.vcpus = 16, .keep_count = TRUE}, "1x8x2");
    assert_no_choice(V10, cascadelake, (DkvmTopologyWish){.vcpus = 80, .keep_count = TRUE},
                     "64 as 1x64x1");
    assert_no_choice(V10, cascadelake, (DkvmTopologyWish){.vcpus = 0, .keep_count = TRUE},
                     "1 as 1x1x1");
    assert_no_choice(V10, cascadelake, (DkvmTopologyWish){.vcpus = 4000000000u, .keep_count = TRUE},
                     "64 as 1x64x1");
}

static void test_choose_absent(void)
{
    static const gboolean half[] = {TRUE, TRUE, TRUE, TRUE, FALSE, FALSE, FALSE, FALSE};
    static const gboolean six[] = {TRUE, TRUE, TRUE, TRUE, TRUE, TRUE, FALSE, FALSE};
    static const gboolean three[] = {TRUE, TRUE, TRUE, FALSE};
    static const gboolean odd[] = {TRUE, FALSE, TRUE, TRUE};
    static const gboolean nobody[] = {FALSE, FALSE};
    static const gboolean all[] = {TRUE, TRUE, TRUE, TRUE, TRUE, TRUE, TRUE, TRUE};

    /* A list that is too short: the rest is absent. */
    assert_choice(V10, cascadelake,
                  (DkvmTopologyWish){.vcpus = 8, .present = all, .present_count = 4}, "2x4x1");
    assert_choice(V10, cascadelake,
                  (DkvmTopologyWish){.vcpus = 8, .present = half, .present_count = 8}, "2x4x1");
    assert_choice(V7_2, cascadelake,
                  (DkvmTopologyWish){.vcpus = 8, .smt = TRUE, .present = half, .present_count = 8},
                  "2x2x2");
    /* All of them are present: as if there were no list. */
    assert_choice(V7_2, cascadelake,
                  (DkvmTopologyWish){.vcpus = 4, .present = half, .present_count = 8}, "1x4x1");
    assert_choice(V7_2, cascadelake,
                  (DkvmTopologyWish){.vcpus = 8, .present = six, .present_count = 8}, "4x2x1");
    assert_choice(V7_2, cascadelake,
                  (DkvmTopologyWish){.vcpus = 4, .present = three, .present_count = 4}, "4x1x1");
    assert_choice(V10, cascadelake,
                  (DkvmTopologyWish){.vcpus = 4, .present = odd, .present_count = 4}, "4x1x1");
    assert_choice(V10, cascadelake,
                  (DkvmTopologyWish){.vcpus = 8, .present = half, .present_count = 4}, "2x4x1");
    assert_no_choice(V10, cascadelake,
                     (DkvmTopologyWish){.vcpus = 2, .present = nobody, .present_count = 2},
                     "whole sockets empty");
}

static void test_choose_refused(void)
{
    DkvmTopologyQuestion old = ask_about(V5_2, westmere, 1, 1, 1);
    DkvmTopologyWish wish = {.vcpus = 4};
    DkvmShape shape;
    g_autofree char *why = NULL;

    assert_no_choice(V10, (Cpu){106, 6}, wish, "Unsupported CPU");
    assert_no_choice(V10, (Cpu){60, 1}, wish, "stepping=4");
    old.macos = 1014;
    g_assert_false(dkvm_topology_choose(&old, &wish, &shape, &why));
    g_assert_nonnull(strstr(why, "No number of vCPUs"));
}

/* The best that a search of everything finds: total, then threads where SMT and the total is even.
 */
static guint brute_force(gulong version, Cpu cpu, guint limit, gboolean smt)
{
    guint best = 0;

    for (guint threads = 1; threads <= (smt ? 2u : 1u); threads++)
        for (guint cores = 1; cores * threads <= limit; cores++) {
            DkvmTopologyQuestion question = ask_about(version, cpu, 1, cores, threads);
            guint total = cores * threads;

            if (dkvm_topology_ask(&question, NULL, NULL) == DKVM_TOPOLOGY_BOOTS && total > best)
                best = total;
        }
    return best;
}

static void check_property(gulong version, Cpu cpu, gboolean smt)
{
    guint before = 0;

    for (guint vcpus = 1; vcpus <= 70; vcpus++) {
        DkvmTopologyWish wish = {.vcpus = vcpus, .host_threads = 66, .smt = smt};
        g_autofree char *why = NULL;
        DkvmShape s;
        DkvmTopologyQuestion question;
        guint total;

        g_assert_true(choose(version, cpu, &wish, &s, &why));
        total = s.cores * s.threads;
        question = ask_about(version, cpu, s.sockets, s.cores, s.threads);
        g_assert_cmpint(dkvm_topology_ask(&question, NULL, NULL), ==, DKVM_TOPOLOGY_BOOTS);
        g_assert_cmpuint(s.sockets, ==, 1);
        g_assert_cmpuint(s.threads, <=, smt ? 2 : 1);
        g_assert_cmpuint(total, <=, MIN(vcpus, 64));
        g_assert_cmpuint(total, >=, before);
        g_assert_cmpuint(total, ==, brute_force(version, cpu, MIN(vcpus, 66), smt));
        before = total;
        wish.vcpus = total; /* choosing again changes nothing */
        g_assert_true(choose(version, cpu, &wish, &question.shape, &why));
        g_assert_cmpmem(&s, sizeof s, &question.shape, sizeof s);
    }
}

static void test_choose_properties(void)
{
    static const gulong versions[] = {0, V5_2, V7_2, V8_2, V9_1, V10, V11_1};
    const Cpu cpus[] = {penryn, nehalem, westmere, cascadelake};

    for (guint i = 0; i < G_N_ELEMENTS(versions); i++)
        for (guint j = 0; j < G_N_ELEMENTS(cpus); j++) {
            check_property(versions[i], cpus[j], FALSE);
            check_property(versions[i], cpus[j], TRUE);
        }
}

/* keep_count: nothing in fewer sockets boots, and what is given boots. */
static void test_keep_count_properties(void)
{
    static const gulong versions[] = {V5_2, V7_2, V10};

    for (guint i = 0; i < G_N_ELEMENTS(versions); i++)
        for (guint vcpus = 1; vcpus <= 64; vcpus++) {
            DkvmTopologyWish wish = {.vcpus = vcpus, .keep_count = TRUE};
            g_autofree char *why = NULL;
            DkvmShape s;

            g_assert_true(choose(versions[i], westmere, &wish, &s, &why));
            g_assert_cmpuint(s.sockets * s.cores * s.threads, ==, vcpus);
            for (guint fewer = 1; fewer < s.sockets; fewer++)
                for (guint threads = 1; threads <= 2; threads++) {
                    DkvmTopologyQuestion question;

                    if (vcpus % (fewer * threads))
                        continue;
                    question =
                        ask_about(versions[i], westmere, fewer, vcpus / fewer / threads, threads);
                    g_assert_cmpint(dkvm_topology_ask(&question, NULL, NULL), ==,
                                    DKVM_TOPOLOGY_SHAPE);
                }
        }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/topology/choose/examples", test_choose_examples);
    g_test_add_func("/topology/choose/keep-count", test_choose_keep_count);
    g_test_add_func("/topology/choose/absent", test_choose_absent);
    g_test_add_func("/topology/choose/refused", test_choose_refused);
    g_test_add_func("/topology/choose/properties", test_choose_properties);
    g_test_add_func("/topology/choose/keep-count-properties", test_keep_count_properties);
    return g_test_run();
}
