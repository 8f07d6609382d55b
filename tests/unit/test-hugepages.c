/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-hook/hugepages.c: the worker killed at every write, two VMs at once, and others who change
 * the number of huge pages, too. */
#include <sys/wait.h>

#include "qemu-hook/rundir.h"
#include "tests/unit/bad-read.h"
#include "tests/unit/pages-host.h"
#include "udev/sysfs.h"

static void begin_pages(void)
{
    make_host();
    make_pages();
    g_assert_true(dkvm_rundir_make(UUID, NULL));
}

/* ---- the worker is killed at a write ---------------------------------------------------- */

static guint writes, die_at;
static gboolean die_before;

static int deadly(DkvmWorkKind kind, const char *a, const char *b, char **text)
{
    gboolean here = ++writes == die_at;

    if (here && die_before)
        (void)kill(getpid(), SIGKILL);
    int cause = fake_kernel(kind, a, b, text);

    if (here)
        (void)kill(getpid(), SIGKILL);
    return cause;
}

/* TRUE: it lived. */
static gboolean killed_at(guint number, gboolean before, gboolean giving)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        die_at = number;
        die_before = before;
        dkvm_worker_act = deadly;
        _exit(giving ? give(UUID) : take(UUID, 250));
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    return WIFEXITED(status);
}

/* The VM's next guard comes, and another VM maybe before it. */
static void test_kill_write(void)
{
    for (int way = 0; way < 8; way++) {
        gboolean before = (way & 1) != 0, giving = (way & 2) != 0, lived = FALSE;
        gboolean other = (way & 4) != 0;
        guint number = 1;

        for (; !lived; number++) {
            begin_pages();
            if (giving)
                g_assert_cmpint(take(UUID, 250), ==, 0);
            lived = killed_at(number, before, giving);
            if (other)
                g_assert_cmpint(take(OTHER, 70), ==, 0);
            g_assert_cmpint(give(UUID), ==, 0);
            if (other)
                g_assert_cmpuint(count("free_hugepages"), >=, 70);
            g_assert_cmpint(give(OTHER), ==, 0);
            assert_pages(100, 60, 0);
        }
        /* nr_hugepages, and compact before it */
        g_assert_cmpuint(number, ==, giving ? 3 : 4);
    }
}

/* ---- others on the host ----------------------------------------------------------------- */

/* Two VMs at once do not count on the same pages; whichever ends first takes only its own. */
static void test_two(void)
{
    const char *const order[][2] = {{UUID, OTHER}, {OTHER, UUID}};

    for (gsize i = 0; i < G_N_ELEMENTS(order); i++) {
        begin_pages();
        g_assert_cmpint(take(UUID, 50), ==, 0);
        assert_pages(100, 60, 0);
        g_assert_cmpuint(dkvm_hugepages_promised(OTHER, &pool), ==, 50);
        g_assert_cmpuint(dkvm_hugepages_promised(UUID, &pool), ==, 0);
        g_assert_cmpint(take(OTHER, 50), ==, 0);
        assert_pages(140, 100, 0);
        g_assert_cmpint(give(order[i][0]), ==, 0);
        g_assert_cmpuint(count("free_hugepages"), >=, 50);
        g_assert_cmpint(give(order[i][1]), ==, 0);
        assert_pages(100, 60, 0);
    }
}

/* Free pages that the kernel has promised to others are made once more. */
static void test_reserved(void)
{
    begin_pages();
    put("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "50\n");
    g_assert_cmpint(take(UUID, 30), ==, 0);
    assert_pages(120, 80, 0);
    g_assert_cmpint(give(UUID), ==, 0);
    assert_pages(100, 60, 0);
    put("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "500\n"); /* elsewhere, too */
    g_assert_cmpint(take(UUID, 30), ==, 0);
    assert_pages(130, 90, 0);
    g_assert_cmpint(give(UUID), ==, 0);
    assert_pages(100, 60, 0);
}

/* What a third party does to the counter while the VM has its pages. */
static void test_third_party(void)
{
    static const struct {
        guint all, free_pages, surplus; /* as it left them */
        guint end, end_free, end_surplus;
    } cases[] = {
        {1290, 1250, 0, 1100, 1060, 0}, /* it has made 1000 for itself: they stay */
        {100, 60, 0, 100, 60, 0},       /* it has set its own number again: ours are gone */
        {150, 110, 0, 100, 60, 0},      /* it has taken some away: ours first */
        {40, 0, 0, 40, 0, 0},           /* all that nobody uses: those of others, too */
        {290, 230, 0, 100, 40, 0},      /* it has mapped 20 of the old ones */
        {290, 0, 0, 290, 0, 190},       /* it has mapped all: ours leave when it lets go */
        {290, 250, 40, 140, 100, 40},   /* it has set 250 while 40 were in use: ours went first */
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        begin_pages();
        g_test_message("case %zu", i);
        g_assert_cmpint(take(UUID, 250), ==, 0);
        assert_pages(290, 250, 0);
        set_pages(cases[i].all, cases[i].free_pages, cases[i].surplus);
        g_assert_cmpint(give(UUID), ==, 0);
        assert_pages(cases[i].end, cases[i].end_free, cases[i].end_surplus);
        g_autofree char *ledger = at("/run/dkvm/hugepages");
        g_assert_false(g_file_test(ledger, G_FILE_TEST_EXISTS));
    }
}

/* A worker that was killed while it wrote the list left this; of others there is nothing to take.
 */
static void test_swept(void)
{
    g_autofree char *left = at("/run/dkvm/.dkvm-a1b2c3"), *other = at("/run/dkvm/other");

    begin_pages();
    put("/run/dkvm/.dkvm-a1b2c3", "half a list");
    put("/run/dkvm/other", "");
    g_assert_cmpint(take(UUID, 50), ==, 0);
    g_assert_false(g_file_test(left, G_FILE_TEST_EXISTS));
    g_assert_true(g_file_test(other, G_FILE_TEST_EXISTS));
    g_assert_cmpint(give(UUID), ==, 0);
    assert_pages(100, 60, 0);
    (void)unlink(other);
}

/* The list, or a counter, cannot be read: nothing is changed, and no other VM is forgotten. */
static void test_unreadable(void)
{
    static const struct {
        const char *file;
        int cause;
    } cases[] = {{LEDGER, ENOMEM},
                 {POOL "/nr_hugepages", ENOMEM},
                 {POOL "/nr_hugepages", ENODEV}, /* "has no value" is no 0 */
                 {POOL "/surplus_hugepages", ENODEV},
                 {"/random/boot_id", ENOMEM}};

    for (gsize i = 0; i < 3 * G_N_ELEMENTS(cases); i++) {
        g_test_message("%s, %d, %zu", cases[i / 3].file, cases[i / 3].cause, i % 3);
        begin_pages();
        g_assert_cmpint(take(UUID, 100), ==, 0);
        assert_pages(140, 100, 0);
        /* the first of several, all of them, or of another VM's giving */
        cannot_read(cases[i / 3].file, cases[i / 3].cause, i % 3 == 1 ? 100 : 1);
        g_assert_cmpint(i % 3 == 2 ? give(UUID) : take(OTHER, 50), !=, 0);
        cannot_read(NULL, 0, 0);
        assert_pages(140, 100, 0);
        g_assert_cmpint(dkvm_hugepages_has(UUID, &pool), ==, 1);
        g_assert_cmpint(give(OTHER), ==, 0);
        g_assert_cmpint(give(UUID), ==, 0);
        assert_pages(100, 60, 0);
    }
    begin_pages();
    g_assert_cmpint(take(UUID, 100), ==, 0);
    cannot_read(LEDGER, EIO, 2);
    g_assert_cmpint(dkvm_hugepages_has(UUID, &pool), ==, -1);
    const char *name;
    (void)dkvm_sysfs_trouble(&name);
    g_assert_cmpuint(dkvm_hugepages_promised(OTHER, &pool), ==, 0);
    g_assert_cmpint(dkvm_sysfs_trouble(&name), ==, EIO);
    cannot_read(NULL, 0, 0);
}

/* The node's memory was taken out: nothing is left to give back. */
static void test_gone(void)
{
    begin_pages();
    g_assert_cmpint(take(UUID, 100), ==, 0);
    g_autofree char *folder = at(POOL), *ledger = at(LEDGER);
    remove_tree(folder);
    g_assert_cmpint(give(UUID), ==, 0);
    g_assert_false(g_file_test(ledger, G_FILE_TEST_EXISTS));
}

/* Work for a guard that is gone, another boot's file, and requests that are none. */
static void test_not_ours(void)
{
    g_autofree char *text = NULL, *gone = g_strdup_printf(UUID " 250 %d", (int)getpid());

    begin_pages();
    g_assert_cmpint(dkvm_hugepages_take(POOL_NAME, gone, &text), ==, ECANCELED);
    assert_pages(100, 60, 0);
    put("/run/dkvm/hugepages", "boot another\npool " POOL_NAME " 7\nvm " UUID " " POOL_NAME
                               " 250 90\nwrite " UUID " " POOL_NAME " 10 100\n");
    g_assert_cmpint(dkvm_hugepages_has(UUID, &pool), ==, 0);
    g_assert_cmpint(give(UUID), ==, 0);
    assert_pages(100, 60, 0);
    put("/run/dkvm/hugepages", "boot b007\nvm x " POOL_NAME " 250 90\nvm " UUID " node0/../x 250 "
                               "90\nnonsense\n\nvm " UUID " " POOL_NAME " 250\n");
    g_assert_cmpint(dkvm_hugepages_has(UUID, &pool), ==, 0);
    g_assert_cmpint(dkvm_hugepages_give("node0/2048", UUID, &text), ==, EINVAL);
    g_assert_cmpint(dkvm_hugepages_give(POOL_NAME, "../x", &text), ==, EINVAL);
    g_assert_cmpint(dkvm_hugepages_take(POOL_NAME, UUID, &text), ==, EINVAL);
    assert_pages(100, 60, 0);
}

int main(int argc, char **argv)
{
    g_autofree char *folder = g_dir_make_tmp("dkvm-hugepages-XXXXXX", NULL);

    root = g_build_filename(folder, "root", NULL);
    g_assert_true(g_setenv("DKVM_ROOT", root, TRUE));
    g_test_init(&argc, &argv, NULL);
    dkvm_worker_act = fake_kernel;
    g_test_add_func("/hugepages/kill-write", test_kill_write);
    g_test_add_func("/hugepages/two", test_two);
    g_test_add_func("/hugepages/reserved", test_reserved);
    g_test_add_func("/hugepages/third-party", test_third_party);
    g_test_add_func("/hugepages/unreadable", test_unreadable);
    g_test_add_func("/hugepages/gone", test_gone);
    g_test_add_func("/hugepages/swept", test_swept);
    g_test_add_func("/hugepages/not-ours", test_not_ours);
    int failed = g_test_run();

    remove_tree(folder);
    g_free(root);
    return failed;
}
