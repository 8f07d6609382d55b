/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dkvm-udev: sets driver_override of the reserved devices before anything loads a driver for them.
 * udev runs it for every PCI device that appears, the initramfs once before udev starts.  libc
 * only, no library of the house that needs more; exits 0 whatever it is given; says in the kernel's
 * log why it did nothing.  See dkvm-udev.8.scd. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "udev/helper.h"
#include "udev/sysfs.h"

/* udev waits for us; nothing that is done here takes a hundredth of it. */
#define PATIENCE_SECONDS 5

static const char *root(void)
{
    const char *set = secure_getenv("DKVM_ROOT");

    return set && strcmp(set, "/") != 0 ? set : "";
}

/* A closed standard file would be the next one that is opened. */
static void hold_standard_files(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        (void)close(fd);
}

/* Whatever takes so long: udev goes on, and the device is not reserved in this boot. */
static void give_up(int signal_number)
{
    _exit(0);
}

int main(int argc, char **argv)
{
    const char *mode = argc == 2 ? argv[1] : "";
    const char *action = getenv("ACTION"), *subsystem = getenv("SUBSYSTEM");
    const char *slot = getenv("PCI_SLOT_NAME");

    hold_standard_files();
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGALRM, give_up);
    (void)alarm(PATIENCE_SECONDS);
    if (strcmp(mode, "boot") == 0) {
        dkvm_helper_boot(root());
    } else if (strcmp(mode, "event") == 0) {
        dkvm_helper_event(root(), action, subsystem, slot);
    } else if (strcmp(mode, "--version") == 0) {
        (void)puts("dkvm-udev " DKVM_VERSION);
    } else if (strcmp(mode, "--help") == 0) {
        (void)puts("Usage: dkvm-udev event|boot|--version|--help\n"
                   "Run by udev's rules and by the initramfs, not by people: see dkvm-udev(8).\n"
                   "To reserve a device, use dkvm-iommu --reserve.");
    } else {
        dkvm_helper_say("called with something else than event or boot: nothing done");
    }
    (void)fflush(stdout);
    return 0;
}
