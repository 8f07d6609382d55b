/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/error.h"
#include "qemu-hook/rundir.h"

#define XML_MAX (4 * 1024 * 1024)
#define BACKLOG 16
#define SEND_MS 300 /* connect() and send() wait for a guard that does not accept; unix(7) */

/* Through /proc/self/fd, so that a long root prefix fits into sun_path. */
static gboolean address_of(const char *uuid, const char *name, struct sockaddr_un *address,
                           int *folder)
{
    g_autofree char *path = dkvm_rundir_path(uuid, NULL);

    *folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*folder < 0)
        return FALSE;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    (void)g_snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", *folder,
                     name);
    return TRUE;
}

static int listen_at(const char *uuid)
{
    g_autofree char *new = dkvm_rundir_path(uuid, "sock.new"),
                    *path = dkvm_rundir_path(uuid, "sock");
    struct sockaddr_un address;
    int folder = -1, fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    gboolean ok = fd >= 0 && address_of(uuid, "sock.new", &address, &folder);

    (void)unlink(new);
    /* Renamed when it listens, so that whoever sees it can connect. */
    ok = ok && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
         listen(fd, BACKLOG) == 0 && rename(new, path) == 0;
    int cause = errno;

    if (folder >= 0)
        (void)close(folder);
    if (!ok && fd >= 0) {
        (void)close(fd);
        fd = -1;
    }
    errno = cause;
    return fd;
}

int dkvm_channel_listen(const char *uuid, GError **error)
{
    int fd = listen_at(uuid);

    if (fd < 0)
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE, "cannot listen in " DKVM_RUN_DIR "/%s: %s",
                    uuid, g_strerror(errno));
    return fd;
}

int dkvm_channel_connect(const char *uuid)
{
    const struct timeval bound = {.tv_usec = SEND_MS * 1000};
    struct sockaddr_un address;
    int folder, fd;

    if (!address_of(uuid, "sock", &address, &folder))
        return -1;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int cause = errno;

        (void)close(fd);
        fd = -1;
        errno = cause;
    }
    int cause = errno;

    (void)close(folder);
    errno = cause;
    return fd;
}

int dkvm_channel_accept(int listener)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0 &&
        (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.uid != geteuid())) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

gboolean dkvm_channel_send(int channel, const char *text, int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = (char *)text,
                         .iov_len = MIN(strlen(text) + 1, DKVM_MESSAGE_MAX)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent;

    if (fd >= 0) {
        message.msg_control = control.space;
        message.msg_controllen = sizeof control.space;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        (void)memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    do {
        sent = sendmsg(channel, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent >= 0;
}

static gboolean wait_readable(int channel, int milliseconds)
{
    gint64 end = g_get_monotonic_time() + (gint64)milliseconds * 1000;
    struct pollfd one = {.fd = channel, .events = POLLIN};
    int ready;

    do {
        ready = poll(&one, 1, (int)MAX((end - g_get_monotonic_time() + 999) / 1000, 0));
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
}

char *dkvm_channel_receive(int channel, int milliseconds, int *fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    g_autofree char *text = g_malloc0(DKVM_MESSAGE_MAX + 1);
    struct iovec part = {.iov_base = text, .iov_len = DKVM_MESSAGE_MAX};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof control.space};
    int came = -1;
    ssize_t got;

    if (fd)
        *fd = -1;
    if (!wait_readable(channel, milliseconds)) {
        errno = ETIMEDOUT;
        return NULL;
    }
    do {
        got = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    const struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;

    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int)))
        (void)memcpy(&came, CMSG_DATA(header), sizeof came);
    if (fd)
        *fd = came;
    else if (came >= 0)
        (void)close(came);
    if (got <= 0) {
        errno = EPIPE;
        return NULL;
    }
    return g_utf8_make_valid(text, -1);
}

char *dkvm_channel_read_domain(int fd, gsize *length, GError **error)
{
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 ||
        st.st_size > XML_MAX) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "the domain is empty or larger than %d bytes; start the VM again", XML_MAX);
        return NULL;
    }
    g_autofree char *text = g_malloc((gsize)st.st_size + 1);
    ssize_t got = pread(fd, text, (size_t)st.st_size, 0);

    if (got != st.st_size) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "cannot read the domain: %s; start the VM again", g_strerror(errno));
        return NULL;
    }
    text[got] = '\0';
    *length = (gsize)got;
    return g_steal_pointer(&text);
}
