/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dkvm-watchd: the define hook that libvirt lacks.  See dkvm-watchd.8.scd. */
#include <errno.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <locale.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "hooks/arguments.h"
#include "hooks/link.h"
#include "hooks/notify.h"
#include "hooks/runtime.h"
#include "hooks/status.h"
#include "lib/error.h"
#include "lib/log.h"

#define MOST_THREADS 4
#define TRIM_AFTER 100                   /* jobs */
#define FINISH (12 * G_TIME_SPAN_SECOND) /* starting what was stopped takes 4 */
#define STATUS_MS 200 /* at most this often, and for at most a twentieth of the time */
#define STATUS_SHARE 20

static struct {
    DkvmQueue *queue;
    GPtrArray *links; /* DkvmLink* */
    gboolean stopping;
    int status_timer;
    char *directory; /* of status.json; NULL: none can be kept */
    GMutex lock;     /* guards what follows */
    gboolean status_due;
    guint status_ms;
    char *trouble; /* why the configuration was not taken */
} watchd = {.status_ms = STATUS_MS};

static void ignore_error(void *data, virErrorPtr error)
{
}

static void each_link(void (*call)(DkvmLink *link))
{
    for (guint i = 0; watchd.links != NULL && i < watchd.links->len; i++) {
        call(watchd.links->pdata[i]);
    }
}

/* ---- status ---- */

static void write_status(gpointer unused)
{
    gint64 start = g_get_monotonic_time();
    g_autoptr(GError) error = NULL;
    g_mutex_lock(&watchd.lock);
    watchd.status_due = FALSE;
    g_autofree char *trouble = g_strdup(watchd.trouble);
    g_mutex_unlock(&watchd.lock);
    if (!dkvm_status_write(watchd.directory, watchd.links, trouble, &error)) {
        dkvm_log_warning("%s", error->message);
    }
    gint64 took = (g_get_monotonic_time() - start) / G_TIME_SPAN_MILLISECOND;
    g_mutex_lock(&watchd.lock);
    watchd.status_ms = (guint)MAX(STATUS_MS, took * STATUS_SHARE);
    g_mutex_unlock(&watchd.lock);
}

static void on_status_due(int timer, void *data)
{
    virEventUpdateTimeout(timer, -1);
    dkvm_queue_push(watchd.queue, "status", write_status, NULL, NULL);
}

/* Any thread. */
static void changed(void)
{
    if (watchd.directory == NULL) {
        return;
    }
    g_mutex_lock(&watchd.lock);
    if (!watchd.status_due) {
        watchd.status_due = TRUE;
        virEventUpdateTimeout(watchd.status_timer, (int)watchd.status_ms);
    }
    g_mutex_unlock(&watchd.lock);
}

/* ---- configuration ---- */

static void set_trouble(const char *trouble)
{
    g_mutex_lock(&watchd.lock);
    g_free(watchd.trouble);
    watchd.trouble = g_strdup(trouble);
    g_mutex_unlock(&watchd.lock);
    changed();
}

static void reload(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *state =
        g_strdup_printf("RELOADING=1\nMONOTONIC_USEC=%" G_GINT64_FORMAT, g_get_monotonic_time());
    dkvm_notify(state);
    if (dkvm_settings_load(&error)) {
        dkvm_log_note("configuration read again");
        each_link(dkvm_link_rescan);
    } else {
        dkvm_log_error("%s; the configuration that was in force stays", error->message);
    }
    set_trouble(error ? error->message : NULL);
    dkvm_notify("READY=1");
}

/* ---- signals and timers ---- */

static void on_signal(int watch, int fd, int events, void *data)
{
    struct signalfd_siginfo info;
    if (read(fd, &info, sizeof info) != sizeof info) {
        return;
    }
    if (info.ssi_signo == SIGHUP) {
        reload();
    } else {
        watchd.stopping = TRUE;
    }
}

/* Before there are threads, which inherit the mask. */
static int take_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* What a scan of thousands of domains used is given back when it is over. */
static void trim(void)
{
    static guint64 trimmed;
    guint64 done = dkvm_queue_done(watchd.queue);
    if (done - trimmed >= TRIM_AFTER && dkvm_queue_wait(watchd.queue, 1, 0)) {
        trimmed = done;
        malloc_trim(0);
    }
}

static void each_second(int timer, void *data)
{
    dkvm_queue_relieve(watchd.queue);
    trim();
}

static void feed_watchdog(int timer, void *data)
{
    dkvm_notify("WATCHDOG=1");
}

static void wake(int timer, void *data)
{
}

/* ---- from start to end ---- */

static gboolean is_restarting(void)
{
    for (guint i = 0; watchd.links != NULL && i < watchd.links->len; i++) {
        if (dkvm_link_is_restarting(watchd.links->pdata[i])) {
            return TRUE;
        }
    }
    return FALSE;
}

/* What runs is finished, what we stopped is started; nothing new begins. */
static void finish(void)
{
    gint64 end = g_get_monotonic_time() + FINISH;
    dkvm_notify("STOPPING=1");
    each_link(dkvm_link_quiet);
    virEventAddTimeout(50, wake, NULL, NULL);
    while ((is_restarting() || !dkvm_queue_wait(watchd.queue, 1, 0)) &&
           g_get_monotonic_time() < end && virEventRunDefaultImpl() == 0) {
    }
    each_link(dkvm_link_stop);
    if (watchd.directory != NULL) {
        g_autofree char *path = g_build_filename(watchd.directory, "status.json", NULL);
        unlink(path);
    }
    if (!dkvm_queue_close(watchd.queue, 0)) {
        dkvm_log_warning("a libvirt call does not return; ending without waiting for it");
        _exit(0); /* its thread cannot be ended */
    }
    each_link(dkvm_link_free);
    g_ptr_array_unref(watchd.links);
}

static void start(const DkvmWatchdOptions *options)
{
    static char *system[] = {(char *)"qemu:///system", NULL};
    static char *session[] = {(char *)"qemu:///session", NULL};
    char **uris = options->connect ? options->connect : options->session ? session : system;
    gint64 watchdog = dkvm_notify_watchdog();
    int signals = take_signals();
    virSetErrorFunc(NULL, ignore_error); /* errors are ours to print */
    virEventRegisterDefaultImpl();
    watchd.queue = dkvm_queue_new(CLAMP(g_get_num_processors(), 2, MOST_THREADS));
    watchd.links = g_ptr_array_new();
    watchd.status_timer = virEventAddTimeout(-1, on_status_due, NULL, NULL);
    virEventAddHandle(signals, VIR_EVENT_HANDLE_READABLE, on_signal, NULL, NULL);
    virEventAddTimeout(1000, each_second, NULL, NULL);
    if (watchdog > 0) {
        virEventAddTimeout((int)MAX(watchdog / 3 / G_TIME_SPAN_MILLISECOND, 1), feed_watchdog, NULL,
                           NULL);
    }
    for (char **uri = uris; *uri != NULL; uri++) {
        g_ptr_array_add(watchd.links, dkvm_link_new(*uri, options->session, watchd.queue,
                                                    watchd.directory, changed));
    }
    if (watchd.directory != NULL) {
        write_status(NULL); /* it is there as soon as we say that we are ready */
    }
}

/* FALSE: there is nothing to do, since another watcher does it. */
static gboolean take_directory(gboolean session)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *directory = dkvm_runtime_directory(session);
    switch (dkvm_runtime_take(directory, &error)) {
    case DKVM_LOCK_TAKEN:
        watchd.directory = g_steal_pointer(&directory);
        return TRUE;
    case DKVM_LOCK_BUSY:
        dkvm_log_note("another dkvm-watchd runs already (%s); nothing to do", directory);
        return FALSE;
    case DKVM_LOCK_FAILED:
        break;
    }
    dkvm_log_warning("%s", error->message);
    return TRUE;
}

static int watch(const DkvmWatchdOptions *options)
{
    g_autoptr(GError) error = NULL;
    if (options->session) {
        /* Our connecting must not start the daemon of a user who does not use it. */
        g_setenv("LIBVIRT_AUTOSTART", "0", TRUE);
    }
    if (!dkvm_settings_load(&error)) {
        dkvm_log_error("%s", error->message);
        return error->code;
    }
    if (!take_directory(options->session)) {
        return 0;
    }
    start(options);
    dkvm_notify("READY=1");
    while (!watchd.stopping && virEventRunDefaultImpl() == 0) {
    }
    finish();
    return 0;
}

static int print_status(const DkvmWatchdOptions *options)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *directory = dkvm_runtime_directory(options->session);
    if (!dkvm_status_print(directory, options->json, &error)) {
        dkvm_log_error("%s", error->message);
        return error->code;
    }
    return 0;
}

int main(int argc, char **argv)
{
    DkvmWatchdOptions options = {0};
    g_autoptr(GError) error = NULL;
    setlocale(LC_ALL, "");
    signal(SIGPIPE, SIG_IGN); /* a libvirtd that goes away is an error like any other */
    mallopt(M_ARENA_MAX, 1);  /* several threads, little memory */
    dkvm_log_init("dkvm-watchd");
    int exit_code = 0;
    if (!dkvm_watchd_options_parse(&options, &argc, &argv, &error)) {
        dkvm_log_error("%s", error->message);
        exit_code = error->code;
    } else if (options.version) {
        puts("dkvm-watchd " DKVM_VERSION);
    } else {
        exit_code = options.status ? print_status(&options) : watch(&options);
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        dkvm_log_error("cannot write to standard output: %s; what was printed is not complete",
                       g_strerror(errno));
        exit_code = MAX(exit_code, DKVM_ERROR_FILE);
    }
    g_strfreev(options.connect);
    return exit_code;
}
