/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A libvirt event client, to measure dkvm-watchd against.
 *
 *   watch-client idle            lists the domains, then only listens: the memory that an event
 *                                client takes
 *   watch-client latency N PID   defines N domains from the XML at standard input (NAME and UUID in
 *                                it are replaced) beside the watcher PID.  Prints for each, in
 *                                microseconds: from the DEFINED event to the watcher's own; reading
 *                                that definition and storing what the watcher made of it; reading
 *                                it and storing it as it is; from the DEFINED event to that of a
 *                                client that does just this (watch-client again)
 *   watch-client again           reads each new domain again-N and stores it as it is */
#include <glib.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEADLINE (30 * G_TIME_SPAN_SECOND)

static GMutex lock;
static GCond arrived;
static const char *expected; /* the domain whose events count: those of the last one may be late */
static gint64 added, updated;

static int on_event(virConnectPtr conn, virDomainPtr domain, int event, int detail, void *data)
{
    gint64 now = g_get_monotonic_time();
    g_mutex_lock(&lock);
    gboolean counts =
        event == VIR_DOMAIN_EVENT_DEFINED && g_strcmp0(virDomainGetName(domain), expected) == 0;
    if (counts && detail == VIR_DOMAIN_EVENT_DEFINED_ADDED) {
        added = now;
    } else if (counts && updated == 0) {
        updated = now;
    }
    g_cond_signal(&arrived);
    g_mutex_unlock(&lock);
    return 0;
}

static gpointer run_loop(gpointer data)
{
    while (virEventRunDefaultImpl() == 0) {
    }
    return NULL;
}

static void ignore_error(void *data, virErrorPtr error)
{
}

static void die(const char *what)
{
    fprintf(stderr, "watch-client: %s: %s\n", what, virGetLastErrorMessage());
    exit(1);
}

static char *replaced(const char *text, const char *from, const char *to)
{
    g_auto(GStrv) parts = g_strsplit(text, from, -1);
    return g_strjoinv(to, parts);
}

/* From their event to the watcher's. */
static gint64 wait_events(void)
{
    gint64 end = g_get_monotonic_time() + DEADLINE;
    g_mutex_lock(&lock);
    while ((added == 0 || updated == 0) && g_cond_wait_until(&arrived, &lock, end)) {
    }
    gint64 took = added != 0 && updated != 0 ? updated - added : -1;
    expected = NULL;
    g_mutex_unlock(&lock);
    return took;
}

/* Defines TEXT, then measures reading it and storing NEW (NULL: what was read).  The watcher sleeps
 * meanwhile. */
static gint64 bare(virConnectPtr conn, const char *text, const char *new_text)
{
    virDomainPtr domain = virDomainDefineXMLFlags(conn, text, 0);
    gint64 begin = g_get_monotonic_time();
    char *xml = domain
                    ? virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE)
                    : NULL;
    virDomainPtr again = xml ? virDomainDefineXMLFlags(conn, new_text ? new_text : xml, 0) : NULL;
    gint64 took = g_get_monotonic_time() - begin;
    if (again == NULL || virDomainUndefineFlags(domain, VIR_DOMAIN_UNDEFINE_NVRAM) < 0) {
        die("define again");
    }
    virDomainFree(domain);
    virDomainFree(again);
    free(xml);
    return took;
}

/* What the watcher makes of TEXT, the domain NAME; *TOOK: from event to event. */
static char *watched(virConnectPtr conn, const char *text, const char *name, gint64 *took)
{
    g_mutex_lock(&lock);
    expected = name;
    added = updated = 0;
    g_mutex_unlock(&lock);
    virDomainPtr domain = virDomainDefineXMLFlags(conn, text, 0);
    *took = domain ? wait_events() : -1;
    if (*took < 0) {
        die("no definition by the watcher");
    }
    g_usleep(50000); /* it looks at its own definition */
    char *xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
    virDomainUndefineFlags(domain, VIR_DOMAIN_UNDEFINE_NVRAM);
    virDomainFree(domain);
    return xml;
}

/* ---- the client that reads and stores ---- */

static void store_again(gpointer data, gpointer unused)
{
    virDomainPtr domain = data;
    char *xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
    virDomainPtr again = xml ? virDomainDefineXMLFlags(virDomainGetConnect(domain), xml, 0) : NULL;
    if (again == NULL) {
        die("store again");
    }
    virDomainFree(again);
    virDomainFree(domain);
    free(xml);
}

static int on_added(virConnectPtr conn, virDomainPtr domain, int event, int detail, void *data)
{
    if (event == VIR_DOMAIN_EVENT_DEFINED && detail == VIR_DOMAIN_EVENT_DEFINED_ADDED &&
        g_str_has_prefix(virDomainGetName(domain), "again-")) {
        virDomainRef(domain);
        g_thread_pool_push(data, domain, NULL);
    }
    return 0;
}

/* TEXT with that name and a UUID of its own. */
static char *named(const char *text, const char *name)
{
    g_autofree char *uuid = g_uuid_string_random();
    g_autofree char *one = replaced(text, "NAME", name);
    return replaced(one, "UUID", uuid);
}

/* ---- */

static void one(virConnectPtr conn, const char *text, int number, pid_t watcher)
{
    g_autofree char *name = g_strdup_printf("latency-%d", number);
    g_autofree char *others_name = g_strdup_printf("again-%d", number);
    g_autofree char *full = named(text, name);
    g_autofree char *others = named(text, others_name);
    gint64 took = 0, other = 0;
    char *patched = watched(conn, full, name, &took);
    kill(watcher, SIGSTOP);
    gint64 result = bare(conn, full, patched), original = bare(conn, full, NULL);
    free(watched(conn, others, others_name, &other));
    kill(watcher, SIGCONT);
    g_usleep(50000); /* it looks at what is gone already */
    printf("%" G_GINT64_FORMAT " %" G_GINT64_FORMAT " %" G_GINT64_FORMAT " %" G_GINT64_FORMAT "\n",
           took, result, original, other);
    free(patched);
}

/* Another process, as the watcher is one. */
static pid_t start_other(char *program)
{
    char word[] = "again", *arguments[] = {program, word, NULL};
    GPid pid = 0;
    int out = -1;
    char ready;
    if (!g_spawn_async_with_pipes(NULL, arguments, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL,
                                  &pid, NULL, &out, NULL, NULL) ||
        read(out, &ready, 1) != 1) {
        die("start another");
    }
    return pid;
}

static void latency(virConnectPtr conn, int count, pid_t watcher)
{
    static char text[65536];
    size_t length = fread(text, 1, sizeof text - 1, stdin);
    text[length] = '\0';
    for (int i = 0; i < count; i++) {
        one(conn, text, i, watcher);
    }
}

static void list(virConnectPtr conn)
{
    virDomainPtr *domains = NULL;
    int count = virConnectListAllDomains(conn, &domains, VIR_CONNECT_LIST_DOMAINS_PERSISTENT);
    for (int i = 0; i < count; i++) {
        virDomainFree(domains[i]);
    }
    free(domains);
}

int main(int argc, char **argv)
{
    virSetErrorFunc(NULL, ignore_error);
    virEventRegisterDefaultImpl();
    virConnectPtr conn = virConnectOpen("qemu:///system");
    if (conn == NULL) {
        die("connect");
    }
    gboolean again = argc == 2 && g_str_equal(argv[1], "again");
    virConnectDomainEventRegisterAny(
        conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
        again ? VIR_DOMAIN_EVENT_CALLBACK(on_added) : VIR_DOMAIN_EVENT_CALLBACK(on_event),
        again ? g_thread_pool_new(store_again, NULL, 1, TRUE, NULL) : NULL, NULL);
    virConnectSetKeepAlive(conn, 5, 5);
    if (argc == 4) {
        g_thread_new("events", run_loop, NULL);
        pid_t other = start_other(argv[0]);
        latency(conn, atoi(argv[2]), atoi(argv[3]));
        kill(other, SIGKILL);
        return 0;
    }
    if (again) {
        puts("ready");
        (void)fflush(stdout);
        run_loop(NULL);
    }
    list(conn);
    run_loop(NULL);
    return 0;
}
