/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-hook/wants-memory.c and memory.c: what a domain's memory is, and where on the host it is
 * found or can be made. */
#include <glib.h>
#include <string.h>

#include "lib/config.h"
#include "lib/error.h"
#include "qemu-hook/memory.h"
#include "tests/unit/handover-host.h"

#define CELLS "<cpu><numa><cell id='0' memory='1' unit='GiB'/><cell memory='2097152'/></numa></cpu>"
#define HUGE(pages) "<memoryBacking><hugepages>" pages "</hugepages></memoryBacking>"
#define GIG "<memory unit='GiB'>1</memory>"

static DkvmWants *wants_of(const char *inside)
{
    GError *error = NULL;
    g_autofree char *xml =
        g_strdup_printf("<domain><name>mac</name><uuid>11111111-2222-3333-4444-555555555555</uuid>"
                        "%s</domain>",
                        inside);
    DkvmWants *wants = dkvm_wants_parse(xml, strlen(xml), NULL, &error);

    g_assert_no_error(error);
    return wants;
}

/* "MiB/KiB/NODES " for each part. */
static char *parts_of(const char *inside)
{
    g_autoptr(DkvmWants) wants = wants_of(inside);
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < wants->memory->len; i++) {
        const DkvmMemoryPart *part = &g_array_index(wants->memory, DkvmMemoryPart, i);

        g_string_append_printf(
            text, "%" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT "/%" G_GINT64_MODIFIER "x ",
            part->bytes >> 20, part->page_kb, part->nodes);
    }
    return g_string_free(text, FALSE);
}

static void test_parts(void)
{
    static const char *const cases[][2] = {
        {"", "0/0/0 "},
        {GIG "<currentMemory unit='GiB'>4</currentMemory>", "1024/0/0 "},
        {"<memory>2048</memory>", "2/0/0 "},
        {"<memory unit='GB'>1</memory>", "953/0/0 "},
        {"<memory unit='TiB'>99999999999999</memory>", "17592186044415/0/0 "},
        {GIG HUGE(""), "1024/1/0 "},
        {GIG HUGE("<page size='2' unit='M'/>"), "1024/2048/0 "},
        {GIG HUGE("<page size='1048576'/>"), "1024/1048576/0 "},
        /* the page size of the host: none */
        {GIG HUGE("<page size='4' unit='KiB'/>"), "1024/0/0 "},
        {GIG "<numatune><memory mode='strict' nodeset='0-2,^1'/></numatune>", "1024/0/5 "},
        {GIG "<numatune><memory nodeset='3'/></numatune>", "1024/0/8 "},
        {GIG "<numatune><memory mode='preferred' nodeset='3'/></numatune>", "1024/0/0 "},
        {GIG "<numatune><memory mode='interleave' nodeset='3'/></numatune>", "1024/0/0 "},
        {GIG "<numatune><memory mode='strict' placement='auto'/></numatune>", "1024/0/0 "},
        {GIG "<numatune><memory nodeset='63,64,99999999999999999999'/></numatune>",
         "1024/0/8000000000000000 "},
        {GIG "<numatune><memory nodeset='x,,-,^'/></numatune>", "1024/0/0 "},
        /* cells: not the sum above them; a page for one of them, or for the rest */
        {GIG CELLS, "1024/0/0 2048/0/0 "},
        {CELLS HUGE(""), "1024/1/0 2048/1/0 "},
        {CELLS HUGE("<page size='2048' nodeset='1'/>"), "1024/0/0 2048/2048/0 "},
        {CELLS HUGE("<page size='1' unit='GiB' nodeset='0'/><page size='2048'/>"),
         "1024/1048576/0 2048/2048/0 "},
        {CELLS "<numatune><memory nodeset='0-1'/><memnode cellid='1' mode='strict' nodeset='1'/>"
               "</numatune>",
         "1024/0/3 2048/0/2 "},
        /* modules: by the cell they are in, or as they say */
        {CELLS HUGE("<page size='2048' nodeset='1'/>") "<devices><memory model='dimm'><target>"
                                                       "<size unit='MiB'>512</size><node>1</node>"
                                                       "</target></memory></devices>",
         "1024/0/0 2048/2048/0 512/2048/0 "},
        {CELLS "<devices><memory model='virtio-mem'><source><pagesize unit='KiB'>2048</pagesize>"
               "<nodemask>1</nodemask></source><target><size unit='MiB'>512</size><node>0</node>"
               "<requested unit='MiB'>256</requested></target></memory></devices>",
         "1024/0/0 2048/0/0 256/2048/2 "},
        {CELLS "<devices><memory model='nvdimm'><target><size>99</size></target></memory>"
               "</devices>",
         "1024/0/0 2048/0/0 "},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *parts = parts_of(cases[i][0]);

        g_test_message("%s", cases[i][0]);
        g_assert_cmpstr(parts, ==, cases[i][1]);
    }
}

/* ---- on a host -------------------------------------------------------------------------- */

static void put_pool(const char *node, const char *kb, const char *all, const char *free_pages)
{
    static const char *const names[] = {"nr_hugepages", "free_hugepages", "surplus_hugepages"};
    const char *const values[] = {all, free_pages, "0"};

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_strdup_printf(
            "/sys/devices/system/node/%s/hugepages/hugepages-%skB/%s", node, kb, names[i]);

        put(path, values[i]);
    }
    g_autofree char *size = g_strdup_printf("/sys/kernel/mm/hugepages/hugepages-%skB/x", kb);
    put(size, "");
}

/* 4 GiB on node 0, 1 GiB and files on node 1. */
static void make_nodes(void)
{
    make_host();
    put("/proc/meminfo", "MemTotal: 9 kB\nMemAvailable: 6291456 kB\nHugepagesize: 2048 kB\n");
    put("/sys/devices/system/node/node0/meminfo",
        "Node 0 MemFree: 4194304 kB\nNode 0 Active(file): 0 kB\n");
    put("/sys/devices/system/node/node1/meminfo",
        "Node 1 MemFree: 1048576 kB\nNode 1 Active(file): 524288 kB\nNode 1 Inactive(file): "
        "524288 kB\nNode 1 Inactive(anon): 99999999 kB\n");
    put("/sys/devices/system/node/possible", "0-1\n");
    put_pool("node0", "2048", "100", "50");
    put_pool("node1", "2048", "300", "200");
}

static const char *setting = "hugepages = refuse";
static char *notes; /* of the last plan */

/* "POOL NEED AVAILABLE; ..." and then the refusals. */
static char *answer(const char *inside)
{
    g_autofree char *text = g_strconcat("[handoff]\ndomains = all\n", setting, "\n", NULL);
    GString *all = g_string_new(NULL);
    GError *error = NULL;

    put("/etc/dkvm/dkvm.conf", text);
    g_autoptr(DkvmConfig) config = dkvm_config_load(&error);
    g_assert_no_error(error);
    g_autoptr(DkvmWants) wants = wants_of(inside);
    g_autoptr(DkvmPlan) plan = dkvm_plan_new(wants, config, &error);
    g_assert_no_error(error);
    g_autoptr(GArray) list = dkvm_memory_pages(plan);

    for (guint i = 0; i < list->len; i++) {
        const DkvmPages *pages = &g_array_index(list, DkvmPages, i);
        g_autofree char *name = dkvm_pool_name(&pages->pool);

        if (pages->need)
            g_string_append_printf(all, "%s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "; ", name,
                                   pages->need, pages->available);
    }
    g_free(notes);
    g_ptr_array_add(plan->notes, NULL);
    notes = g_strjoinv("; ", (char **)plan->notes->pdata);
    g_ptr_array_set_size(plan->notes, (int)plan->notes->len - 1);
    for (guint i = 0; i < plan->refusals->len; i++) {
        const DkvmRefusal *refusal = g_ptr_array_index(plan->refusals, i);

        g_string_append_printf(all, "%s | %s", refusal->text, refusal->todo);
    }
    return g_string_free(all, FALSE);
}

static void expect(const char *inside, const char *expected)
{
    g_autofree char *found = answer(inside);

    g_assert_cmpstr(found, ==, expected);
}

/* The part of the answer that matters. */
static void expect_part(const char *inside, const char *expected)
{
    g_autofree char *found = answer(inside);

    g_test_message("%s", found);
    g_assert_nonnull(strstr(found, expected));
}

#define MIB(number) "<memory unit='MiB'>" number "</memory>"
#define ON(nodes) "<numatune><memory mode='strict' nodeset='" nodes "'/></numatune>"

/* Whether a domain with so many is read. */
static gboolean can_have(guint cells, guint modules)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) xml =
        g_string_new("<domain><name>mac</name><uuid>11111111-2222-3333-4444-555555555555</uuid>"
                     "<cpu><numa>");

    for (guint i = 0; i < cells; i++)
        g_string_append(xml, "<cell memory='1024'/>");
    g_string_append(xml, "</numa></cpu><devices>");
    for (guint i = 0; i < modules; i++)
        g_string_append(xml, "<memory model='dimm'/>");
    g_string_append(xml, "</devices></domain>");
    g_autoptr(DkvmWants) wants = dkvm_wants_parse(xml->str, xml->len, NULL, &error);

    if (wants) {
        g_assert_cmpuint(wants->memory->len, ==, cells + modules);
        return TRUE;
    }
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_INPUT);
    g_assert_nonnull(strstr(error->message, "more than 384 NUMA cells and memory modules"));
    return FALSE;
}

/* QEMU's most; beyond that the time it takes would be up to the author of the XML. */
static void test_many(void)
{
    g_assert_true(can_have(128, 256));
    g_assert_false(can_have(385, 0));
    g_assert_false(can_have(1, 384));
    g_assert_false(can_have(8000, 8000));
}

static void test_free_pages(void)
{
    make_nodes();
    expect(MIB("400") HUGE(""), "node1/2048kB 200 200; ");
    expect(MIB("500") HUGE(""), "node0/2048kB 50 50; node1/2048kB 200 200; ");
    expect(MIB("100") HUGE("") ON("0"), "node0/2048kB 50 50; ");
    /* an odd one counts as a whole page */
    expect(MIB("3") HUGE("") ON("0"), "node0/2048kB 2 50; ");
    /* a part that must be there takes its pages before one that may be anywhere */
    expect("<cpu><numa><cell id='0' memory='300' unit='MiB'/><cell id='1' memory='200' "
           "unit='MiB'/></numa></cpu>" HUGE(
               "") "<numatune><memnode cellid='1' nodeset='1'/></numatune>",
           "node0/2048kB 50 50; node1/2048kB 200 200; ");
}

/* What another VM counts on that is about to start is not free. */
static void test_promised(void)
{
    make_nodes();
    put("/run/dkvm/hugepages", "boot b007\npool node0/2048kB 100\n"
                               "vm 99999999-2222-3333-4444-555555555555 node0/2048kB 30 0\n"
                               "vm 11111111-2222-3333-4444-555555555555 node0/2048kB 9 0\n");
    expect(MIB("40") HUGE("") ON("0"), "node0/2048kB 20 20; ");
    expect_part(MIB("42") HUGE("") ON("0"), "wants 21 huge pages of 2048 KiB (42 MiB), and 20 are");
}

/* Free, but mapped by another program that has not touched them yet. */
static void test_reserved(void)
{
    make_nodes();
    put("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "30\n");
    expect(MIB("40") HUGE("") ON("0"), "node0/2048kB 20 20; ");
    expect_part(MIB("42") HUGE("") ON("0"), "wants 21 huge pages of 2048 KiB (42 MiB), and 20 are");
    expect_part(MIB("42") HUGE("") ON("0"), "echo 101 >");
    setting = "hugepages = allocate";
    expect(MIB("1000") HUGE("") ON("0"), "node0/2048kB 500 20; ");
    setting = "hugepages = refuse";
    /* more than the node has free: none is left there */
    put("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "90\n");
    expect(MIB("40") HUGE(""), "node1/2048kB 20 110; ");
}

static void test_refused(void)
{
    make_nodes();
    expect(
        MIB("102") HUGE("") ON("0"),
        "node0/2048kB 51 50; The VM wants 51 huge pages of 2048 KiB (102 MiB), and 50 are free "
        "for it (node0/2048kB). | Let them be made at each start of such a VM: write "
        "\"hugepages = allocate\" below [handoff] in /etc/dkvm/dkvm.conf. Or make them yourself: "
        "echo 101 >/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages");
    expect(MIB("64") HUGE("<page size='1' unit='GiB'/>"),
           "This kernel has no huge pages of 1048576 KiB, which the VM wants; it has (in KiB): "
           "2048. | Correct <hugepages> of the VM.");
    expect(MIB("64") ON("2-3"), "The VM is to have memory of NUMA nodes that this host does not "
                                "have. | Correct <numatune> of the VM.");
    expect(MIB("6144"), "");
    expect_part(MIB("6145"), "The VM wants 6145 MiB that are in no huge page yet, and 6144 MiB of "
                             "this host are available");
    /* huge pages are not among what is available */
    expect("<cpu><numa><cell id='0' memory='6144' unit='MiB'/><cell id='1' memory='200' "
           "unit='MiB'/></numa></cpu>" HUGE("<page size='2048' nodeset='1'/>"),
           "node1/2048kB 100 200; ");
}

/* Normal memory that is bound to nodes has to be there, whatever the others have. */
static void test_bound(void)
{
    make_nodes();
    expect(MIB("4096") ON("0"), "");
    expect_part(MIB("4097") ON("0"), "The VM wants 4097 MiB that are in no huge page yet, and 4096 "
                                     "MiB of the NUMA nodes 0 (<numatune>) are available");
    expect(MIB("4097") "<numatune><memory mode='preferred' nodeset='0'/></numatune>", "");
    expect(MIB("6144") ON("0-1"), "");
    expect_part(MIB("2049") ON("1"), "and 2048 MiB of the NUMA nodes 1 ");
    /* each cell by itself, and all that are bound to one node together */
#define BOUND_CELLS(first, second, node)                                                           \
    "<cpu><numa><cell id='0' memory='" first "' unit='MiB'/><cell id='1' memory='" second          \
    "' unit='MiB'/></numa></cpu><numatune><memnode cellid='0' nodeset='0'/><memnode cellid='1' "   \
    "nodeset='" node "'/></numatune>"
    expect(BOUND_CELLS("4000", "2000", "1"), "");
    expect_part(BOUND_CELLS("1000", "2100", "1"), "wants 2100 MiB");
    expect_part(BOUND_CELLS("3000", "1100", "0"), "wants 4100 MiB");
    /* with the huge pages that are to be made there */
    setting = "hugepages = allocate";
#define HALF_HUGE HUGE("<page size='2048' nodeset='1'/>")
    expect(BOUND_CELLS("3000", "1100", "0") HALF_HUGE, "node0/2048kB 550 50; ");
    expect_part(BOUND_CELLS("3000", "1200", "0") HALF_HUGE, "wants 4100 MiB");
    setting = "hugepages = refuse";
    /* no figures */
    put("/sys/devices/system/node/node0/meminfo", "");
    expect(MIB("4097") ON("0"), "");
}

/* What the kernel makes by itself is not missing, if there is memory for it. */
static void test_overcommit(void)
{
    make_nodes();
    put("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages", "120\n");
    put("/sys/kernel/mm/hugepages/hugepages-2048kB/surplus_hugepages", "20\n");
    expect(MIB("300") HUGE("") ON("0"), "node0/2048kB 150 50; ");
    expect_part(MIB("302") HUGE("") ON("0"), "The VM wants 151 huge pages of 2048 KiB (302 MiB)");
    /* for the whole host, not for each node */
    expect_part("<cpu><numa><cell id='0' memory='202' unit='MiB'/><cell id='1' memory='500' "
                "unit='MiB'/></numa></cpu>" HUGE(
                    "") "<numatune><memnode cellid='0' nodeset='0'/><memnode cellid='1' "
                        "nodeset='1'/></numatune>",
                "The VM wants 250 huge pages");
    /* and it is memory, like other memory */
    put("/sys/devices/system/node/node0/meminfo", "Node 0 MemFree: 204799 kB\n");
    expect_part(MIB("300") HUGE("") ON("0"), "The VM wants 150 huge pages");
    make_nodes();
    put("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages", "9999\n");
    put("/proc/meminfo", "MemAvailable: 204799 kB\nHugepagesize: 2048 kB\n");
    expect_part(MIB("300") HUGE("") ON("0"), "The VM wants 200 MiB that are in no huge page yet");
    put("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages", "0\n");
}

#define GPU                                                                                        \
    "<devices><hostdev mode='subsystem' type='pci' managed='no'><source><address domain='0' "      \
    "bus='1' slot='0' function='0'/></source></hostdev></devices>"

/* What the desktop has may be enough, and is only known when it is gone; what is more than all
 * programs have cannot be. */
static void test_desktop(void)
{
    make_nodes();
    put("/proc/meminfo", "MemAvailable: 6291456 kB\nAnonPages: 2097152 kB\nShmem: 1048576 kB\n"
                         "ShmemHugePages: 99999999 kB\nHugepagesize: 2048 kB\n");
    put("/sys/devices/system/node/node0/meminfo",
        "Node 0 MemFree: 4194304 kB\nNode 0 AnonPages: 1048576 kB\n");
    put("/etc/libvirt/qemu/mac.xml",
        "<domain type='kvm'><name>mac</name><uuid>" UUID "</uuid></domain>");
    setting = "desktop = stop";
    expect_part(MIB("9216") GPU, "wants 9216 MiB"); /* nobody is ended */
    put_link("/etc/systemd/system/display-manager.service", "/lib/systemd/system/dm.service");
    put("/sys/devices/pci0000:00/0000:01:00.0/drm/card1/dev", "1:3\n");
    put("/proc/77/comm", "Xorg\n");
    put("/proc/77/cgroup", "0::/system.slice/dm.service\n");
    put_link("/proc/77/fd/5", "/dev/null");
    expect(MIB("9216") GPU, "");
    g_assert_nonnull(strstr(notes, "wants 9216 MiB that are in no huge page yet, and 6144 MiB of "
                                   "this host are available before the desktop is ended"));
    expect_part(MIB("9217") GPU, "wants 9217 MiB");
    expect(MIB("5120") ON("0") GPU, "");
    expect_part(MIB("5121") ON("0") GPU, "wants 5121 MiB");
    expect(MIB("6144") GPU, "");
    g_assert_null(strstr(notes, "before the desktop is ended"));
    /* huge pages are made before it is ended */
    setting = "desktop = stop\nhugepages = allocate";
    put("/proc/meminfo", "MemAvailable: 512000 kB\nAnonPages: 2097152 kB\nHugepagesize: 2048 kB\n");
    expect_part(MIB("1100") HUGE("") GPU, "wants 600 MiB");
    setting = "desktop = refuse";
    expect_part(MIB("600") GPU, "wants 600 MiB");
    setting = "hugepages = refuse";
}

static void test_made(void)
{
    make_nodes();
    setting = "hugepages = allocate";
    /* where most is free; then on the next */
    expect(MIB("1000") HUGE(""), "node0/2048kB 300 50; node1/2048kB 200 200; ");
    expect(MIB("5620") HUGE(""), "node0/2048kB 2098 50; node1/2048kB 712 200; ");
    expect(MIB("1100") HUGE("") ON("1"), "node1/2048kB 550 200; ");
    expect_part(MIB("2450") HUGE("") ON("1"),
                "1025 huge pages of 2048 KiB (2050 MiB) would have to be made for the VM, and 2048 "
                "MiB are available there (node1/2048kB).");
    /* what each node has may be more than what the host has */
    put("/proc/meminfo", "MemAvailable: 1048576 kB\nHugepagesize: 2048 kB\n");
    expect_part(MIB("1526") HUGE(""),
                "The VM wants 1026 MiB that are in no huge page yet, and 1024 "
                "MiB of this host are available");
    expect(MIB("1524") HUGE(""), "node0/2048kB 562 50; node1/2048kB 200 200; ");
    setting = "hugepages = refuse";
}

/* A kernel without NUMA has one pool of each size. */
static void test_no_nodes(void)
{
    make_host();
    put("/proc/meminfo", "MemAvailable: 1048576 kB\nHugepagesize: 2048 kB\n");
    put("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "7");
    put("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "5");
    expect(MIB("10") HUGE("") ON("3"), "host/2048kB 5 5; ");
    expect_part(MIB("12") HUGE(""),
                "echo 8 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
    make_host();
    expect_part(MIB("12") HUGE(""), "This kernel has no huge pages, which");
    /* no figures: nothing is known, nothing is refused */
    expect(MIB("12"), "");
}

int main(int argc, char **argv)
{
    g_autofree char *folder = g_dir_make_tmp("dkvm-memory-XXXXXX", NULL);

    root = g_build_filename(folder, "root", NULL);
    g_assert_true(g_setenv("DKVM_ROOT", root, TRUE));
    g_test_init(&argc, &argv, NULL);
    dkvm_worker_act = fake_kernel;
    g_test_add_func("/memory/parts", test_parts);
    g_test_add_func("/memory/many", test_many);
    g_test_add_func("/memory/free-pages", test_free_pages);
    g_test_add_func("/memory/promised", test_promised);
    g_test_add_func("/memory/reserved", test_reserved);
    g_test_add_func("/memory/refused", test_refused);
    g_test_add_func("/memory/bound", test_bound);
    g_test_add_func("/memory/overcommit", test_overcommit);
    g_test_add_func("/memory/desktop", test_desktop);
    g_test_add_func("/memory/made", test_made);
    g_test_add_func("/memory/no-nodes", test_no_nodes);
    int failed = g_test_run();

    remove_tree(folder);
    g_free(root);
    g_free(notes);
    return failed;
}
