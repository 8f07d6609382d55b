/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/error.h"
#include "udev/host-private.h"

#define MAX_LINE 256  /* bytes of one line; the rest of it is dropped */
#define MAX_LINES 100 /* that are passed on */
#define LAST_READS 32 /* of what is still in the pipe when the program has ended */
#define KILLED_MS 1000
#define CANNOT_RUN 127

typedef struct {
    int fd; /* -1: closed by the other end */
    GString *line;
    guint lines;
    char *last;
    DkvmSaid *said;
    gpointer data;
} Output;

/* ---- what it prints --------------------------------------------------------------------- */

static void end_line(Output *output)
{
    g_autofree char *text = dkvm_clean_text(output->line->str, output->line->len);

    g_string_truncate(output->line, 0);
    if (!text || *text == '\0')
        return;
    output->lines++;
    if (output->lines <= MAX_LINES)
        output->said(text, output->data);
    else if (output->lines == MAX_LINES + 1)
        output->said("(it prints more, which is not written down)", output->data);
    g_free(output->last);
    output->last = g_steal_pointer(&text);
}

/* FALSE: there is nothing (now). */
static gboolean take_output(Output *output)
{
    char bytes[4096];
    ssize_t got = output->fd >= 0 ? read(output->fd, bytes, sizeof bytes) : -1;

    if (got == 0) {
        (void)close(output->fd);
        output->fd = -1;
    }
    for (ssize_t i = 0; i < got; i++) {
        if (bytes[i] == '\n')
            end_line(output);
        else if (output->line->len < MAX_LINE)
            g_string_append_c(output->line, bytes[i]);
    }
    return got > 0;
}

/* ---- the program ------------------------------------------------------------------------ */

static void say(const char *text)
{
    (void)!write(STDOUT_FILENO, text, strlen(text));
}

/* After fork(2) in a process with threads: system calls only.  systemd gives the guard an
 * OOMScoreAdjust= and a mask of blocked signals that are nothing for others. */
static void become(const char *path, char *const *environment, int out, pid_t parent)
{
    char *arguments[] = {(char *)path, NULL};
    int null = open("/dev/null", O_RDONLY), score = open("/proc/self/oom_score_adj", O_WRONLY);
    sigset_t none;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    for (int number = 1; number < NSIG; number++)
        (void)signal(number, SIG_DFL); /* refused for a few, which nobody can ignore */
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(CANNOT_RUN);
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(out, STDOUT_FILENO);
    (void)dup2(out, STDERR_FILENO);
    (void)!write(score, "0", 1);
    (void)syscall(SYS_close_range, 3U, ~0U, 0U);
    (void)umask(022);
    (void)!chdir("/");
    (void)execve(path, arguments, environment);
    say("it cannot be executed: ");
    say(strerrordesc_np(errno));
    say("\n");
    _exit(CANNOT_RUN);
}

static pid_t start(const char *path, char **environment, int *out)
{
    int ends[2];
    pid_t parent = getpid();

    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    pid_t pid = fork();

    if (pid == 0)
        become(path, environment, ends[1], parent);
    (void)close(ends[1]);
    if (pid < 0) {
        (void)close(ends[0]);
        return -1;
    }
    (void)setpgid(pid, pid); /* both do it: neither waits for the other */
    *out = ends[0];
    return pid;
}

/* Whether it ended before END.  A child of it that keeps the pipe is not waited for. */
static gboolean wait_for_end(int process, Output *output, gint64 end)
{
    for (;;) {
        gint64 left = (end - g_get_monotonic_time() + 999) / 1000;
        struct pollfd fds[] = {{.fd = process, .events = POLLIN},
                               {.fd = output->fd, .events = POLLIN}};

        if (left <= 0)
            return FALSE;
        if (poll(fds, G_N_ELEMENTS(fds), (int)left) <= 0)
            continue;
        if (fds[1].revents)
            (void)take_output(output);
        if (fds[0].revents)
            return TRUE;
    }
}

static gboolean fail(const Output *output, GError **error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static gboolean fail(const Output *output, GError **error, const char *format, ...)
{
    va_list arguments;
    g_autofree char *how = NULL;

    va_start(arguments, format);
    how = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "%s%s%s%s", how,
                output->last ? "; the last that it said: '" : "", output->last ? output->last : "",
                output->last ? "'" : "");
    return FALSE;
}

static gboolean judge(int status, const Output *output, GError **error)
{
    if (WIFSIGNALED(status))
        return fail(output, error, "was ended by signal %d (%s)", WTERMSIG(status),
                    g_strsignal(WTERMSIG(status)));
    if (WEXITSTATUS(status) != 0)
        return fail(output, error, "failed with exit code %d", WEXITSTATUS(status));
    return TRUE;
}

static gboolean watch(pid_t pid, int process, Output *output, guint milliseconds, GError **error)
{
    gint64 end = g_get_monotonic_time() + (gint64)milliseconds * 1000;
    gboolean in_time = wait_for_end(process, output, end);
    int status = 0;

    if (!in_time) {
        (void)kill(-pid, SIGKILL);
        /* One that is stuck in the kernel is left behind. */
        if (!wait_for_end(process, output, g_get_monotonic_time() + KILLED_MS * 1000))
            return fail(output, error, "has not ended after %u s, and cannot be killed",
                        milliseconds / 1000);
    }
    (void)waitpid(pid, &status, 0);
    for (int i = 0; i < LAST_READS && take_output(output); i++)
        continue;
    end_line(output);
    return in_time ? judge(status, output, error)
                   : fail(output, error, "had not ended after %u s and was killed",
                          milliseconds / 1000);
}

gboolean dkvm_program_run(const char *path, char **environment, guint milliseconds, DkvmSaid *said,
                          gpointer data, GError **error)
{
    Output output = {.fd = -1, .line = g_string_new(NULL), .said = said, .data = data};
    pid_t pid = start(path, environment, &output.fd);
    int process = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    gboolean ok;

    if (process >= 0) {
        ok = watch(pid, process, &output, milliseconds, error);
    } else {
        ok = fail(&output, error, "cannot be started: %s", g_strerror(errno));
        if (pid > 0)
            (void)kill(-pid, SIGKILL);
    }
    if (process >= 0)
        (void)close(process);
    if (output.fd >= 0)
        (void)close(output.fd);
    g_string_free(output.line, TRUE);
    g_free(output.last);
    return ok;
}
