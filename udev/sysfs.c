/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "udev/sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/limits.h>

static int trouble;
static char trouble_name[256];

void dkvm_sysfs_note(int cause, const char *name)
{
    size_t length = strlen(name);

    switch (cause) {
    case EIO:
    case EACCES:
    case EPERM:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSPC:
    case EBUSY:
    case EINTR:
        break;
    default:
        return; /* it is not there, or has no value now */
    }
    if (trouble != 0)
        return;
    trouble = cause;
    /* Its end says more. */
    if (length >= sizeof trouble_name)
        name += length - sizeof trouble_name + 1;
    (void)memcpy(trouble_name, name, strlen(name) + 1);
}

int dkvm_sysfs_trouble(const char **name)
{
    int cause = trouble;

    *name = trouble_name;
    trouble = 0;
    return cause;
}

/* ONCE: an attribute of sysfs comes whole in one read (Documentation/filesystems/sysfs.rst). */
static ssize_t read_file(int dir, const char *name, char *buffer, size_t size, bool once)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    size_t length = 0;

    if (fd < 0) {
        dkvm_sysfs_note(errno, name);
        return -1;
    }
    while (length < size - 1 && !(once && length > 0)) {
        ssize_t got = read(fd, buffer + length, size - 1 - length);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int saved = errno;

            dkvm_sysfs_note(saved, name);
            (void)close(fd);
            errno = saved;
            return -1;
        }
        if (got == 0)
            break;
        length += (size_t)got;
    }
    (void)close(fd);
    buffer[length] = '\0';
    return (ssize_t)length;
}

ssize_t dkvm_sysfs_read(int dir, const char *name, char *buffer, size_t size)
{
    return read_file(dir, name, buffer, size, false);
}

ssize_t dkvm_sysfs_line(int dir, const char *name, char *buffer, size_t size)
{
    ssize_t length = read_file(dir, name, buffer, size, true);
    ssize_t end = 0;

    if (length < 0)
        return -1;
    while (end < length && (unsigned char)buffer[end] >= ' ' && buffer[end] != 0x7f)
        end++;
    while (end > 0 && buffer[end - 1] == ' ')
        end--;
    buffer[end] = '\0';
    return end;
}

bool dkvm_parse_hex(const char *text, uint64_t max, uint64_t *value)
{
    uint64_t number = 0;
    size_t digits = 0;

    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
        text += 2;
    for (; *text; text++, digits++) {
        const char *all = "0123456789abcdef";
        const char *at = strchr(all, *text >= 'A' && *text <= 'F' ? *text + ('a' - 'A') : *text);

        if (!at || number > max >> 4)
            return false;
        number = number << 4 | (uint64_t)(at - all);
    }
    if (digits == 0 || number > max)
        return false;
    *value = number;
    return true;
}

bool dkvm_parse_number(const char *text, unsigned max, unsigned *value, const char **end)
{
    uint64_t number = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        number = number * 10 + (unsigned)(*at - '0');
        if (number > max)
            return false;
    }
    if (at == text)
        return false;
    *value = (unsigned)number;
    if (end)
        *end = at;
    return true;
}

bool dkvm_parse_device_number(const char *text, unsigned *major_number, unsigned *minor_number)
{
    const char *rest;

    return dkvm_parse_number(text, 0xfffff, major_number, &rest) && *rest == ':' &&
           dkvm_parse_number(rest + 1, 0xfffff, minor_number, &rest) && *rest == '\0';
}

bool dkvm_sysfs_hex(int dir, const char *name, uint64_t max, uint64_t *value)
{
    char text[32];

    return dkvm_sysfs_line(dir, name, text, sizeof text) > 0 && dkvm_parse_hex(text, max, value);
}

bool dkvm_sysfs_kind(int dir, const char *name, struct stat *st)
{
    struct statx got = {0};

    *st = (struct stat){0};
    if (statx(dir, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &got) != 0)
        return false;
    st->st_dev = makedev(got.stx_dev_major, got.stx_dev_minor);
    if (!(got.stx_mask & STATX_TYPE))
        return true;
    st->st_mode = got.stx_mode;
    st->st_rdev = makedev(got.stx_rdev_major, got.stx_rdev_minor);
    st->st_ino = got.stx_ino;
    return true;
}

bool dkvm_sysfs_link_name(int dir, const char *name, char *buffer, size_t size)
{
    char target[PATH_MAX];
    ssize_t length = readlinkat(dir, name, target, sizeof target - 1);
    const char *last;

    if (length < 0)
        dkvm_sysfs_note(errno, name);
    if (length <= 0)
        return false;
    target[length] = '\0';
    last = strrchr(target, '/');
    last = last ? last + 1 : target;
    if (*last == '\0' || strlen(last) >= size)
        return false;
    (void)memcpy(buffer, last, strlen(last) + 1);
    return true;
}

int dkvm_sysfs_write(int dir, const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    ssize_t put;
    int cause;

    if (fd < 0)
        return errno;
    do {
        put = write(fd, text, strlen(text));
    } while (put < 0 && errno == EINTR);
    cause = put < 0 ? errno : (size_t)put < strlen(text) ? EIO : 0;
    if (close(fd) < 0 && cause == 0 && errno != EINTR)
        cause = errno;
    return cause;
}
