/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads keys from an Apple SMC by port I/O, as Darwin's AppleSMC does:  smcread KEY LENGTH...
 * Prints "KEY=VALUE" for each; bytes that are not printable ASCII as \xNN.
 * Exit: 0 all answered, 1 some did not, 2 no permission for the ports, 3 no SMC. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <time.h>

enum {
    PORT_BASE = 0x300,
    PORT_COUNT = 0x20,
    PORT_DATA = PORT_BASE,
    PORT_COMMAND = PORT_BASE + 0x04, /* writes: command; reads: status */
    PORT_ERROR = PORT_BASE + 0x1e,

    COMMAND_READ_KEY = 0x10,

    STATUS_HAS_DATA = 0x01,
    STATUS_ACCEPTED = 0x04,
    STATUS_IN_COMMAND = 0x08,

    FLOATING_BUS = 0xff,
    KEY_LENGTH = 4,
    MAX_VALUE = 32,
    DEADLINE_MS = 1000,
};

static long now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000L + t.tv_nsec / 1000000L;
}

/* Wait until all bits of WANTED are set in the status; 0 or -1 after the deadline. */
static int wait_for(int wanted)
{
    const long end = now_ms() + DEADLINE_MS;

    while ((inb(PORT_COMMAND) & wanted) != wanted)
        if (now_ms() > end)
            return -1;
    return 0;
}

static int failed(const char *key, const char *step)
{
    fprintf(stderr, "smcread: %.4s: %s (status %02x, error %02x)\n", key, step, inb(PORT_COMMAND),
            inb(PORT_ERROR));
    return -1;
}

/* The dialogue: command, four letters of the key, the length; then that many bytes come back. */
static int read_key(const char *key, unsigned char *value, int length)
{
    outb(COMMAND_READ_KEY, PORT_COMMAND);
    if (wait_for(STATUS_IN_COMMAND | STATUS_ACCEPTED))
        return failed(key, "the command is not accepted");
    for (int i = 0; i < KEY_LENGTH; i++) {
        outb((unsigned char)key[i], PORT_DATA);
        if (wait_for(STATUS_ACCEPTED))
            return failed(key, "a letter of the key is not accepted");
    }
    outb((unsigned char)length, PORT_DATA);
    for (int i = 0; i < length; i++) {
        if (wait_for(STATUS_ACCEPTED | STATUS_HAS_DATA))
            return failed(key, "no data: no such key, or not so long");
        value[i] = inb(PORT_DATA);
    }
    return 0;
}

static void print_value(const char *key, const unsigned char *value, int length)
{
    printf("%.4s=", key);
    for (int i = 0; i < length; i++) {
        if (value[i] >= 0x20 && value[i] < 0x7f)
            putchar(value[i]);
        else
            printf("\\x%02x", value[i]);
    }
    putchar('\n');
}

int main(int argc, char **argv)
{
    int status = 0;

    if (ioperm(PORT_BASE, PORT_COUNT, 1)) {
        perror("smcread: ioperm");
        return 2;
    }
    if (inb(PORT_COMMAND) == FLOATING_BUS && inb(PORT_ERROR) == FLOATING_BUS) {
        fputs("smcread: no SMC at port 0x300\n", stderr);
        return 3;
    }
    for (int i = 1; i + 1 < argc; i += 2) {
        const int length = atoi(argv[i + 1]);
        unsigned char value[MAX_VALUE];

        if (strlen(argv[i]) != KEY_LENGTH || length < 1 || length > MAX_VALUE ||
            read_key(argv[i], value, length))
            status = 1;
        else
            print_value(argv[i], value, length);
    }
    return status;
}
