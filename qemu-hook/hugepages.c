/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A pool is a counter that others change, too: another VM's guard, the admin, another program's
 * hook.  Its value before and after therefore says nothing about what is ours, and the journal,
 * which has such values, cannot undo it.  So how many pages were made is written down here, in one
 * small file for the host, /run/dkvm/hugepages, replaced as a whole:
 *
 *   boot BOOT-ID                        of another boot: nothing of it holds
 *   pool NAME BASE                      pages that were not made by us
 *   vm UUID NAME NEED MADE              NEED: free pages that the VM counts on; MADE of them by us
 *   write UUID NAME FROM TO             about to be written to nr_hugepages; at most one
 *
 * Everything is done by the worker, in one go, with a lock on the folder: read, "write" line, write
 * nr_hugepages, read back, MADE.  The kernel drops the lock when the process is gone, so whoever
 * gets it knows that no write is under way, and if a "write" line is there, that its author was
 * killed: the counter then says how far it came.  (What a third party does to the counter in just
 * that moment cannot be told apart; at other moments it can.)
 *
 * Taking away is a difference, too: what others have stays, BASE and the pages of other VMs.  BASE
 * grows with what somebody adds meanwhile; who lowers the counter has taken ours first.
 * Pages in use, or promised to a mapping, are never freed by that: the kernel turns what is above
 * the new number into surplus pages, which leave when their user lets go of them
 * (Documentation/admin-guide/mm/hugetlbpage.rst; set_max_huge_pages() in mm/hugetlb.c).  Kernels
 * up to 6.1 at least count surplus pages of the other nodes in when one node is written to: what is
 * left then is read back and stays MADE, for the next try. */
#include "qemu-hook/hugepages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/file.h"
#include "lib/paths.h"
#include "qemu-hook/handover.h"
#include "qemu-hook/rundir.h"
#include "qemu-hook/worker.h"
#include "udev/host-private.h"
#include "udev/sysfs.h"

#define LEDGER DKVM_RUN_DIR "/hugepages"
#define LEDGER_MAX (64 * 1024)
#define WORDS 5

/* ---- pools ------------------------------------------------------------------------------ */

char *dkvm_pool_name(const DkvmPool *pool)
{
    if (pool->node == DKVM_NO_NODE)
        return g_strdup_printf("host/%" G_GUINT64_FORMAT "kB", pool->kb);
    return g_strdup_printf("node%d/%" G_GUINT64_FORMAT "kB", pool->node, pool->kb);
}

gboolean dkvm_pool_parse(const char *name, DkvmPool *pool)
{
    const char *slash = strchr(name, '/');

    pool->node = DKVM_NO_NODE;
    if (g_str_has_prefix(name, "node"))
        pool->node = (int)CLAMP(g_ascii_strtoll(name + 4, NULL, 10), 0, G_MAXINT);
    pool->kb = slash ? g_ascii_strtoull(slash + 1, NULL, 10) : 0;
    /* Whatever cannot be printed the same way again is none. */
    g_autofree char *again = dkvm_pool_name(pool);
    return g_str_equal(again, name);
}

char *dkvm_pool_path(const DkvmPool *pool, const char *file)
{
    if (pool->node == DKVM_NO_NODE)
        return g_strdup_printf("/sys/kernel/mm/hugepages/hugepages-%" G_GUINT64_FORMAT "kB/%s",
                               pool->kb, file);
    return g_strdup_printf("/sys/devices/system/node/node%d/hugepages/hugepages-%" G_GUINT64_FORMAT
                           "kB/%s",
                           pool->node, pool->kb, file);
}

guint64 dkvm_pool_count(const DkvmPool *pool, const char *file)
{
    g_autofree char *path = dkvm_pool_path(pool, file);
    g_autofree char *text = dkvm_host_text(path, 32);

    return text ? g_ascii_strtoull(text, NULL, 10) : 0;
}

/* Who maps pages is promised them at once, and takes them when it touches them (PostgreSQL, DPDK):
 * until then they count as free, but a mapping is given only what is free and promised to nobody
 * (hugetlb_acct_memory() and available_huge_pages() in mm/hugetlb.c).  The kernel has that number
 * for the whole host alone, and any node's pages may be taken for it, so each node is looked at as
 * if all of them were to come from there. */
guint64 dkvm_pool_reserved(const DkvmPool *pool)
{
    const DkvmPool host = {.node = DKVM_NO_NODE, .kb = pool->kb};

    return MIN(dkvm_pool_count(&host, "resv_hugepages"), dkvm_pool_count(pool, "free_hugepages"));
}

/* Of those that a pool always has.  They come and go with their folder (hugetlb_register_node() and
 * hugetlb_unregister_node() in mm/hugetlb.c): where that is, one that is not there, or has no
 * value, could not be read, and its 0 would take away what others have. */
static guint64 sure_count(const DkvmPool *pool, const char *file)
{
    g_autofree char *path = dkvm_pool_path(pool, file), *text = dkvm_host_text(path, 32);
    g_autofree char *folder = g_path_get_dirname(path), *full = dkvm_path(folder);

    if (!text && (access(full, F_OK) == 0 || errno != ENOENT))
        dkvm_sysfs_note(EIO, path);
    return text ? g_ascii_strtoull(text, NULL, 10) : 0;
}

/* What nr_hugepages sets; reading it counts the surplus pages in. */
static guint64 size_of(const DkvmPool *pool)
{
    guint64 all = sure_count(pool, "nr_hugepages");

    return all - MIN(all, sure_count(pool, "surplus_hugepages"));
}

/* ---- the file --------------------------------------------------------------------------- */

typedef struct {
    char uuid[DKVM_UUID_LENGTH + 1]; /* "": it is a pool, MADE is its BASE */
    DkvmPool pool;
    guint64 need, made;
} Line;

typedef struct {
    GArray *lines; /* of Line */
    Line write;    /* NEED: from, MADE: to; without a uuid: none */
    int trouble;   /* a number that went into it could not be read */
} Ledger;

static void ledger_free(Ledger *ledger)
{
    g_array_unref(ledger->lines);
    g_free(ledger);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Ledger, ledger_free)

static void read_line(Ledger *ledger, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", WORDS + 1);
    guint count = g_strv_length(words);
    gboolean is_pool = count == 3 && g_str_equal(words[0], "pool");
    Line line = {.need = 0};

    if ((!is_pool && count != WORDS) || !dkvm_pool_parse(words[is_pool ? 1 : 2], &line.pool))
        return;
    line.made = g_ascii_strtoull(words[count - 1], NULL, 10);
    if (is_pool) {
        g_array_append_val(ledger->lines, line);
        return;
    }
    line.need = g_ascii_strtoull(words[3], NULL, 10);
    if (!dkvm_uuid_is_valid(words[1]))
        return;
    (void)g_strlcpy(line.uuid, words[1], sizeof line.uuid);
    if (g_str_equal(words[0], "write"))
        ledger->write = line;
    else
        g_array_append_val(ledger->lines, line);
}

/* NULL, and why, if it cannot be read: taken for an empty one it would be written without the other
 * VMs, and their pages would be nobody's. */
static Ledger *ledger_read(int *cause)
{
    g_autofree char *boot = dkvm_boot_id(), *mine = g_strconcat("boot ", boot, NULL);
    g_autofree char *path = dkvm_path(LEDGER), *text = g_malloc0(LEDGER_MAX + 1);
    ssize_t length = dkvm_sysfs_read(AT_FDCWD, path, text, LEDGER_MAX + 1);

    if (length < 0)
        *cause = errno == ENOENT ? 0 : errno;
    else
        *cause = length == LEDGER_MAX ? EFBIG : *boot == '\0' ? EIO : 0;
    if (*cause)
        return NULL;
    Ledger *ledger = g_new0(Ledger, 1);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    ledger->lines = g_array_new(FALSE, TRUE, sizeof(Line));
    for (guint i = 1; lines[0] && g_str_equal(lines[0], mine) && lines[i]; i++)
        read_line(ledger, lines[i]);
    return ledger;
}

static void add_line(GString *text, const char *word, const Line *line)
{
    g_autofree char *name = dkvm_pool_name(&line->pool);

    if (*line->uuid == '\0')
        g_string_append_printf(text, "pool %s %" G_GUINT64_FORMAT "\n", name, line->made);
    else
        g_string_append_printf(text, "%s %s %s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", word,
                               line->uuid, name, line->need, line->made);
}

/* A counter that could not be read looks like 0 (dkvm_pool_count()).  Nothing that was reckoned
 * from it is written, nor, since this comes first, to the kernel: what the file has stays true. */
static int ledger_write(Ledger *ledger)
{
    g_autofree char *path = dkvm_path(LEDGER), *boot = dkvm_boot_id();
    g_autoptr(GString) text = g_string_new(NULL);
    const char *name;
    int trouble = dkvm_sysfs_trouble(&name);

    if (ledger->trouble == 0)
        ledger->trouble = trouble;
    if (ledger->trouble)
        return ledger->trouble;
    if (ledger->lines->len == 0)
        return unlink(path) == 0 || errno == ENOENT ? 0 : errno;
    g_string_printf(text, "boot %s\n", boot);
    for (guint i = 0; i < ledger->lines->len; i++)
        add_line(text, "vm", &g_array_index(ledger->lines, Line, i));
    if (*ledger->write.uuid)
        add_line(text, "write", &ledger->write);
    return dkvm_file_replace(path, text->str, text->len, NULL) ? 0 : EIO;
}

static gboolean is_pool(const DkvmPool *a, const DkvmPool *b)
{
    return a->node == b->node && a->kb == b->kb;
}

/* UUID "": the line of the pool.  NULL: there is none. */
static Line *find(const Ledger *ledger, const char *uuid, const DkvmPool *pool)
{
    for (guint i = 0; i < ledger->lines->len; i++) {
        Line *line = &g_array_index(ledger->lines, Line, i);

        if (g_str_equal(line->uuid, uuid) && is_pool(&line->pool, pool))
            return line;
    }
    return NULL;
}

static void drop(Ledger *ledger, const char *uuid, const DkvmPool *pool)
{
    const Line *line = find(ledger, uuid, pool);

    if (line)
        g_array_remove_index(ledger->lines, (guint)(line - (const Line *)ledger->lines->data));
}

static Line *add(Ledger *ledger, const char *uuid, const DkvmPool *pool, guint64 need, guint64 made)
{
    Line line = {.pool = *pool, .need = need, .made = made};

    (void)g_strlcpy(line.uuid, uuid, sizeof line.uuid);
    g_array_append_val(ledger->lines, line);
    return find(ledger, uuid, pool);
}

/* ---- who has what ----------------------------------------------------------------------- */

int dkvm_hugepages_has(const char *uuid, const DkvmPool *pool)
{
    int cause;
    g_autoptr(Ledger) ledger = ledger_read(&cause);

    return ledger ? find(ledger, uuid, pool) != NULL : -1;
}

/* Its QEMU has the pages that it needs: they are not free any more. */
static gboolean runs(const char *uuid)
{
    g_autoptr(DkvmHandover) handover = dkvm_handover_peek(uuid, NULL);

    return handover && handover->phase == DKVM_PHASE_RUNNING &&
           dkvm_process_is(handover->qemu, handover->qemu_start);
}

static guint64 promised(const Ledger *ledger, const char *uuid, const DkvmPool *pool)
{
    guint64 sum = 0;

    for (guint i = 0; i < ledger->lines->len; i++) {
        const Line *line = &g_array_index(ledger->lines, Line, i);

        if (*line->uuid && !g_str_equal(line->uuid, uuid) && is_pool(&line->pool, pool) &&
            !runs(line->uuid))
            sum += line->need;
    }
    return sum;
}

guint64 dkvm_hugepages_promised(const char *uuid, const DkvmPool *pool)
{
    int cause;
    g_autoptr(Ledger) ledger = ledger_read(&cause);

    /* The plan then refuses, if it has not been told already. */
    if (!ledger)
        dkvm_sysfs_note(EIO, LEDGER);
    return ledger ? promised(ledger, uuid, pool) : 0;
}

/* By us, for all VMs. */
static guint64 made(const Ledger *ledger, const DkvmPool *pool)
{
    guint64 sum = 0;

    for (guint i = 0; i < ledger->lines->len; i++) {
        const Line *line = &g_array_index(ledger->lines, Line, i);

        if (*line->uuid && is_pool(&line->pool, pool))
            sum += line->made;
    }
    return sum;
}

/* ---- changing --------------------------------------------------------------------------- */

/* The writes go the way of all the worker's writes. */
static int put(const char *path, guint64 value)
{
    g_autofree char *number = g_strdup_printf("%" G_GUINT64_FORMAT, value);
    g_autofree char *text = NULL;

    return dkvm_worker_act(DKVM_WORK_WRITE, path, number, &text);
}

/* What became of the write that is noted: as much as the counter has moved towards it. */
static void settle(Ledger *ledger)
{
    const Line *write = &ledger->write;
    Line *line = find(ledger, write->uuid, &write->pool);
    guint64 from = write->need, to = write->made, now = size_of(&write->pool);

    if (*write->uuid && line && to > from)
        line->made += CLAMP(now, from, to) - from;
    else if (*write->uuid && line)
        line->made -= MIN(line->made, from - CLAMP(now, to, from));
    ledger->write = (Line){.need = 0};
}

/* Of pages that are not ours: others may have added some, or taken away; then ours went first. */
static Line *base_of(Ledger *ledger, const DkvmPool *pool)
{
    guint64 now = size_of(pool), ours = made(ledger, pool);
    Line *base = find(ledger, "", pool);

    if (!base)
        return add(ledger, "", pool, 0, now);
    base->made = now >= base->made + ours ? now - ours : MIN(base->made, now);
    return base;
}

/* Writes TO, with a note before; then LINE->made is right. */
static int change(Ledger *ledger, const char *uuid, const DkvmPool *pool, guint64 to)
{
    g_autofree char *path = dkvm_pool_path(pool, "nr_hugepages");

    ledger->write = (Line){.pool = *pool, .need = size_of(pool), .made = to};
    (void)g_strlcpy(ledger->write.uuid, uuid, sizeof ledger->write.uuid);
    int cause = ledger_write(ledger);

    if (cause == 0)
        cause = put(path, to);
    settle(ledger);
    return cause;
}

/* Takes away what was made for UUID and forgets the VM, unless the kernel does not let go. */
static int give(Ledger *ledger, const char *uuid, const DkvmPool *pool)
{
    guint64 base = base_of(ledger, pool)->made, now = size_of(pool);
    guint64 mine = find(ledger, uuid, pool)->made, others = base + made(ledger, pool) - mine;
    guint64 to = MIN(now, others);
    int cause = to < now ? change(ledger, uuid, pool, to) : 0;

    if (cause == 0 && size_of(pool) > to)
        cause = EBUSY;
    if (cause == 0)
        drop(ledger, uuid, pool);
    /* The last one closes the door. */
    if (cause == 0 && made(ledger, pool) == 0)
        drop(ledger, "", pool);
    int written = ledger_write(ledger);

    return cause ? cause : written;
}

/* Whole blocks of free memory are made of pieces before. */
static void compact(const DkvmPool *pool)
{
    g_autofree char *node =
        g_strdup_printf("/sys/devices/system/node/node%d/compact", MAX(pool->node, 0));

    (void)put(pool->node == DKVM_NO_NODE ? "/proc/sys/vm/compact_memory" : node, 1);
}

static int take(Ledger *ledger, const char *uuid, const DkvmPool *pool, guint64 need, char **text)
{
    guint64 wanted = need + promised(ledger, uuid, pool) + dkvm_pool_reserved(pool);
    guint64 free_now = sure_count(pool, "free_hugepages"), got = 0;
    guint64 missing = wanted - MIN(wanted, free_now);
    int cause = 0;

    if (find(ledger, uuid, pool))
        return EEXIST;
    (void)base_of(ledger, pool);
    (void)add(ledger, uuid, pool, need, 0);
    if (missing > 0) {
        compact(pool);
        cause = change(ledger, uuid, pool, size_of(pool) + missing);
        got = find(ledger, uuid, pool)->made;
    }
    if (cause == 0 && dkvm_pool_count(pool, "free_hugepages") >= wanted)
        return ledger_write(ledger);
    *text =
        g_strdup_printf("only %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
                        " missing huge pages of %" G_GUINT64_FORMAT
                        " KiB could be made%s%s; the memory of this host is in pieces, or "
                        "somebody else took it: end programs, start the VM soon after the "
                        "host, or reserve them at boot (hugepages= in the kernel's command "
                        "line)",
                        got, missing, pool->kb, cause ? ": " : "", cause ? g_strerror(cause) : "");
    (void)ledger_write(ledger);
    return ENOMEM;
}

/* ---- in the worker ---------------------------------------------------------------------- */

static int lock(void)
{
    g_autofree char *path = dkvm_path(DKVM_RUN_DIR);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

    /* For as long as it takes: the deadline of the step ends the whole process. */
    if (fd >= 0 && flock(fd, LOCK_EX) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* With the lock: whoever was killed while it wrote the list left the file that was to replace it
 * (dkvm_file_replace()). */
static void sweep(int folder)
{
    g_autofree char *path = dkvm_path(DKVM_RUN_DIR);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        if (g_str_has_prefix(name, ".dkvm-"))
            (void)unlinkat(folder, name, 0);
    }
}

static int begin(const char *name, const char *uuid, DkvmPool *pool, int *fd, Ledger **ledger,
                 char **text)
{
    const char *unused;
    int cause;

    if (!dkvm_uuid_is_valid(uuid) || !dkvm_pool_parse(name, pool))
        return EINVAL;
    *fd = lock();
    if (*fd < 0)
        return errno;
    sweep(*fd);
    (void)dkvm_sysfs_trouble(&unused);
    *ledger = ledger_read(&cause);
    if (*ledger) {
        settle(*ledger);
        return 0;
    }
    *text = g_strdup_printf("%s cannot be read: %s", LEDGER, g_strerror(cause));
    (void)close(*fd);
    return cause;
}

int dkvm_hugepages_take(const char *name, const char *what, char **text)
{
    g_auto(GStrv) words = g_strsplit(what, " ", 4);
    g_autoptr(Ledger) ledger = NULL;
    int fd = -1, cause = EINVAL;
    DkvmPool pool;

    if (g_strv_length(words) == 3)
        cause = begin(name, words[0], &pool, &fd, &ledger, text);
    if (!ledger)
        return cause;
    /* A guard that was killed while this waited has a successor, who knows nothing of it. */
    if (getppid() != (pid_t)g_ascii_strtoll(words[2], NULL, 10))
        cause = ECANCELED;
    else
        cause = take(ledger, words[0], &pool, g_ascii_strtoull(words[1], NULL, 10), text);
    (void)close(fd);
    return cause;
}

int dkvm_hugepages_give(const char *name, const char *what, char **text)
{
    g_autoptr(Ledger) ledger = NULL;
    DkvmPool pool;
    int fd = -1, cause = begin(name, what, &pool, &fd, &ledger, text);

    if (!ledger)
        return cause;
    if (find(ledger, what, &pool))
        cause = give(ledger, what, &pool);
    if (cause)
        *text = g_strdup_printf("the huge pages of %" G_GUINT64_FORMAT
                                " KiB that were made for the VM cannot be taken away: %s",
                                pool.kb, g_strerror(cause));
    (void)close(fd);
    return cause;
}
