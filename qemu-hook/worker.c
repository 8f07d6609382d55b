/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qemu-hook/rundir.h"

#define MAX_A 1024
#define MAX_B 1024
#define MAX_TEXT 512

typedef struct {
    guint32 number;
    gint32 kind;
    char a[MAX_A], b[MAX_B];
} Request;

typedef struct {
    guint32 number;
    gint32 cause;
    char text[MAX_TEXT];
} Answer;

struct DkvmWorker {
    pid_t pid;
    int socket;
    guint32 number;
    pid_t late;
    guint64 late_start;
};

int (*dkvm_worker_act)(DkvmWorkKind kind, const char *a, const char *b, char **text) = dkvm_work;

void (*dkvm_worker_orphaned)(void);

#define BYE 0 /* no kind of work: the guard ends, all is well */

/* ---- the process ------------------------------------------------------------------------ */

static void close_all_but(int keep)
{
    if (keep > 0)
        (void)syscall(SYS_close_range, 0U, (unsigned)keep - 1, 0U);
    (void)syscall(SYS_close_range, (unsigned)keep + 1, ~0U, 0U);
}

/* Ends when the other end of the socket is closed. */
static void work_on(int fd)
{
    Request request;
    Answer answer;

    for (;;) {
        ssize_t got = recv(fd, &request, sizeof request, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got != sizeof request) {
            if (dkvm_worker_orphaned)
                dkvm_worker_orphaned();
            return;
        }
        if (request.kind == BYE)
            return;
        g_autofree char *text = NULL;
        answer = (Answer){.number = request.number};
        answer.cause = dkvm_worker_act((DkvmWorkKind)request.kind, request.a, request.b, &text);
        if (text)
            (void)g_strlcpy(answer.text, text, sizeof answer.text);
        if (send(fd, &answer, sizeof answer, MSG_NOSIGNAL) < 0)
            return;
    }
}

static gboolean start(DkvmWorker *worker)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return FALSE;
    pid_t pid = fork();

    if (pid == 0) {
        close_all_but(pair[1]);
        (void)prctl(PR_SET_NAME, "dkvm-worker");
        work_on(pair[1]);
        _exit(0);
    }
    (void)close(pair[1]);
    if (pid < 0) {
        (void)close(pair[0]);
        return FALSE;
    }
    worker->pid = pid;
    worker->socket = pair[0];
    return TRUE;
}

/* ---- the other end ---------------------------------------------------------------------- */

DkvmWorker *dkvm_worker_new(void)
{
    DkvmWorker *worker = g_new0(DkvmWorker, 1);

    worker->socket = -1;
    return worker;
}

/* Closing the socket ends it; one that is stuck in the kernel becomes init's. */
static void leave(DkvmWorker *worker, gboolean wait)
{
    const Request bye = {.kind = BYE};

    if (worker->socket >= 0) {
        (void)send(worker->socket, &bye, sizeof bye, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)close(worker->socket);
    }
    if (worker->pid > 0)
        (void)waitpid(worker->pid, NULL, wait ? 0 : WNOHANG);
    worker->socket = -1;
    worker->pid = 0;
}

void dkvm_worker_start(DkvmWorker *worker)
{
    if (worker->pid == 0)
        (void)start(worker);
}

void dkvm_worker_free(DkvmWorker *worker)
{
    if (!worker)
        return;
    leave(worker, TRUE);
    g_free(worker);
}

pid_t dkvm_worker_late(const DkvmWorker *worker, guint64 *start_time)
{
    *start_time = worker->late_start;
    return worker->late;
}

pid_t dkvm_worker_pid(const DkvmWorker *worker)
{
    return worker->pid;
}

/* 1 readable, 0 the time is up. */
static int wait_readable(int fd, gint64 end)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    int ready;

    do {
        gint64 left = (end - g_get_monotonic_time() + 999) / 1000;

        ready = poll(&one, 1, (int)MAX(left, 0));
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
}

static int late(DkvmWorker *worker)
{
    worker->late = worker->pid;
    worker->late_start = dkvm_process_start(worker->pid);
    /* What can be interrupted ends at once, and then it was not the kernel that was stuck. */
    (void)kill(worker->pid, SIGKILL);
    if (wait_readable(worker->socket, g_get_monotonic_time() + 200000)) {
        leave(worker, TRUE);
        worker->late = 0;
        return ETIMEDOUT;
    }
    leave(worker, FALSE);
    return DKVM_WORK_LATE;
}

int dkvm_worker_do(DkvmWorker *worker, DkvmWorkKind kind, const char *a, const char *b,
                   guint milliseconds, char **text)
{
    gint64 end = g_get_monotonic_time() + (gint64)milliseconds * 1000;
    Request request = {.number = ++worker->number, .kind = kind};
    Answer answer;
    ssize_t got;

    if (text)
        *text = NULL;
    if (g_strlcpy(request.a, a ? a : "", MAX_A) >= MAX_A ||
        g_strlcpy(request.b, b ? b : "", MAX_B) >= MAX_B)
        return ENAMETOOLONG;
    if (worker->pid == 0 && !start(worker))
        return errno ? errno : EAGAIN;
    if (send(worker->socket, &request, sizeof request, MSG_NOSIGNAL) < 0) {
        leave(worker, TRUE);
        return DKVM_WORK_DIED;
    }
    if (!wait_readable(worker->socket, end))
        return late(worker);
    do {
        got = recv(worker->socket, &answer, sizeof answer, 0);
    } while (got < 0 && errno == EINTR);
    if (got != sizeof answer || answer.number != request.number) {
        leave(worker, TRUE);
        return DKVM_WORK_DIED;
    }
    answer.text[MAX_TEXT - 1] = '\0';
    if (text && answer.text[0])
        *text = g_utf8_make_valid(answer.text, -1);
    return answer.cause;
}
