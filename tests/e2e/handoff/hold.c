/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holds a device node open until it is killed.
 *
 *   hold [--ignore-term] [--master] [--in-flight] [--read DISK] NODE
 *
 * --ignore-term: SIGTERM does nothing.  --master: as a display server does: becomes DRM master.
 * --in-flight: the descriptor lies in the queue of a socket, so that no process has it in its table
 * and no look through /proc finds it; the kernel counts it all the same.  --read: then reads DISK,
 * past the page cache, where a signal would end the wait: of one that does not answer (a suspended
 * device mapper) the process waits in the kernel, and not even SIGKILL ends it. */
#define _GNU_SOURCE /* O_DIRECT */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* linux/include/uapi/drm/drm.h */
#define DRM_IOCTL_SET_MASTER _IO('d', 0x1e)

static int put_in_flight(int fd)
{
    int pair[2];
    char byte = 0;
    struct iovec data = {&byte, 1};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};

    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0 || sendmsg(pair[0], &message, 0) != 1)
        return -1;
    return close(fd);
}

static int read_past_the_cache(const char *disk)
{
    enum { BLOCK = 4096 };
    void *block = aligned_alloc(BLOCK, BLOCK);
    int fd = open(disk, O_RDONLY | O_DIRECT | O_CLOEXEC);

    return fd < 0 || !block || read(fd, block, BLOCK) != BLOCK ? -1 : 0;
}

int main(int argc, char **argv)
{
    int in_flight = 0, master = 0;
    const char *disk = NULL;

    for (; argc > 2; argc--, argv++) {
        if (strcmp(argv[1], "--ignore-term") == 0)
            signal(SIGTERM, SIG_IGN);
        else if (strcmp(argv[1], "--in-flight") == 0)
            in_flight = 1;
        else if (strcmp(argv[1], "--master") == 0)
            master = 1;
        else if (strcmp(argv[1], "--read") == 0 && argc > 3) {
            disk = argv[2];
            argc--, argv++;
        } else
            return 2;
    }
    if (argc != 2)
        return 2;
    int fd = open(argv[1], O_RDWR | O_CLOEXEC);
    if (fd < 0 || (master && ioctl(fd, DRM_IOCTL_SET_MASTER, 0) != 0) ||
        (in_flight && put_in_flight(fd) != 0)) {
        perror(argv[1]);
        return 1;
    }
    puts("holding");
    fflush(stdout);
    if (disk && read_past_the_cache(disk) != 0) {
        perror(disk);
        return 1;
    }
    for (;;)
        pause();
}
