/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory of a domain as libvirt gives it to QEMU (docs/formatdomain.rst, "Memory Backing" and
 * "NUMA Node Tuning"): <page nodeset=''> names cells of the guest, <numatune> says which nodes of
 * the host each of them may use.  <currentMemory> is the balloon's, which vfio makes idle: all of
 * <memory> is pinned. */
#include "qemu-hook/wants-memory.h"

#include <string.h>
#include <unistd.h>

#include "lib/xml.h"

#define MAX_NODES 64

/* libvirt's units (virScaleInteger): KiB where none is given; b, KB, K, KiB, ... */
static guint64 bytes_of(const xmlNode *element, const char *text)
{
    static const struct {
        const char *unit;
        guint64 factor;
    } units[] = {{"b", 1},           {"bytes", 1},       {"KB", 1000},     {"k", 1024},
                 {"KiB", 1024},      {"MB", 1000000},    {"M", 1 << 20},   {"MiB", 1 << 20},
                 {"GB", 1000000000}, {"G", 1 << 30},     {"GiB", 1 << 30}, {"TB", 1000000000000},
                 {"T", 1ULL << 40},  {"TiB", 1ULL << 40}};
    const char *unit = dkvm_xml_get(element, "unit");
    guint64 value = g_ascii_strtoull(text, NULL, 10), factor = 1024;

    for (gsize i = 0; unit && i < G_N_ELEMENTS(units); i++) {
        if (g_ascii_strcasecmp(unit, units[i].unit) == 0)
            factor = units[i].factor;
    }
    return value > G_MAXUINT64 / factor ? G_MAXUINT64 : value * factor;
}

/* Of the text in ELEMENT; 0 without it. */
static guint64 bytes_in(const xmlNode *element)
{
    g_autofree char *text = element ? dkvm_xml_text(element) : NULL;

    return text ? bytes_of(element, g_strstrip(text)) : 0;
}

/* "0-3,^2,8" (virBitmapParse) as bits.  Nodes from 64 on are not looked at: a set of only such
 * ones is empty. */
static guint64 node_set(const char *text)
{
    g_auto(GStrv) words = g_strsplit(text ? text : "", ",", -1);
    guint64 set = 0;

    for (char **word = words; *word; word++) {
        const char *first = g_strstrip(*word);
        gboolean without = *first == '^';
        char *end;
        guint64 from = g_ascii_strtoull(first + without, &end, 10);
        guint64 to = *end == '-' ? g_ascii_strtoull(end + 1, NULL, 10) : from;

        for (guint64 i = from; end != first + without && i <= to && i < MAX_NODES; i++)
            set = without ? set & ~((guint64)1 << i) : set | (guint64)1 << i;
    }
    return set;
}

static gboolean has_bit(guint64 set, guint64 bit)
{
    return bit < MAX_NODES && (set >> bit & 1) != 0;
}

/* ---- pages ------------------------------------------------------------------------------ */

static guint64 page_kb(const xmlNode *page)
{
    const char *text = dkvm_xml_get(page, "size");
    guint64 kb = text ? bytes_of(page, text) / 1024 : 0;

    /* libvirt takes the host's own page size as "no huge pages" (qemuBuildMemoryBackendProps). */
    return kb == (guint64)sysconf(_SC_PAGESIZE) / 1024 ? DKVM_PAGE_NORMAL : kb;
}

/* Of the guest's CELL.  A <page> that names it, or else the one that names none. */
static guint64 pages_of(const xmlNode *domain, guint64 cell)
{
    const xmlNode *huge = dkvm_xml_child(dkvm_xml_child(domain, "memoryBacking"), "hugepages");
    guint64 others = DKVM_PAGE_NORMAL;

    if (!huge)
        return DKVM_PAGE_NORMAL;
    if (!dkvm_xml_child(huge, "page"))
        return DKVM_PAGE_DEFAULT;
    for (xmlNode *page = dkvm_xml_element(huge->children); page;
         page = dkvm_xml_element(page->next)) {
        const char *cells = dkvm_xml_get(page, "nodeset");

        if (!dkvm_xml_is(page, "page"))
            continue;
        if (!cells || *cells == '\0')
            others = page_kb(page);
        else if (has_bit(node_set(cells), cell))
            return page_kb(page);
    }
    return others;
}

/* ---- nodes of the host ------------------------------------------------------------------ */

/* Of a <memory> or <memnode> in <numatune>.  With "preferred" and "interleave" the kernel takes
 * others where these have nothing left: only MPOL_BIND limits it (policy_nodemask() in
 * mm/mempolicy.c). */
static guint64 bound_to(const xmlNode *element)
{
    const char *mode = element ? dkvm_xml_get(element, "mode") : NULL;
    gboolean may_leave = g_strcmp0(mode, "preferred") == 0 || g_strcmp0(mode, "interleave") == 0;

    return element && !may_leave ? node_set(dkvm_xml_get(element, "nodeset")) : 0;
}

static guint64 nodes_of(const xmlNode *domain, guint64 cell)
{
    const xmlNode *tune = dkvm_xml_child(domain, "numatune");

    for (xmlNode *one = tune ? dkvm_xml_element(tune->children) : NULL; one;
         one = dkvm_xml_element(one->next)) {
        const char *id = dkvm_xml_is(one, "memnode") ? dkvm_xml_get(one, "cellid") : NULL;

        if (id && g_ascii_strtoull(id, NULL, 10) == cell)
            return bound_to(one);
    }
    return bound_to(dkvm_xml_child(tune, "memory"));
}

/* ---- parts ------------------------------------------------------------------------------ */

/* For each part the whole XML is looked through, so somebody's XML must not have any number. */
static gboolean is_full(const DkvmWants *wants)
{
    return wants->memory->len > DKVM_MEMORY_PARTS;
}

static void add_cells(DkvmWants *wants, const xmlNode *domain, const xmlNode *numa)
{
    guint64 next = 0;

    for (xmlNode *cell = dkvm_xml_element(numa->children); cell && !is_full(wants);
         cell = dkvm_xml_element(cell->next)) {
        const char *id = dkvm_xml_get(cell, "id"), *text = dkvm_xml_get(cell, "memory");

        if (!dkvm_xml_is(cell, "cell"))
            continue;
        guint64 number = id ? g_ascii_strtoull(id, NULL, 10) : next;
        DkvmMemoryPart part = {.bytes = text ? bytes_of(cell, text) : 0,
                               .page_kb = pages_of(domain, number),
                               .nodes = nodes_of(domain, number)};

        next = number + 1;
        g_array_append_val(wants->memory, part);
    }
}

/* <memory model='dimm'> and 'virtio-mem': other models are files. */
static void add_module(DkvmWants *wants, const xmlNode *domain, const xmlNode *device)
{
    const char *model = dkvm_xml_get(device, "model");
    const xmlNode *target = dkvm_xml_child(device, "target");
    const xmlNode *source = dkvm_xml_child(device, "source");
    const xmlNode *size = dkvm_xml_child(source, "pagesize");
    const xmlNode *nodes = dkvm_xml_child(source, "nodemask");
    gboolean dimm = g_strcmp0(model, "dimm") == 0;

    if (!dimm && g_strcmp0(model, "virtio-mem") != 0)
        return;
    const xmlNode *cell = dkvm_xml_child(target, "node");
    g_autofree char *id = cell ? dkvm_xml_text(cell) : g_strdup("0");
    g_autofree char *mask = nodes ? dkvm_xml_text(nodes) : NULL;
    guint64 number = g_ascii_strtoull(id, NULL, 10);
    DkvmMemoryPart part = {.bytes = bytes_in(dkvm_xml_child(target, dimm ? "size" : "requested")),
                           .page_kb = size ? bytes_in(size) / 1024 : pages_of(domain, number),
                           .nodes = mask ? node_set(mask) : nodes_of(domain, number)};

    if (part.page_kb == (guint64)sysconf(_SC_PAGESIZE) / 1024)
        part.page_kb = DKVM_PAGE_NORMAL;
    g_array_append_val(wants->memory, part);
}

gboolean dkvm_wants_read_memory(DkvmWants *wants, const xmlNode *domain)
{
    const xmlNode *devices = dkvm_xml_child(domain, "devices");
    const xmlNode *numa = dkvm_xml_child(dkvm_xml_child(domain, "cpu"), "numa");

    wants->memory = g_array_new(FALSE, TRUE, sizeof(DkvmMemoryPart));
    if (!numa || !dkvm_xml_child(numa, "cell")) {
        DkvmMemoryPart all = {.bytes = bytes_in(dkvm_xml_child(domain, "memory")),
                              .page_kb = pages_of(domain, 0),
                              .nodes = nodes_of(domain, 0)};

        g_array_append_val(wants->memory, all);
        return TRUE;
    }
    /* With cells <memory> is the sum of them and of the modules (virDomainDefPostParseMemory). */
    add_cells(wants, domain, numa);
    for (xmlNode *one = devices ? dkvm_xml_element(devices->children) : NULL;
         one && !is_full(wants); one = dkvm_xml_element(one->next)) {
        if (dkvm_xml_is(one, "memory"))
            add_module(wants, domain, one);
    }
    return !is_full(wants);
}
