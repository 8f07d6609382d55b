/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/log.h"
#include "qemu-hook/bus.h"
#include "qemu-hook/channel.h"
#include "qemu-hook/rundir.h"

#define SYSTEMD_MS 5000 /* for systemd to hear that it is to start a guard */
#define START_MS 1500   /* for a guard to listen, before another is started */

gboolean dkvm_client_is_known(const char *uuid)
{
    g_autofree char *journal = dkvm_rundir_path(uuid, "journal");
    g_autofree char *lock = dkvm_rundir_path(uuid, "lock");

    return access(journal, F_OK) == 0 || access(lock, F_OK) == 0;
}

/* ---- starting a guard ------------------------------------------------------------------- */

/* A process with a life of its own: another session, no descriptor of ours, init's child. */
static void start_detached(const char *uuid)
{
    char name[] = "dkvm-gpu", command[] = "guard";
    char *arguments[] = {name, command, (char *)uuid, NULL};
    pid_t pid = fork();

    if (pid == 0) {
        sigset_t none;
        int null = open("/dev/null", O_RDWR);

        (void)setsid();
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        if (fork() != 0)
            _exit(0);
        (void)dup2(null, 0);
        (void)dup2(null, 1);
        (void)dup2(null, 2);
        (void)syscall(SYS_close_range, 3U, ~0U, 0U);
        (void)!chdir("/");
        (void)execv("/proc/self/exe", arguments);
        _exit(127);
    }
    if (pid > 0)
        (void)waitpid(pid, NULL, 0);
}

/* systemd gets half of the time that is LEFT (in milliseconds); the other is for a guard without
 * it. */
static void start_guard(const char *uuid, gint64 left)
{
    g_autofree char *unit = g_strdup_printf("dkvm-guard@%s.service", uuid);
    g_autoptr(GError) error = NULL;

    if (dkvm_bus_has_systemd()) {
        if (dkvm_bus_start_unit(unit, (guint)MIN(left / 2, SYSTEMD_MS), &error))
            return;
        dkvm_log_warning("%s; a guard without systemd is started instead", error->message);
    }
    start_detached(uuid);
}

/* ---- reaching it ------------------------------------------------------------------------ */

static gint64 left_until(gint64 end)
{
    return MAX((end - g_get_monotonic_time()) / 1000, 0);
}

/* The socket is renamed into the folder when it can be connected to. */
static int connect_within(const char *uuid, int watch, gint64 end)
{
    char events[4096];
    int channel;

    for (;;) {
        channel = dkvm_channel_connect(uuid);
        struct pollfd one = {.fd = watch, .events = POLLIN};
        int left = (int)left_until(end);

        if (channel >= 0 || left <= 0 || poll(&one, 1, left) <= 0)
            return channel;
        (void)!read(watch, events, sizeof events);
    }
}

static int reach(const char *uuid, gint64 end)
{
    g_autofree char *folder = dkvm_rundir_path(uuid, NULL);
    int channel = dkvm_channel_connect(uuid);

    while (channel < 0 && left_until(end) > 0) {
        g_autoptr(GError) error = NULL;
        int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

        /* A guard that ends takes the folder along, so it is made anew each time. */
        if (!dkvm_rundir_make(uuid, &error)) {
            dkvm_log_error("%s", error->message);
            end = 0;
        } else {
            (void)inotify_add_watch(watch, folder, IN_MOVED_TO | IN_DELETE_SELF);
            start_guard(uuid, left_until(end));
            channel =
                connect_within(uuid, watch, MIN(end, g_get_monotonic_time() + START_MS * 1000));
        }
        (void)close(watch);
    }
    return channel;
}

/* ---- asking ----------------------------------------------------------------------------- */

static DkvmGuardAnswer read_answer(const char *message, char **text)
{
    const char *space = strchr(message, ' ');

    *text = g_strdup(space ? space + 1 : "");
    if (g_str_has_prefix(message, "ok"))
        return DKVM_SAYS_OK;
    return g_str_has_prefix(message, "wedged") ? DKVM_SAYS_WEDGED : DKVM_SAYS_NO;
}

/* FALSE: the guard ended before it took the message; another one has to be asked. */
static gboolean ask_once(int channel, const char *message, int fd, gboolean answered, gint64 end,
                         char **text, DkvmGuardAnswer *result)
{
    if (!dkvm_channel_send(channel, message, fd))
        return FALSE;
    g_autofree char *taken = dkvm_channel_receive(channel, (int)left_until(end), NULL);

    if (!taken && errno == EPIPE)
        return FALSE;
    *result = taken && !answered ? DKVM_SAYS_OK : DKVM_SAYS_NOTHING;
    if (!taken || !answered)
        return TRUE;
    g_autofree char *answer = dkvm_channel_receive(channel, (int)left_until(end), NULL);

    if (answer)
        *result = read_answer(answer, text);
    return TRUE;
}

/* libvirt's daemon: between it and us there may be dkvm-hook, which knows. */
static pid_t caller_of_hook(void)
{
    const char *text = g_getenv("DKVM_CALLER");
    guint64 number;

    if (text && g_ascii_string_to_unsigned(text, 10, 1, G_MAXINT32, &number, NULL))
        return (pid_t)number;
    return getppid();
}

DkvmGuardAnswer dkvm_client_ask(const char *uuid, const char *word, int fd, gboolean answered,
                                int milliseconds, char **text)
{
    gint64 end = g_get_monotonic_time() + (gint64)milliseconds * 1000;
    pid_t caller = caller_of_hook();
    g_autofree char *message =
        g_strdup_printf("%s %d %" G_GUINT64_FORMAT, word, (int)caller, dkvm_process_start(caller));
    DkvmGuardAnswer result = DKVM_SAYS_NOTHING;
    gboolean asked = FALSE;

    *text = NULL;
    while (!asked && left_until(end) > 0) {
        int channel = reach(uuid, end);

        if (channel < 0)
            return DKVM_SAYS_NOTHING;
        asked = ask_once(channel, message, fd, answered, end, text, &result);
        (void)close(channel);
    }
    return result;
}
