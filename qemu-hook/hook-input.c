/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/hook-input.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

static long long now_ms(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Until there is something to read or END; false with errno. */
static bool wait_for(int fd, long long end)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        long long left = end - now_ms();
        int ready = poll(&p, 1, left > 0 ? (int)left : 0);

        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return false;
        if (left <= 0) {
            errno = ETIMEDOUT;
            return false;
        }
    }
}

ssize_t dkvm_hook_read(int fd, char *buffer, size_t size, int milliseconds)
{
    long long end = now_ms() + milliseconds;
    size_t length = 0;

    while (length < size) {
        ssize_t part;

        if (!wait_for(fd, end))
            return -1;
        part = read(fd, buffer + length, size - length);
        if (part == 0)
            return (ssize_t)length;
        if (part > 0)
            length += (size_t)part;
        else if (errno != EINTR && errno != EAGAIN)
            return -1;
        /* A writer that always has one more byte would keep poll from looking at the clock. */
        if (now_ms() >= end) {
            errno = ETIMEDOUT;
            return -1;
        }
    }
    errno = EFBIG;
    return -1;
}
