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

#include "hooks/link.h"
#include "lib/error.h"
#include "lib/log.h"

#define THREADS 4
#define FINISH (12 * G_TIME_SPAN_SECOND) /* starting what was stopped takes 4 */

typedef struct {
    char **connect;
    gboolean session, status, json, version;
} Options;

static struct {
    DkvmQueue *queue;
    GPtrArray *links; /* DkvmLink* */
    gboolean stopping;
} watchd;

static void ignore_error(void *data, virErrorPtr error)
{
}

static void changed(void)
{
}

static void each_link(void (*call)(DkvmLink *link))
{
    for (guint i = 0; i < watchd.links->len; i++) {
        call(watchd.links->pdata[i]);
    }
}

static void reload(void)
{
    g_autoptr(GError) error = NULL;
    if (!dkvm_settings_load(&error)) {
        dkvm_log_error("%s; the configuration that was in force stays", error->message);
        return;
    }
    dkvm_log_note("configuration read");
    each_link(dkvm_link_rescan);
}

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

static int take_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL); /* before there are threads, which inherit it */
    return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void each_second(int timer, void *data)
{
    dkvm_queue_relieve(watchd.queue);
}

static gboolean is_restarting(void)
{
    for (guint i = 0; i < watchd.links->len; i++) {
        if (dkvm_link_is_restarting(watchd.links->pdata[i])) {
            return TRUE;
        }
    }
    return FALSE;
}

static void wake(int timer, void *data)
{
}

/* What runs is finished, what we stopped is started; nothing new begins. */
static void finish(void)
{
    gint64 end = g_get_monotonic_time() + FINISH;
    each_link(dkvm_link_quiet);
    virEventAddTimeout(50, wake, NULL, NULL);
    while ((is_restarting() || !dkvm_queue_wait(watchd.queue, 1, 0)) &&
           g_get_monotonic_time() < end && virEventRunDefaultImpl() == 0) {
    }
    each_link(dkvm_link_stop);
    if (!dkvm_queue_close(watchd.queue, 0)) {
        dkvm_log_warning("a domain's daemon does not answer; ending without it");
        _exit(0); /* its thread cannot be ended */
    }
    each_link(dkvm_link_free);
}

static int parse(Options *options, int *argc, char ***argv, GError **error)
{
    const GOptionEntry entries[] = {
        {"connect", 'c', 0, G_OPTION_ARG_STRING_ARRAY, &options->connect,
         "libvirt connection to watch (again: one more)", "URI"},
        {"session", 0, 0, G_OPTION_ARG_NONE, &options->session, "watch qemu:///session", NULL},
        {"version", 0, 0, G_OPTION_ARG_NONE, &options->version, "print the version", NULL},
        G_OPTION_ENTRY_NULL};
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_add_main_entries(context, entries, NULL);
    return g_option_context_parse(context, argc, argv, error);
}

static void watch(const Options *options)
{
    static char *system[] = {(char *)"qemu:///system", NULL};
    static char *session[] = {(char *)"qemu:///session", NULL};
    char **uris = options->connect ? options->connect : options->session ? session : system;
    int signals = take_signals();
    virSetErrorFunc(NULL, ignore_error);
    virEventRegisterDefaultImpl();
    watchd.queue = dkvm_queue_new(THREADS);
    watchd.links = g_ptr_array_new();
    virEventAddHandle(signals, VIR_EVENT_HANDLE_READABLE, on_signal, NULL, NULL);
    virEventAddTimeout(1000, each_second, NULL, NULL);
    for (char **uri = uris; *uri != NULL; uri++) {
        g_ptr_array_add(watchd.links, dkvm_link_new(*uri, options->session, watchd.queue, changed));
    }
    while (!watchd.stopping && virEventRunDefaultImpl() == 0) {
    }
    finish();
}

int main(int argc, char **argv)
{
    Options options = {0};
    g_autoptr(GError) error = NULL;
    setlocale(LC_ALL, "");
    signal(SIGPIPE, SIG_IGN);
    mallopt(M_ARENA_MAX, 2); /* many threads, little memory */
    dkvm_log_init("dkvm-watchd");
    if (!parse(&options, &argc, &argv, &error)) {
        dkvm_log_error("%s; see dkvm-watchd --help", error->message);
        return DKVM_ERROR_USAGE;
    }
    if (options.version) {
        puts("dkvm-watchd " DKVM_VERSION);
        return 0;
    }
    if (!dkvm_settings_load(&error)) {
        dkvm_log_error("%s", error->message);
        return error->code;
    }
    watch(&options);
    return 0;
}
