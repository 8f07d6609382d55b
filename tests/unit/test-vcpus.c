/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which count and shape a domain gets; the oracle itself is tested by test-topology.c. */
#include "tests/unit/helpers.h"
#include "xslt/vcpus.h"

#define Q7 7002022
#define Q10 10000000
#define Q6 6002000

/* BODY is what is inside <domain>.  SHAPE is "vcpus SxDxCxT[ leave]", or "" for an error. */
typedef struct {
    const char *name, *body;
    gulong qemu;
    const char *choice;
    gboolean edited;
    const char *shape;
} Row;

static const Row rows[] = {
    {"no-vcpu", "", Q7, NULL, FALSE, "1 1x1x1x1"},
    {"four", "<vcpu>4</vcpu>", Q7, NULL, FALSE, "4 1x1x2x2"},
    {"blanks", "<vcpu> 4 </vcpu>", Q7, NULL, FALSE, "4 1x1x2x2"},
    {"six-old-qemu", "<vcpu>6</vcpu>", Q7, NULL, FALSE, "4 1x1x2x2"},
    {"six-new-qemu", "<vcpu>6</vcpu>", Q10, NULL, FALSE, "6 1x1x3x2"},
    {"more-than-host", "<vcpu>48</vcpu>", Q10, NULL, FALSE, "24 1x1x12x2"},
    {"zero", "<vcpu>0</vcpu>", Q7, NULL, FALSE, ""},
    {"word", "<vcpu>x</vcpu>", Q7, NULL, FALSE, ""},
    {"empty", "<vcpu/>", Q7, NULL, FALSE, ""},
    {"negative", "<vcpu>-1</vcpu>", Q7, NULL, FALSE, ""},
    {"huge", "<vcpu>4097</vcpu>", Q7, NULL, FALSE, ""},
    {"overflow", "<vcpu>18446744073709551617</vcpu>", Q7, NULL, FALSE, ""},
    {"own-shape", "<vcpu>4</vcpu><cpu><topology sockets='1' cores='4' threads='1'/></cpu>", Q7,
     NULL, FALSE, "4 1x1x4x1 leave"},
    {"own-shape-dies",
     "<vcpu>4</vcpu><cpu><topology sockets='1' dies='1' cores='4' threads='1'/>"
     "</cpu>",
     Q7, NULL, FALSE, "4 1x1x4x1 leave"},
    {"own-clusters",
     "<vcpu>4</vcpu><cpu><topology sockets='1' clusters='2' cores='2' threads='1'/>"
     "</cpu>",
     Q7, NULL, FALSE, "4 1x1x2x2"},
    {"own-nonsense", "<vcpu>4</vcpu><cpu><topology sockets='x' cores='4' threads='1'/></cpu>", Q7,
     NULL, FALSE, "4 1x1x2x2"},
    {"own-no-threads", "<vcpu>4</vcpu><cpu><topology sockets='1' cores='4'/></cpu>", Q7, NULL,
     FALSE, "4 1x1x2x2"},
    {"own-bad-dies",
     "<vcpu>4</vcpu><cpu><topology sockets='1' dies='0' cores='4' threads='1'/></cpu>", Q7, NULL,
     FALSE, "4 1x1x2x2"},
    {"own-other-total", "<vcpu>4</vcpu><cpu><topology sockets='1' cores='8' threads='1'/></cpu>",
     Q7, NULL, FALSE, "4 1x1x2x2"},
    {"own-overflow",
     "<vcpu>4</vcpu><cpu><topology sockets='4096' dies='4096' cores='4096' "
     "threads='4096'/></cpu>",
     Q7, NULL, FALSE, "4 1x1x2x2"},
    {"own-sockets", "<vcpu>4</vcpu><cpu><topology sockets='4' cores='1' threads='1'/></cpu>", Q7,
     NULL, FALSE, "4 1x1x2x2"},
    {"own-sockets-edited", "<vcpu>4</vcpu><cpu><topology sockets='4' cores='1' threads='1'/></cpu>",
     Q7, NULL, TRUE, "4 4x1x1x1 leave"},
    {"own-does-not-boot", "<vcpu>3</vcpu><cpu><topology sockets='1' cores='3' threads='1'/></cpu>",
     Q7, NULL, TRUE, "2 1x1x1x2"},
    {"choice", "<vcpu>8</vcpu>", Q7, "1x2x1", FALSE, "2 1x1x2x1"},
    {"choice-sockets", "<vcpu>8</vcpu>", Q7, "2x2x1", FALSE, "4 2x1x2x1"},
    {"choice-does-not-boot", "<vcpu>8</vcpu>", Q7, "1x3x1", FALSE, ""},
    {"choice-nonsense", "<vcpu>8</vcpu>", Q7, "x", FALSE, ""},
    {"choice-against-numa", "<vcpu>8</vcpu><cpu><numa/></cpu>", Q7, "1x2x1", FALSE, ""},
    {"choice-with-numa", "<vcpu>2</vcpu><cpu><numa/></cpu>", Q7, "1x2x1", FALSE, "2 1x1x2x1"},
    {"choice-against-pin", "<vcpu>8</vcpu><cputune><vcpupin vcpu='7'/></cputune>", Q7, "1x2x1",
     FALSE, ""},
    {"choice-with-pin", "<vcpu>8</vcpu><cputune><vcpupin vcpu='1'/></cputune>", Q7, "1x2x1", FALSE,
     "2 1x1x2x1"},
    {"numa-keeps", "<vcpu>6</vcpu><cpu><numa><cell/></numa></cpu>", Q7, NULL, FALSE, "6 3x1x1x2"},
    {"pin-keeps", "<vcpu>6</vcpu><cputune><vcpupin vcpu='5'/></cputune>", Q7, NULL, FALSE,
     "6 3x1x1x2"},
    {"pin-of-others", "<vcpu>6</vcpu><cputune><vcpupin vcpu='3'/></cputune>", Q7, NULL, FALSE,
     "4 1x1x2x2"},
    {"sched-range", "<vcpu>6</vcpu><cputune><vcpusched vcpus='0-3,^2,5'/></cputune>", Q7, NULL,
     FALSE, "6 3x1x1x2"},
    {"sched-nonsense", "<vcpu>6</vcpu><cputune><vcpusched vcpus='abc'/><x/></cputune>", Q7, NULL,
     FALSE, "4 1x1x2x2"},
    {"pin-that-cannot-be-kept", "<vcpu>67</vcpu><cputune><vcpupin vcpu='66'/></cputune>", Q7, NULL,
     FALSE, ""},
    {"current-all", "<vcpu current='4'>4</vcpu>", Q7, NULL, FALSE, "4 1x1x2x2"},
    {"current-more", "<vcpu current='9'>4</vcpu>", Q7, NULL, FALSE, "4 1x1x2x2"},
    {"current-nonsense", "<vcpu current='x'>4</vcpu>", Q7, NULL, FALSE, "4 1x1x2x2"},
    {"current-half", "<vcpu current='2'>4</vcpu>", Q7, NULL, FALSE, "4 2x1x1x2"},
    {"current-odd", "<vcpu current='3'>4</vcpu>", Q7, NULL, FALSE, "4 4x1x1x1"},
    {"vcpus-all",
     "<vcpu>2</vcpu><vcpus><vcpu id='0' enabled='yes'/><vcpu id='1' enabled='yes'/>"
     "</vcpus>",
     Q7, NULL, FALSE, "2 1x1x1x2"},
    {"vcpus-absent",
     "<vcpu>2</vcpu><vcpus><vcpu id='0' enabled='yes'/><vcpu id='1' enabled='no'/>"
     "</vcpus>",
     Q7, NULL, FALSE, "2 2x1x1x1"},
    {"vcpus-nonsense",
     "<vcpu>2</vcpu><vcpus><vcpu id='7' enabled='no'/><vcpu id='x' enabled='no'/>"
     "<vcpu enabled='no'/></vcpus>",
     Q7, NULL, FALSE, "2 1x1x1x2"},
    {"old-qemu", "<vcpu>4</vcpu>", Q6, NULL, FALSE, NULL},
    {"old-qemu-numa", "<vcpu>4</vcpu><cpu><numa/></cpu>", Q6, NULL, FALSE, NULL},
};

static char *shape_text(const DkvmVcpus *vcpus)
{
    return g_strdup_printf("%u %ux%ux%ux%u%s", vcpus->vcpus, vcpus->shape.sockets,
                           vcpus->shape.dies, vcpus->shape.cores, vcpus->shape.threads,
                           vcpus->leave ? " leave" : "");
}

static char *choose(const Row *row, DkvmMacos macos, const char *model, GError **error)
{
    g_autoptr(DkvmFacts) facts = host_facts(&hosts[0]);
    g_autofree char *text = g_strdup_printf("<domain type='kvm'>%s</domain>", row->body);
    g_autoptr(DkvmDoc) doc = must_parse(text);
    DkvmVcpus vcpus = {0};
    facts->qemu_version = row->qemu;
    if (!dkvm_vcpus_choose(xmlDocGetRootElement(doc), facts, dkvm_models_cpu(model, macos), macos,
                           row->choice, row->edited, &vcpus, error)) {
        return g_strdup("");
    }
    return shape_text(&vcpus);
}

static void test_row(gconstpointer data)
{
    const Row *row = data;
    g_autoptr(GError) error = NULL;
    g_autofree char *is = choose(row, 1400, "MacPro7,1", &error);
    if (row->shape == NULL) { /* whatever it is, it is said */
        g_assert_true((*is == '\0') == (error != NULL));
        return;
    }
    g_assert_cmpstr(is, ==, row->shape);
    g_assert_true((*is == '\0') == (error != NULL));
}

static void test_errors(void)
{
    static const struct {
        const char *name;
        gint code;
        const char *says;
    } wanted[] = {
        {"zero", DKVM_ERROR_INPUT, "1 to 4096"},
        {"choice-does-not-boot", DKVM_ERROR_HOST, "1x3x1"},
        {"choice-against-numa", DKVM_ERROR_HOST, "NUMA"},
    };
    for (gsize w = 0; w < G_N_ELEMENTS(wanted); w++) {
        for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
            g_autoptr(GError) error = NULL;
            if (g_str_equal(rows[i].name, wanted[w].name)) {
                g_autofree char *is = choose(&rows[i], 1400, "MacPro7,1", &error);
                g_assert_cmpstr(is, ==, "");
                g_assert_error(error, DKVM_ERROR, wanted[w].code);
                assert_contains(error->message, wanted[w].says);
            }
        }
    }
}

/* QEMU before 7.2 does not answer MSR 0x35: one vCPU where the domain leaves the choice, else an
 * error. */
static void test_no_msr35(void)
{
    static const Row free_choice = {"", "<vcpu>4</vcpu>", Q6, NULL, FALSE, NULL};
    static const Row kept = {"", "<vcpu>4</vcpu><cpu><numa/></cpu>", Q6, NULL, FALSE, NULL};
    static const Row absent = {"", "<vcpu current='1'>4</vcpu>", Q6, NULL, FALSE, NULL};
    g_autoptr(GError) error = NULL;
    g_autofree char *one = choose(&free_choice, 1010, "MacPro5,1", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(one, ==, "1 1x1x1x1");
    g_autofree char *none = choose(&kept, 1010, "MacPro5,1", &error);
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_HOST);
    g_clear_error(&error);
    g_autofree char *no = choose(&absent, 1010, "MacPro5,1", &error);
    g_assert_cmpstr(no, ==, none);
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_HOST);
}

static void test_question(void)
{
    g_autoptr(DkvmFacts) facts = host_facts(&hosts[0]);
    const DkvmCpuModel *cpu = dkvm_models_cpu("MacPro5,1", 1400);
    DkvmTopologyQuestion kvm = dkvm_vcpus_question(facts, cpu, 1400, TRUE);
    DkvmTopologyQuestion tcg = dkvm_vcpus_question(facts, cpu, 1400, FALSE);
    g_assert_true(kvm.kvm && kvm.tsc_leaf);
    g_assert_false(tcg.kvm || tcg.tsc_leaf);
    g_assert_cmpuint(kvm.model, ==, 44);
    g_assert_cmpuint(kvm.macos, ==, 1400);
    g_assert_cmpuint(kvm.qemu_version, ==, facts->qemu_version);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/vcpus/%s", rows[i].name);
        g_test_add_data_func(path, &rows[i], test_row);
    }
    g_test_add_func("/vcpus/errors", test_errors);
    g_test_add_func("/vcpus/no-msr35", test_no_msr35);
    g_test_add_func("/vcpus/question", test_question);
    return g_test_run();
}
