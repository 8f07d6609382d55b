/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vfio pins all of a guest's memory at its start; what cannot be had then ends QEMU, after the
 * desktop was ended for it (facts/handoff.md F32, F33). */
#include "qemu-hook/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/numbers.h"
#include "lib/paths.h"
#include "qemu-hook/users.h"
#include "udev/host-private.h"
#include "udev/sysfs.h"

#define NODES "/sys/devices/system/node"
#define SIZES "/sys/kernel/mm/hugepages"
#define MAX_NODES 64 /* as in DkvmMemoryPart */

/* ---- the host --------------------------------------------------------------------------- */

/* "MemFree:   123 kB" in PATH, in bytes; 0 if it is not there. */
static guint64 memory_info(const char *path, const char *name)
{
    g_autofree char *text = dkvm_host_text(path, 8192);
    const char *line = text ? strstr(text, name) : NULL;

    return line ? g_ascii_strtoull(line + strlen(name), NULL, 10) * 1024 : 0;
}

/* What pages can be made of: free, or files that can be read again.  Below the kernel's own
 * MemAvailable (si_mem_available()), which no node has. */
static guint64 spare_of(int node)
{
    g_autofree char *path = g_strdup_printf(NODES "/node%d/meminfo", node);

    if (node == DKVM_NO_NODE)
        return memory_info("/proc/meminfo", "MemAvailable:");
    return memory_info(path, "MemFree:") + memory_info(path, "Active(file):") +
           memory_info(path, "Inactive(file):");
}

/* What programs have, all of them: no more than that is given back when some of them end. */
static guint64 held_on(int node)
{
    g_autofree char *path = node == DKVM_NO_NODE ? g_strdup("/proc/meminfo")
                                                 : g_strdup_printf(NODES "/node%d/meminfo", node);

    return memory_info(path, "AnonPages:") + memory_info(path, "Shmem:");
}

/* Numbers of the host's nodes, in order; DKVM_NO_NODE alone without NUMA. */
static GArray *host_nodes(void)
{
    g_autoptr(GPtrArray) names = dkvm_host_list(NODES);
    GArray *nodes = g_array_new(FALSE, FALSE, sizeof(int));
    int none = DKVM_NO_NODE;

    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        int node = g_str_has_prefix(name, "node") && g_ascii_isdigit(name[4])
                       ? (int)CLAMP(g_ascii_strtoll(name + 4, NULL, 10), 0, G_MAXINT)
                       : DKVM_NO_NODE;

        if (node != DKVM_NO_NODE)
            g_array_append_val(nodes, node);
    }
    if (nodes->len == 0)
        g_array_append_val(nodes, none);
    return nodes;
}

static gboolean may_have(const DkvmMemoryPart *part, int node)
{
    return part->nodes == 0 || node == DKVM_NO_NODE ||
           (node < MAX_NODES && (part->nodes >> node & 1) != 0);
}

static guint64 page_kb(const DkvmMemoryPart *part)
{
    return part->page_kb == DKVM_PAGE_DEFAULT ? memory_info("/proc/meminfo", "Hugepagesize:") / 1024
                                              : part->page_kb;
}

static guint64 pages_in(guint64 bytes, guint64 kb)
{
    guint64 size = kb * 1024;

    return bytes / size + (bytes % size != 0);
}

/* ---- pools ------------------------------------------------------------------------------ */

static DkvmPages *pages_of(const DkvmPlan *plan, GArray *list, int node, guint64 kb)
{
    for (guint i = 0; i < list->len; i++) {
        DkvmPages *one = &g_array_index(list, DkvmPages, i);

        if (one->pool.node == node && one->pool.kb == kb)
            return one;
    }
    DkvmPages pages = {.pool = {.node = node, .kb = kb}, .spare = spare_of(node)};
    guint64 all = dkvm_pool_count(&pages.pool, "free_hugepages");

    all -= MIN(all, dkvm_pool_reserved(&pages.pool));
    pages.available = all - MIN(all, dkvm_hugepages_promised(plan->wants->uuid, &pages.pool));
    g_array_append_val(list, pages);
    return &g_array_index(list, DkvmPages, list->len - 1);
}

/* Pages that could still be made there, or G_MAXUINT64 for those that are there already. */
static guint64 room(const DkvmPages *pages, gboolean made)
{
    guint64 making = pages->need - MIN(pages->need, pages->available);
    guint64 can = pages->spare / (pages->pool.kb * 1024);

    if (!made)
        return pages->available - MIN(pages->need, pages->available);
    return can - MIN(can, making);
}

/* Of the nodes that PART may use, the one with the most room; NULL: none has any. */
static DkvmPages *roomiest(const DkvmPlan *plan, GArray *list, const GArray *nodes,
                           const DkvmMemoryPart *part, gboolean made)
{
    int best = G_MININT;
    guint64 most = 0;

    for (guint i = 0; i < nodes->len; i++) {
        int node = g_array_index(nodes, int, i);
        guint64 here =
            may_have(part, node) ? room(pages_of(plan, list, node, page_kb(part)), made) : 0;

        if (here > most) {
            most = here;
            best = node;
        }
    }
    return most > 0 ? pages_of(plan, list, best, page_kb(part)) : NULL;
}

/* Pages that are there, then pages that can be made; what has no room anywhere is added to the
 * first node that it may use, where it is found missing. */
static void place(const DkvmPlan *plan, GArray *list, const GArray *nodes,
                  const DkvmMemoryPart *part)
{
    guint64 left = pages_in(part->bytes, page_kb(part));
    DkvmPages *pages;

    for (int made = FALSE; made <= TRUE; made++) {
        while (left > 0 && (pages = roomiest(plan, list, nodes, part, made))) {
            guint64 some = MIN(left, room(pages, made));

            pages->need += some;
            left -= some;
        }
    }
    for (guint i = 0; left > 0 && i < nodes->len; i++) {
        int node = g_array_index(nodes, int, i);

        if (!may_have(part, node))
            continue;
        pages_of(plan, list, node, page_kb(part))->need += left;
        left = 0;
    }
}

static gboolean kernel_has(guint64 kb)
{
    g_autofree char *path =
        g_strdup_printf("%s" SIZES "/hugepages-%" G_GUINT64_FORMAT "kB", dkvm_paths_root(), kb);
    struct stat st;

    if (kb == 0 || stat(path, &st) == 0)
        return kb > 0;
    /* Else the VM would start without the pages that it is to have. */
    dkvm_sysfs_note(errno, path);
    return FALSE;
}

static gboolean is_huge(const DkvmMemoryPart *part)
{
    return part->page_kb != DKVM_PAGE_NORMAL && kernel_has(page_kb(part));
}

static int by_pool(gconstpointer a, gconstpointer b)
{
    const DkvmPool *first = &((const DkvmPages *)a)->pool, *second = &((const DkvmPages *)b)->pool;

    if (first->node != second->node)
        return first->node < second->node ? -1 : 1;
    return (first->kb > second->kb) - (first->kb < second->kb);
}

/* Parts that are bound to nodes choose first. */
GArray *dkvm_memory_pages(const DkvmPlan *plan)
{
    GArray *list = g_array_new(FALSE, TRUE, sizeof(DkvmPages));
    g_autoptr(GArray) nodes = host_nodes();

    for (int bound = TRUE; bound >= FALSE; bound--) {
        for (guint i = 0; i < plan->wants->memory->len; i++) {
            const DkvmMemoryPart *part = &g_array_index(plan->wants->memory, DkvmMemoryPart, i);

            if (is_huge(part) && (part->nodes != 0) == bound)
                place(plan, list, nodes, part);
        }
    }
    g_array_sort(list, by_pool);
    return list;
}

/* ---- what does not fit ------------------------------------------------------------------- */

/* "2048, 1048576", or "none". */
static char *kernel_sizes(void)
{
    g_autoptr(GPtrArray) names = dkvm_host_list(SIZES);
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);

        if (g_str_has_prefix(name, "hugepages-"))
            g_string_append_printf(text, "%s%" G_GUINT64_FORMAT, text->len ? ", " : "",
                                   g_ascii_strtoull(name + strlen("hugepages-"), NULL, 10));
    }
    return g_string_free(text->len ? text : g_string_append(text, "none"), FALSE);
}

static void check_part(DkvmPlan *plan, const GArray *nodes, const DkvmMemoryPart *part)
{
    gboolean any = FALSE;

    for (guint i = 0; i < nodes->len; i++)
        any = any || may_have(part, g_array_index(nodes, int, i));
    if (!any)
        dkvm_plan_refuse(plan, "Correct <numatune> of the VM.",
                         "The VM is to have memory of NUMA nodes that this host does not have.");
    if (part->page_kb == DKVM_PAGE_NORMAL || is_huge(part))
        return;
    g_autofree char *sizes = kernel_sizes();
    guint64 kb = page_kb(part);

    if (kb == 0)
        dkvm_plan_refuse(plan, "Take <hugepages> out of the VM.",
                         "This kernel has no huge pages, which the VM wants.");
    else
        dkvm_plan_refuse(plan, "Correct <hugepages> of the VM.",
                         "This kernel has no huge pages of %" G_GUINT64_FORMAT
                         " KiB, which the VM wants; it has (in KiB): %s.",
                         kb, sizes);
}

static guint64 missing_kb(const DkvmPages *pages)
{
    return (pages->need - MIN(pages->need, pages->available)) * pages->pool.kb;
}

static void refuse_missing(DkvmPlan *plan, const DkvmPages *pages)
{
    g_autofree char *path = dkvm_pool_path(&pages->pool, "nr_hugepages");
    g_autofree char *name = dkvm_pool_name(&pages->pool);
    g_autofree char *todo = g_strdup_printf(
        "Let them be made at each start of such a VM: write \"hugepages = allocate\" below "
        "[handoff] in /etc/dkvm/dkvm.conf. Or make them yourself: echo %" G_GUINT64_FORMAT " >%s",
        dkvm_pool_count(&pages->pool, "nr_hugepages") + pages->need - pages->available, path);

    dkvm_plan_refuse(
        plan, todo,
        "The VM wants %" G_GUINT64_FORMAT " huge pages of %" G_GUINT64_FORMAT
        " KiB (%" G_GUINT64_FORMAT " MiB), and %" G_GUINT64_FORMAT " are free for it (%s).",
        pages->need, pages->pool.kb, pages->need * pages->pool.kb >> 10, pages->available, name);
}

static void refuse_unmakable(DkvmPlan *plan, const DkvmPages *pages)
{
    g_autofree char *name = dkvm_pool_name(&pages->pool);

    dkvm_plan_refuse(plan, "Close programs, or give the VM less memory.",
                     "%" G_GUINT64_FORMAT " huge pages of %" G_GUINT64_FORMAT
                     " KiB (%" G_GUINT64_FORMAT
                     " MiB) would have to be made for the VM, and %" G_GUINT64_FORMAT
                     " MiB are available there (%s).",
                     missing_kb(pages) / pages->pool.kb, pages->pool.kb, missing_kb(pages) >> 10,
                     pages->spare >> 20, name);
}

/* nr_overcommit_hugepages: the kernel makes pages by itself when they are mapped and none is free
 * (alloc_surplus_hugetlb_folio() in mm/hugetlb.c).  It counts them for the whole host, so what the
 * pools of LIST before LAST want of them is counted in. */
static gboolean kernel_makes(const GArray *list, guint last)
{
    const DkvmPages *pages = &g_array_index(list, DkvmPages, last);
    const DkvmPool host = {.node = DKVM_NO_NODE, .kb = pages->pool.kb};
    guint64 most = dkvm_pool_count(&host, "nr_overcommit_hugepages"), wanted = 0;

    for (guint i = 0; i <= last; i++) {
        const DkvmPages *one = &g_array_index(list, DkvmPages, i);

        if (one->pool.kb == host.kb)
            wanted += missing_kb(one) / host.kb;
    }
    return wanted <= most - MIN(most, dkvm_pool_count(&host, "surplus_hugepages")) &&
           missing_kb(pages) <= pages->spare >> 10;
}

static void note_kernel_makes(DkvmPlan *plan, const DkvmPages *pages)
{
    g_autofree char *name = dkvm_pool_name(&pages->pool);

    dkvm_plan_note(
        plan,
        "The kernel has to make %" G_GUINT64_FORMAT " huge pages of %" G_GUINT64_FORMAT
        " KiB when QEMU starts (%s, nr_overcommit_hugepages), and may find no whole ones "
        "then; with \"hugepages = allocate\" they are made before anything is touched.",
        missing_kb(pages) / pages->pool.kb, pages->pool.kb, name);
}

/* What is refused here is not counted again by check_room(). */
static void check_pages(DkvmPlan *plan, GArray *list)
{
    for (guint i = 0; i < list->len; i++) {
        DkvmPages *pages = &g_array_index(list, DkvmPages, i);

        if (missing_kb(pages) == 0)
            continue;
        if (!plan->config->hugepages_allocate && kernel_makes(list, i)) {
            note_kernel_makes(plan, pages);
            continue;
        }
        if (!plan->config->hugepages_allocate)
            refuse_missing(plan, pages);
        else if (missing_kb(pages) > pages->spare >> 10)
            refuse_unmakable(plan, pages);
        else
            continue;
        pages->need = pages->available;
    }
}

/* ---- room -------------------------------------------------------------------------------- */

/* Some nodes of the host, or all of it. */
typedef struct {
    guint64 nodes;          /* bits; 0: all */
    guint64 normal, making; /* KiB that can be nowhere else: no huge pages, and those to be made */
    guint64 spare;          /* KiB; 0: not known */
    guint64 held;           /* KiB that may become spare when the desktop ends */
} Room;

static gboolean is_in(const Room *room, int node)
{
    return room->nodes == 0 || (node >= 0 && node < MAX_NODES && (room->nodes >> node & 1) != 0);
}

static Room room_of(const DkvmPlan *plan, const GArray *nodes, const GArray *list, guint64 set)
{
    Room room = {.nodes = set};

    if (set == 0) {
        room.spare = spare_of(DKVM_NO_NODE) >> 10;
        room.held = held_on(DKVM_NO_NODE) >> 10;
    }

    for (guint i = 0; i < plan->wants->memory->len; i++) {
        const DkvmMemoryPart *part = &g_array_index(plan->wants->memory, DkvmMemoryPart, i);

        if (part->page_kb == DKVM_PAGE_NORMAL &&
            (set == 0 || (part->nodes != 0 && (part->nodes & ~set) == 0)))
            room.normal += part->bytes >> 10;
    }
    for (guint i = 0; i < list->len; i++) {
        const DkvmPages *pages = &g_array_index(list, DkvmPages, i);

        if (is_in(&room, pages->pool.node))
            room.making += missing_kb(pages);
    }
    for (guint i = 0; set && i < nodes->len; i++) {
        int node = g_array_index(nodes, int, i);

        if (!is_in(&room, node))
            continue;
        room.spare += spare_of(node) >> 10;
        room.held += held_on(node) >> 10;
    }
    return room;
}

/* "this host", "the NUMA nodes 0,2". */
static char *place_text(guint64 set)
{
    DkvmNumbers numbers = {0};

    for (guint i = 0; i < MAX_NODES; i++) {
        if (set >> i & 1)
            dkvm_numbers_put(&numbers, i);
    }
    g_autofree char *text = dkvm_numbers_text(&numbers);

    return set ? g_strconcat("the NUMA nodes ", text, " (<numatune>)", NULL)
               : g_strdup("this host");
}

/* A device is held by the display manager or a session, which dkvm.conf lets be ended. */
static gboolean ends_desktop(const DkvmPlan *plan)
{
    for (guint i = 0; plan->config->desktop_stop && i < plan->targets->len; i++) {
        g_autoptr(GPtrArray) users =
            dkvm_users(g_ptr_array_index(plan->targets, i), plan->mappings);

        for (guint k = 0; k < users->len; k++) {
            const DkvmUser *user = g_ptr_array_index(users, k);

            if (user->kind == DKVM_USER_MANAGER || user->kind == DKVM_USER_SESSION)
                return TRUE;
        }
    }
    return FALSE;
}

/* *ENDS: whether the desktop is ended; below 0: not looked up yet. */
static void check_room(DkvmPlan *plan, const Room *room, int *ends)
{
    guint64 wanted = room->normal + room->making;
    g_autofree char *place = place_text(room->nodes);

    if (room->spare == 0 || wanted <= room->spare)
        return;
    if (*ends < 0)
        *ends = ends_desktop(plan);
    /* How much of it is the desktop's own, nobody can say: its processes share memory, and the
     * GPU's driver has some for them.  So it is for people to know, unless it cannot be enough. */
    if (room->making <= room->spare && wanted <= room->spare + room->held && *ends) {
        dkvm_plan_note(plan,
                       "The VM wants %" G_GUINT64_FORMAT " MiB that are in no huge page yet, and "
                       "%" G_GUINT64_FORMAT " MiB of %s are available before the desktop is ended; "
                       "if that does not free as much as is missing, the VM does not start.",
                       wanted >> 10, room->spare >> 10, place);
        return;
    }
    dkvm_plan_refuse(plan, "Close programs, or give the VM less memory.",
                     "The VM wants %" G_GUINT64_FORMAT " MiB that are in no huge page yet, and "
                     "%" G_GUINT64_FORMAT " MiB of %s are available; with a PCI device all "
                     "of it is taken at the start.",
                     wanted >> 10, room->spare >> 10, place);
}

/* Normal memory that is bound to a set of nodes which no part before it has. */
static gboolean is_new_binding(const GArray *parts, guint number)
{
    const DkvmMemoryPart *part = &g_array_index(parts, DkvmMemoryPart, number);

    for (guint i = 0; i < number; i++) {
        const DkvmMemoryPart *before = &g_array_index(parts, DkvmMemoryPart, i);

        if (before->page_kb == DKVM_PAGE_NORMAL && before->nodes == part->nodes)
            return FALSE;
    }
    return part->page_kb == DKVM_PAGE_NORMAL && part->nodes != 0;
}

/* The host as a whole, and each set of nodes that normal memory is bound to: there the kernel ends
 * QEMU (MPOL_BIND, policy_nodemask() in mm/mempolicy.c) while other nodes have plenty. */
void dkvm_memory_check(DkvmPlan *plan)
{
    const GArray *parts = plan->wants->memory;
    g_autoptr(GArray) nodes = host_nodes();
    int ends = -1;

    for (guint i = 0; i < parts->len; i++)
        check_part(plan, nodes, &g_array_index(parts, DkvmMemoryPart, i));
    g_autoptr(GArray) list = dkvm_memory_pages(plan);

    check_pages(plan, list);
    Room all = room_of(plan, nodes, list, 0);

    check_room(plan, &all, &ends);
    for (guint i = 0; i < parts->len; i++) {
        guint64 set = g_array_index(parts, DkvmMemoryPart, i).nodes;

        if (!is_new_binding(parts, i))
            continue;
        Room some = room_of(plan, nodes, list, set);

        check_room(plan, &some, &ends);
    }
}
