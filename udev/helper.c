/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "udev/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "udev/reservation.h"
#include "udev/sysfs.h"

typedef struct {
    const char *root;
    const DkvmBdf *self; /* whose event it is; NULL: the boot, all are spoken about */
    DkvmReservation entries[DKVM_RESERVATION_MAX];
    size_t count;
} Run;

/* A test's root prefix: its log is not the host's. */
static const char *log_root = "";

void dkvm_helper_say(const char *format, ...)
{
    char text[480], line[512], path[PATH_MAX];
    va_list arguments;
    int fd, length;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '?';
    }
    length = snprintf(line, sizeof line, "<5>dkvm-udev: %s\n", text);
    (void)snprintf(path, sizeof path, "%s/dev/kmsg", log_root);
    fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || write(fd, line, (size_t)length) < 0)
        (void)fprintf(stderr, "dkvm-udev: %s\n", text);
    if (fd >= 0)
        (void)close(fd);
}

/* ---- the file --------------------------------------------------------------------------- */

static void bad_line(unsigned line, const char *why, void *data)
{
    const Run *run = data;

    /* Once a boot is enough: the initramfs says it, and the event of a device that is named. */
    if (!run->self)
        dkvm_helper_say("%s, line %u: %s: that line is left out", DKVM_RESERVATION_FILE, line, why);
}

/* false if there is nothing to do. */
static bool read_entries(Run *run)
{
    static char text[DKVM_RESERVATION_MAX_FILE + 2];
    char path[PATH_MAX];
    ssize_t length;

    if (snprintf(path, sizeof path, "%s%s", run->root, DKVM_RESERVATION_FILE) >= (int)sizeof path)
        return false;
    length = dkvm_sysfs_read(AT_FDCWD, path, text, sizeof text);
    if (length < 0) {
        if (errno != ENOENT)
            dkvm_helper_say("cannot read %s: %s: nothing is reserved", DKVM_RESERVATION_FILE,
                            strerror(errno));
        return false;
    }
    if (length > DKVM_RESERVATION_MAX_FILE) {
        dkvm_helper_say("%s is larger than %d bytes: nothing is reserved", DKVM_RESERVATION_FILE,
                        DKVM_RESERVATION_MAX_FILE);
        return false;
    }
    run->count = dkvm_reservation_parse_all(text, (size_t)length, run->entries, bad_line, run);
    return run->count > 0;
}

/* ---- one device ------------------------------------------------------------------------- */

static int open_device(const Run *run, const DkvmBdf *bdf)
{
    char name[DKVM_BDF_SIZE], path[PATH_MAX];

    dkvm_bdf_format(bdf, name);
    if (snprintf(path, sizeof path, "%s/sys/bus/pci/devices/%s", run->root, name) >=
        (int)sizeof path)
        return -1;
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Only the event of the device itself and the boot speak, so that a log is not full of it. */
static bool may_speak(const Run *run, const DkvmBdf *bdf)
{
    return !run->self || dkvm_bdf_compare(run->self, bdf) == 0;
}

/* A device that a host driver already has stays there: taking it away can block for ever, and
 * that is the hand-over's business. */
static void set_override(const Run *run, const DkvmReservation *entry, const char *name, int dir)
{
    char now[64] = "", driver[64];
    int cause;

    if (dkvm_sysfs_link_name(dir, "driver", driver, sizeof driver) && !strstr(driver, "vfio") &&
        may_speak(run, &entry->id.bdf))
        dkvm_helper_say("%s is reserved, but %s has it already: it stays there until the next "
                        "start; is the initramfs up to date?",
                        name, driver);
    (void)dkvm_sysfs_line(dir, "driver_override", now, sizeof now);
    if (strcmp(now, "vfio-pci") == 0)
        return;
    if (now[0] != '\0' && strcmp(now, "(null)") != 0) {
        if (may_speak(run, &entry->id.bdf))
            dkvm_helper_say("%s is reserved, but somebody set it to %s: left alone", name, now);
        return;
    }
    cause = dkvm_sysfs_write(dir, "driver_override", "vfio-pci");
    if (cause != 0)
        dkvm_helper_say("cannot reserve %s: writing driver_override: %s", name, strerror(cause));
}

/* Whether the device at the entry's address is the reserved one; *THERE if there is any. */
static bool is_reserved_one(const Run *run, const DkvmReservation *entry, const char *name,
                            bool *there)
{
    DkvmIdentity id;
    int cause = dkvm_identity_read(run->root, &entry->id.bdf, entry->id.has_serial, &id);
    const char *difference;

    *there = cause == 0;
    if (cause != 0)
        return false;
    difference = dkvm_identity_difference(&entry->id, &id);
    if (!difference)
        return true;
    if (may_speak(run, &entry->id.bdf))
        dkvm_helper_say("%s is not the device that was reserved (%s): refused; see dkvm-iommu and "
                        "reserve anew",
                        name, difference);
    return false;
}

static void apply(const Run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        const DkvmReservation *entry = &run->entries[i];
        char name[DKVM_BDF_SIZE];
        bool there;
        int dir;

        dkvm_bdf_format(&entry->id.bdf, name);
        if (!is_reserved_one(run, entry, name, &there)) {
            if (!there && !run->self)
                dkvm_helper_say("%s is reserved, but there is no such device", name);
            continue;
        }
        dir = open_device(run, &entry->id.bdf);
        if (dir >= 0) {
            set_override(run, entry, name, dir);
            (void)close(dir);
        }
    }
}

/* ---- what is called --------------------------------------------------------------------- */

void dkvm_helper_boot(const char *root)
{
    static Run run;

    run = (Run){.root = log_root = root};
    if (read_entries(&run))
        apply(&run);
}

/* The device may be one that was reserved somewhere else: a card moved by a firmware update. */
static void say_if_moved(const Run *run, const DkvmIdentity *self)
{
    for (size_t i = 0; i < run->count; i++) {
        const DkvmIdentity *saved = &run->entries[i].id;
        char was[DKVM_BDF_SIZE], is[DKVM_BDF_SIZE];

        if (strcmp(saved->path, self->path) != 0 || saved->vendor != self->vendor ||
            saved->device != self->device || dkvm_bdf_compare(&saved->bdf, &self->bdf) == 0)
            continue;
        dkvm_bdf_format(&saved->bdf, was);
        dkvm_bdf_format(&self->bdf, is);
        dkvm_helper_say("%s looks like the device that was reserved as %s: its address changed, so "
                        "it is refused; dkvm-iommu --release %s, then --reserve %s",
                        is, was, was, is);
    }
}

/* Somebody is giving it to a driver or taking it away, and knows why. */
static bool is_move(const char *action)
{
    return action && (strcmp(action, "bind") == 0 || strcmp(action, "unbind") == 0);
}

void dkvm_helper_event(const char *root, const char *action, const char *subsystem,
                       const char *slot)
{
    static Run run;
    DkvmIdentity id;
    DkvmBdf self;

    log_root = root;
    if (!subsystem || strcmp(subsystem, "pci") != 0 || !slot || !dkvm_bdf_parse(slot, &self)) {
        dkvm_helper_say("called for something that is no PCI device: nothing done");
        return;
    }
    if (action && strcmp(action, "remove") == 0)
        return;
    run = (Run){.root = root, .self = &self};
    if (!read_entries(&run))
        return;
    if (!is_move(action))
        apply(&run);
    if (dkvm_identity_read(root, &self, false, &id) != 0)
        return;
    say_if_moved(&run, &id);
    for (size_t i = 0; i < run.count; i++) {
        const DkvmReservation *entry = &run.entries[i];

        if (dkvm_bdf_compare(&entry->id.bdf, &self) != 0)
            continue;
        if (entry->id.has_serial && dkvm_identity_read(root, &self, true, &id) != 0)
            return;
        if (dkvm_identity_difference(&entry->id, &id) == NULL) {
            (void)printf("DKVM_RESERVED=vfio-pci\n");
            if (entry->reset[0])
                (void)printf("DKVM_RESET=%s\n", entry->reset);
        }
        return;
    }
}
