/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard's own loop in a process of the test's, and the processes that it watches: on the host
 * of handover-host.h, whose GPU is in group 11. */
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "qemu-hook/channel.h"
#include "qemu-hook/guardian.h"
#include "tests/unit/handover-host.h"

G_GNUC_UNUSED static void show_process(pid_t pid)
{
    g_autofree char *stat = g_strdup_printf("/proc/%d/stat", (int)pid);
    g_autofree char *real = NULL;

    g_assert_true(g_file_get_contents(stat, &real, NULL, NULL));
    put(stat, real);
}

G_GNUC_UNUSED static pid_t start_guard(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(dkvm_guardian_run(UUID));
    }
    return pid;
}

/* WORD on its way to the guard, as soon as that listens; XML (or NULL) goes along. */
G_GNUC_UNUSED static int say(const char *word, const char *xml)
{
    g_autofree char *message = g_strdup_printf("%s %d %" G_GUINT64_FORMAT, word, (int)getpid(),
                                               dkvm_process_start(getpid()));
    gint64 end = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;
    int fd = -1, channel;

    do { /* until it listens */
        channel = dkvm_channel_connect(UUID);
        (void)poll(NULL, 0, channel < 0 ? 5 : 0);
    } while (channel < 0 && g_get_monotonic_time() < end);
    g_assert_cmpint(channel, >=, 0);
    if (xml) {
        fd = memfd_create("xml", MFD_CLOEXEC);
        g_assert_cmpint(write(fd, xml, strlen(xml)), ==, (gssize)strlen(xml));
    }
    g_assert_true(dkvm_channel_send(channel, message, fd));
    if (fd >= 0)
        (void)close(fd);
    return channel;
}

/* The guard takes what was said; if ANSWERED it also answers. */
G_GNUC_UNUSED static char *hear(int channel, gboolean answered)
{
    g_autofree char *accepted = dkvm_channel_receive(channel, 20000, NULL);

    g_assert_cmpstr(accepted, ==, "accepted");
    char *answer = answered ? dkvm_channel_receive(channel, 20000, NULL) : NULL;

    (void)close(channel);
    return answer;
}

/* Tells the guard WORD; with XML also waits for its answer. */
G_GNUC_UNUSED static char *tell(const char *word, const char *xml)
{
    return hear(say(word, xml), xml != NULL);
}

/* Asks the guard WORD, with which no definition goes. */
G_GNUC_UNUSED static char *ask(const char *word)
{
    return hear(say(word, NULL), TRUE);
}

/* Waits for FILE to have TEXT. */
G_GNUC_UNUSED static void becomes(const char *path, const char *text)
{
    g_autofree char *file = at(path);
    gint64 end = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;

    for (;;) {
        g_autofree char *now = read_word(file);

        if (g_str_equal(now, text))
            return;
        if (g_get_monotonic_time() > end)
            g_assert_cmpstr(now, ==, text);
        (void)poll(NULL, 0, 5);
    }
}

/* From now on the group's node can be held; before that nobody may, or nothing is handed over. */
G_GNUC_UNUSED static void show_group(void)
{
    put_link("/dev/vfio/11", "/dev/null");
}

G_GNUC_UNUSED static void hide_group(void)
{
    g_autofree char *node = at("/dev/vfio/11");

    (void)unlink(node); /* not /dev/null itself */
    put("/dev/vfio/11", "");
}

/* A process that has the group's node open. */
G_GNUC_UNUSED static pid_t start_qemu(void)
{
    pid_t pid = fork();
    g_autofree char *group = at("/dev/vfio/11");

    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            (void)pause();
    }
    g_autofree char *fd = g_strdup_printf("/proc/%d/fd/5", (int)pid);

    put_link(fd, group);
    show_process(pid);
    return pid;
}

G_GNUC_UNUSED static void end_process(pid_t pid, int number)
{
    g_autofree char *folder = g_strdup_printf("%s/proc/%d", root, (int)pid);

    g_assert_cmpint(kill(pid, number), ==, 0);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    remove_tree(folder);
}
