/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-hook/program.c and step-admin.c: the admin's own programs before and after a hand-over. */
#include <glib.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lib/log.h"
#include "qemu-hook/program.h"
#include "tests/unit/handover-run.h"

#define ETC "/etc/dkvm"
#define PATH_LINE "PATH=/usr/sbin:/usr/bin:/sbin:/bin"

/* A program with COMMANDS, in which $R is the host's root. */
static void put_program(const char *path, const char *commands)
{
    g_autofree char *text = g_strdup_printf("#!/bin/sh\nR='%s'\n%s\n", root, commands);
    g_autofree char *full = at(path);

    put(path, text);
    g_assert_cmpint(chmod(full, 0755), ==, 0);
}

static char *content(const char *path)
{
    g_autofree char *full = at(path);

    return read_word(full);
}

/* ---- one program ------------------------------------------------------------------------ */

static GString *heard;
static guint lines;

static void hear(const char *line, gpointer data)
{
    g_assert_true(data == &lines);
    g_string_append_printf(heard, "%s\n", line);
    lines++;
}

/* NULL: it succeeded; else why not. */
static char *run_for(const char *commands, guint milliseconds)
{
    static char *environment[] = {(char *)"A=b", (char *)PATH_LINE, NULL};
    g_autofree char *path = at("/program");
    GError *error = NULL;

    g_string_truncate(heard, 0);
    lines = 0;
    put_program("/program", commands);
    if (dkvm_program_run(path, environment, milliseconds, hear, &lines, &error)) {
        g_assert_no_error(error);
        return NULL;
    }
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED);
    char *why = g_strdup(error->message);

    g_error_free(error);
    return why;
}

static void expect(const char *commands, const char *wanted)
{
    g_autofree char *why = run_for(commands, 5000);

    g_assert_cmpstr(why, ==, wanted);
}

static void test_results(void)
{
    expect("exit 0", NULL);
    expect("exit 3", "failed with exit code 3");
    expect("echo one; echo two >&2; exit 1",
           "failed with exit code 1; the last that it said: 'two'");
    expect("printf 'no end'; kill -SEGV $$",
           "was ended by signal 11 (Segmentation fault); the last that it said: 'no end'");
    g_autofree char *path = at("/program");

    put("/program", "no program\n");
    GError *error = NULL;
    char *environment[] = {NULL};
    g_assert_cmpint(chmod(path, 0755), ==, 0);
    g_assert_false(dkvm_program_run(path, environment, 5000, hear, &lines, &error));
    g_assert_cmpstr(error->message, ==,
                    "failed with exit code 127; the last that it said: 'it cannot be executed: "
                    "Exec format error'");
    g_error_free(error);
}

/* What it inherits: nothing but this. */
static void test_clean(void)
{
    int pair[2];

    g_assert_cmpint(pipe(pair), ==, 0); /* without O_CLOEXEC */
    int input = dup(STDIN_FILENO);
    g_assert_cmpint(dup2(pair[0], STDIN_FILENO), ==, STDIN_FILENO);
    g_assert_true(g_file_set_contents_full("/proc/self/oom_score_adj", "7", -1,
                                           G_FILE_SET_CONTENTS_NONE, 0644, NULL));
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    static const int ignored[] = {SIGPIPE, SIGHUP, SIGINT, SIGQUIT, SIGUSR1};
    for (gsize i = 0; i < G_N_ELEMENTS(ignored); i++)
        (void)signal(ignored[i], SIG_IGN);
    expect("exec grep -E '^Sig(Blk|Ign)' /proc/self/status", NULL);
    /* 32 and 33 are libc's own: who started the tests may ignore them, and libc touches them not.
     */
    g_assert_true(
        g_regex_match_simple("^SigBlk: 0{16}\nSigIgn: 0{7}[01][08]0{7}\n$", heard->str, 0, 0));
    expect("for f in /proc/$$/fd/*; do readlink $f && echo ${f##*/}; done\n"
           "tr '\\0' '\\n' </proc/$$/environ\n"
           "read p c s parent group rest </proc/$$/stat; [ $group = $$ ] && echo own group\n"
           "cat /proc/$$/oom_score_adj\n"
           "pwd; umask",
           NULL);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
    g_assert_true(g_file_set_contents_full("/proc/self/oom_score_adj", "0", -1,
                                           G_FILE_SET_CONTENTS_NONE, 0644, NULL));
    (void)dup2(input, STDIN_FILENO);
    (void)close(input);
    (void)close(pair[0]);
    (void)close(pair[1]);
    g_autoptr(GRegex) number = g_regex_new("pipe:\\[[0-9]+\\]", 0, 0, NULL);
    g_autofree char *got = g_regex_replace_literal(number, heard->str, -1, 0, "pipe", 0, NULL);
    g_autofree char *wanted =
        g_strdup_printf("/dev/null\n0\npipe\n1\n%s/program\n10\npipe\n2\nA=b\n" PATH_LINE "\n"
                        "own group\n0\n/\n0022\n",
                        root);

    g_assert_cmpstr(got, ==, wanted);
}

static void test_output(void)
{
    g_autofree char *flood = run_for("i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; done\n"
                                     "exit 1",
                                     5000);

    g_assert_cmpuint(lines, ==, 101);
    g_assert_nonnull(strstr(heard->str, "\n100\n(it prints more"));
    g_assert_nonnull(strstr(flood, "'3000'"));
    expect("head -c 1000000 /dev/zero | tr '\\0' x; echo", NULL);
    g_assert_cmpuint(lines, ==, 1);
    g_assert_cmpuint(heard->len, <, 300);
    expect("printf 'a\\033[31mb\\001\\n\\n\\377c\\n'", NULL);
    g_assert_null(strchr(heard->str, '\033'));
    g_assert_null(strchr(heard->str, '\001'));
    g_assert_true(g_utf8_validate(heard->str, -1, NULL));
}

/* A process that it leaves behind keeps its outputs, and is not waited for. */
static void test_background(void)
{
    gint64 begin = g_get_monotonic_time();

    expect("sleep 20 & echo $! >$R/pid; exit 0", NULL);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, 5 * G_USEC_PER_SEC);
    g_autofree char *pid = content("/pid");
    g_assert_cmpint(kill((pid_t)atoi(pid), SIGKILL), ==, 0);
}

static gboolean ends(const char *file)
{
    g_autofree char *text = content(file);
    g_autofree char *stat = g_strdup_printf("/proc/%s/stat", text);
    g_autofree char *state = NULL;

    g_assert_cmpint(atoi(text), >, 1);
    for (int i = 0; i < 100; i++) {
        g_clear_pointer(&state, g_free);
        if (!g_file_get_contents(stat, &state, NULL, NULL) || strstr(state, ") Z "))
            return TRUE;
        g_usleep(20000);
    }
    return FALSE;
}

/* It and what it started. */
static void test_deadline(void)
{
    g_autofree char *why =
        run_for("trap '' TERM INT HUP; sleep 100 & echo $! >$R/child; echo waiting; echo $$ >$R/pid"
                "\nwait",
                500);

    g_assert_cmpstr(why, ==,
                    "had not ended after 0 s and was killed; the last that it said: 'waiting'");
    g_assert_true(ends("/pid"));
    g_assert_true(ends("/child"));
}

/* A guard that is killed leaves no program behind that goes on with what it does. */
static void test_guard_dies(void)
{
    g_autofree char *file = at("/pid");
    pid_t pid;

    (void)g_unlink(file);
    pid = fork();
    if (pid == 0) {
        (void)run_for("echo $$ >$R/new; mv $R/new $R/pid; exec sleep 100", 60000);
        _exit(0);
    }
    for (int i = 0; i < 250 && !g_file_test(file, G_FILE_TEST_EXISTS); i++)
        g_usleep(20000);
    g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
    (void)waitpid(pid, NULL, 0);
    g_assert_true(ends("/pid"));
}

/* ---- the two folders -------------------------------------------------------------------- */

/* Each writes down its name and which driver the GPU has. */
#define NOTE                                                                                       \
    "p=$(basename $(dirname $0))/$(basename $0)\n"                                                 \
    "echo $p $(basename $(readlink $R/sys/bus/pci/devices/0000:01:00.0/driver))"                   \
    " $(cat $R/run/dkvm/own/0000:01:00.0) >>$R/log"

static void put_all(void)
{
    static const char *const names[] = {"9-nine", "10-ten", "B", "a"};
    g_autofree char *log = at("/log");

    make_host();
    (void)g_unlink(log);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *pre = g_strconcat(ETC "/pre.d/", names[i], NULL);
        g_autofree char *post = g_strconcat(ETC "/post.d/", names[i], NULL);

        put_program(pre, NOTE);
        put_program(post, NOTE);
    }
}

#define AT_HOME " bochs-drm " UUID "\n"
#define POST                                                                                       \
    "post.d/10-ten" AT_HOME "post.d/9-nine" AT_HOME "post.d/B" AT_HOME "post.d/a bochs-drm " UUID

static void test_order(void)
{
    put_all();
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    g_autofree char *first = content("/log");
    g_assert_cmpstr(first, ==,
                    "pre.d/10-ten" AT_HOME "pre.d/9-nine" AT_HOME "pre.d/B" AT_HOME
                    "pre.d/a bochs-drm " UUID);
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_assert_cmpstr(handover->problems->str, ==, "");
    g_autofree char *both = content("/log");
    g_assert_cmpstr(both + strlen(first) + 1, ==, POST);
    g_assert_true(dkvm_handover_restore(handover, "again"));
    g_autofree char *again = content("/log");
    g_assert_cmpstr(again, ==, both);
}

/* The VM's name is a value and nothing else. */
static void test_environment(void)
{
    make_host();
    put_program(ETC "/pre.d/one", "tr '\\0' '\\n' </proc/$$/environ >$R/environment");
    vm_name = "../x $(touch /nowhere) `id`;&quot;'";
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_true(prepare(handover, NULL));
    vm_name = "mac";
    g_autofree char *got = content("/environment");
    g_assert_cmpstr(got, ==,
                    PATH_LINE "\nLC_ALL=C.UTF-8\nDKVM_UUID=" UUID
                              "\nDKVM_NAME=../x $(touch /nowhere) `id`;\"'\n"
                              "DKVM_BDFS=0000:01:00.1 0000:01:00.2 0000:01:00.0\nDKVM_PROBLEMS=");
    g_assert_true(dkvm_handover_restore(handover, "test"));
}

/* The start is refused with its words, what comes after it does not run, post.d does. */
static void test_pre_fails(void)
{
    GError *error = NULL;

    put_all();
    put_program(ETC "/pre.d/B", NOTE "\necho the printer is on fire; exit 7");
    g_autoptr(DkvmHandover) handover = must_load();

    g_assert_false(prepare(handover, &error));
    g_assert_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED);
    g_assert_nonnull(strstr(error->message,
                            "/pre.d/B failed with exit code 7; the last that it said: "
                            "'the printer is on fire'"));
    g_error_free(error);
    g_assert_cmpint(handover->phase, ==, DKVM_PHASE_CLOSED);
    assert_home();
    g_autofree char *log = content("/log");
    g_assert_cmpstr(log, ==, "pre.d/10-ten" AT_HOME "pre.d/9-nine" AT_HOME "pre.d/B" AT_HOME POST);
}

/* Before anything was run nothing has to be run. */
static void test_none_ran(void)
{
    put_all();
    g_autoptr(DkvmHandover) handover = must_load();
    g_autoptr(DkvmWants) wants = NULL;
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmPlan) plan = must_plan(&wants, &config);
    GError *error = NULL;

    put("/run/dkvm/own/0000:01:00.1", "somebody-elses");
    g_assert_true(dkvm_handover_begin(handover, "mac", g_steal_pointer(&plan->devices),
                                      g_steal_pointer(&plan->actions), NULL));
    g_assert_false(dkvm_handover_prepare(handover, &error));
    g_error_free(error);
    g_autofree char *log = content("/log");
    g_assert_cmpstr(log, ==, "");
}

static void refused_for(const char *why)
{
    g_autofree char *text = refusal();

    g_assert_nonnull(text);
    g_test_message("%s", text);
    g_assert_nonnull(strstr(text, why));
}

/* Before anything is touched, for either folder. */
static void refuse_in(const char *folder)
{
    g_autofree char *path = g_strconcat(ETC "/", folder, "/B", NULL);
    g_autofree char *full = at(path), *parent = g_path_get_dirname(full), *etc = at(ETC);

    put_all();
    g_autofree char *fine = refusal();
    g_assert_cmpstr(fine, ==, NULL);
    g_assert_cmpint(chmod(full, 0775), ==, 0);
    refused_for("others than root may write it");
    g_assert_cmpint(chmod(full, 0757), ==, 0);
    refused_for("others than root may write it");
    g_assert_cmpint(chmod(full, 0644), ==, 0);
    refused_for("it is not executable");
    if (getuid() == 0) {
        g_assert_cmpint(chmod(full, 0755), ==, 0);
        g_assert_cmpint(chown(full, 12345, 0), ==, 0);
        refused_for("it does not belong to root");
    }
    put_link(path, "a");
    refused_for("it is a symbolic link");
    g_assert_cmpint(g_unlink(full), ==, 0);
    g_assert_cmpint(g_mkdir(full, 0755), ==, 0);
    refused_for("it is not a file");
    g_assert_cmpint(g_rmdir(full), ==, 0);
    g_assert_cmpint(chmod(parent, 0775), ==, 0);
    refused_for("others than root may write it");
    g_assert_cmpint(chmod(parent, 0755), ==, 0);
    g_assert_cmpint(chmod(etc, 0777), ==, 0);
    refused_for("others than root may write it");
    g_assert_cmpint(chmod(etc, 0755), ==, 0);
    g_autofree char *again = refusal();
    g_assert_cmpstr(again, ==, NULL);
    remove_tree(parent);
    g_assert_cmpint(symlink("/tmp", parent), ==, 0);
    refused_for("it is not a folder");
    g_assert_cmpint(g_unlink(parent), ==, 0);
    g_assert_cmpint(symlink(parent, parent), ==, 0);
    refused_for("it is not a folder");
}

static void test_refuse(void)
{
    refuse_in("pre.d");
    refuse_in("post.d");
    put_all();
    for (int i = 0; i < 13; i++) {
        g_autofree char *path = g_strdup_printf(ETC "/pre.d/more-%d", i);

        put_program(path, "");
    }
    refused_for("more than 16 programs");
}

/* What an editor or dpkg leaves there. */
static void test_names(void)
{
    put_all();
    put_program(ETC "/pre.d/a~", "exit 1");
    put_program(ETC "/pre.d/.B.swp", "exit 1");
    put_program(ETC "/pre.d/B.dpkg-old", "exit 1");
    put(ETC "/pre.d/README.md", "");
    g_autoptr(DkvmWants) wants = NULL;
    g_autoptr(DkvmConfig) config = NULL;
    g_autoptr(DkvmPlan) plan = must_plan(&wants, &config);
    g_autofree char *text = dkvm_plan_text(plan);

    g_assert_cmpint(plan->refusals->len, ==, 0);
    g_assert_nonnull(strstr(text, "pre.d/B.dpkg-old is not run"));
    g_assert_nonnull(strstr(text, "run " ETC "/pre.d/B\n"));
    g_assert_null(strstr(text, ".swp"));
    g_autoptr(DkvmHandover) handover = must_load();
    g_assert_true(prepare(handover, NULL));
    g_assert_true(dkvm_handover_restore(handover, "test"));
}

/* Whatever became of the folder while the VM ran, the way back is open. */
static void test_post_changed(void)
{
    put_all();
    g_autoptr(DkvmHandover) handover = must_load();
    g_autofree char *gone = at(ETC "/post.d/10-ten"), *off = at(ETC "/post.d/9-nine");

    g_assert_true(prepare(handover, NULL));
    g_assert_cmpint(g_unlink(gone), ==, 0);
    g_assert_cmpint(chmod(off, 0644), ==, 0);
    put_program(ETC "/post.d/B", NOTE "\nexit 9");
    put_program(ETC "/post.d/new", NOTE);
    g_assert_true(dkvm_handover_restore(handover, "test"));
    g_assert_cmpint(handover->phase, ==, DKVM_PHASE_CLOSED);
    assert_home();
    g_autofree char *log = content("/log");
    g_assert_true(
        g_str_has_suffix(log, "pre.d/a" AT_HOME "post.d/B" AT_HOME "post.d/a bochs-drm " UUID));
    g_assert_nonnull(
        strstr(handover->problems->str, "/10-ten cannot be run: No such file or directory; "));
    g_assert_nonnull(
        strstr(handover->problems->str, "/9-nine cannot be run: it is not executable; "));
    g_assert_nonnull(strstr(handover->problems->str, "/B failed with exit code 9"));
}

/* Between two programs: each runs once, and sees the devices back. */
static void test_kill(void)
{
    guint killed = 0;
    gboolean lived = FALSE;

    for (guint32 number = 1; !lived; number++) {
        put_all();
        lived = cycle(number);
        recover();
        assert_home();
        killed += !lived;
        g_autofree char *log = content("/log");
        const char *post = strstr(log, "post.d/");
        g_auto(GStrv) all = g_strsplit(post ? post : "", "\n", -1);
        guint count = g_strv_length(all);

        if (*log == '\0')
            continue;
        /* Killed before the first of pre.d it may have written down some of post.d only. */
        g_assert_true(count >= 4 || !strstr(log, "pre.d/"));
        g_assert_cmpuint(count, <=, 4);
        g_assert_true(g_str_has_suffix(log, "post.d/a bochs-drm " UUID));
        for (guint i = 0; i < count; i++)
            g_assert_true(g_str_has_suffix(all[i], " bochs-drm " UUID));
    }
    g_test_message("killed after each of %u records", killed);
    g_assert_cmpuint(killed, >, 50);
}

/* While one of post.d runs: PDEATHSIG ends it, and the next guard begins with this one. */
static void test_kill_within(void)
{
    put_all();
    put_program(ETC "/post.d/9-nine",
                NOTE "\n[ -e $R/once ] && exit 0\n>$R/once; kill -KILL $PPID; sleep 60");
    g_autofree char *once = at("/once");

    (void)g_unlink(once);
    g_assert_false(cycle(0));
    recover();
    assert_home();
    g_autofree char *log = content("/log");
    g_assert_true(g_str_has_suffix(log, "pre.d/a" AT_HOME "post.d/10-ten" AT_HOME
                                        "post.d/9-nine" AT_HOME "post.d/9-nine" AT_HOME
                                        "post.d/B" AT_HOME "post.d/a bochs-drm " UUID));
}

static void add(void)
{
    g_test_add_func("/admin/results", test_results);
    g_test_add_func("/admin/clean", test_clean);
    g_test_add_func("/admin/output", test_output);
    g_test_add_func("/admin/background", test_background);
    g_test_add_func("/admin/deadline", test_deadline);
    g_test_add_func("/admin/guard-dies", test_guard_dies);
    g_test_add_func("/admin/order", test_order);
    g_test_add_func("/admin/environment", test_environment);
    g_test_add_func("/admin/pre-fails", test_pre_fails);
    g_test_add_func("/admin/none-ran", test_none_ran);
    g_test_add_func("/admin/refuse", test_refuse);
    g_test_add_func("/admin/names", test_names);
    g_test_add_func("/admin/post-changed", test_post_changed);
    g_test_add_func("/admin/kill", test_kill);
    g_test_add_func("/admin/kill-within", test_kill_within);
}

int main(int argc, char **argv)
{
    heard = g_string_new(NULL);
    int failed = run_below_root(add, argc, argv);

    g_string_free(heard, TRUE);
    return failed;
}
