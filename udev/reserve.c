/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "udev/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/file.h"
#include "lib/paths.h"
#include "udev/give-back.h"

/* Ten seconds: a list is written in milliseconds. */
#define LOCK_TRIES 200
#define LOCK_PAUSE_US 50000

static const char *const header =
    "# Devices that vfio-pci takes at boot, for guests.  Written by dkvm-iommu --reserve and "
    "--release;\n"
    "# its form is in dkvm-udev(8).  After a change by hand the initramfs has to be made anew.\n";

/* ---- reading ---------------------------------------------------------------------------- */

typedef struct {
    unsigned line;
    const char *why;
} Bad;

static void first_bad(unsigned line, const char *why, void *data)
{
    Bad *bad = data;

    if (!bad->why)
        *bad = (Bad){line, why};
}

GArray *dkvm_reservations_read(GError **error)
{
    g_autofree char *path = dkvm_path(DKVM_RESERVATION_FILE);
    g_autoptr(GArray) entries = g_array_new(FALSE, TRUE, sizeof(DkvmReservation));
    g_autofree char *text = NULL;
    gsize length = 0;
    Bad bad = {0};

    if (access(path, F_OK) != 0 && errno == ENOENT)
        return g_steal_pointer(&entries);
    text = dkvm_file_read(path, DKVM_RESERVATION_MAX_FILE, &length, error);
    if (!text)
        return NULL;
    g_array_set_size(entries, DKVM_RESERVATION_MAX);
    gsize count = dkvm_reservation_parse_all(text, length, (DkvmReservation *)(void *)entries->data,
                                             first_bad, &bad);
    g_array_set_size(entries, (guint)count);
    if (bad.why) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_INPUT,
                    "cannot read the reservations in %s: line %u: %s; correct that line or take "
                    "it away",
                    path, bad.line, bad.why);
        return NULL;
    }
    return g_steal_pointer(&entries);
}

const DkvmReservation *dkvm_reservation_of(const GArray *reservations, const DkvmDevice *device,
                                           const char **difference)
{
    for (guint i = 0; reservations && i < reservations->len; i++) {
        const DkvmReservation *entry = &g_array_index(reservations, DkvmReservation, i);

        if (dkvm_bdf_compare(&entry->id.bdf, &device->id.bdf) != 0)
            continue;
        if (difference)
            *difference = dkvm_identity_difference(&entry->id, &device->id);
        return entry;
    }
    return NULL;
}

/* ---- writing ---------------------------------------------------------------------------- */

static gboolean write_all(const GArray *entries, GError **error)
{
    g_autofree char *path = dkvm_path(DKVM_RESERVATION_FILE);
    g_autoptr(GString) text = g_string_new(header);
    char line[DKVM_RESERVATION_MAX_LINE];

    for (guint i = 0; i < entries->len; i++) {
        dkvm_reservation_format(&g_array_index(entries, DkvmReservation, i), line);
        g_string_append_printf(text, "%s\n", line);
    }
    return dkvm_file_replace(path, text->str, text->len, error);
}

/* Holds the folder of the list until the descriptor is closed, so that nobody else reads what is
 * about to change; CREATE: makes it first.  -1 with ERROR set. */
static int lock_list(gboolean create, GError **error)
{
    g_autofree char *path = dkvm_path(DKVM_RESERVATION_FILE);
    g_autofree char *folder = g_path_get_dirname(path);
    int fd;

    if (create && g_mkdir_with_parents(folder, 0755) != 0) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                    "cannot make the directory %s: %s; run this as root", folder,
                    g_strerror(errno));
        return -1;
    }
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE, "cannot open %s: %s", folder,
                    g_strerror(errno));
        return -1;
    }
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if (errno != EWOULDBLOCK || i >= LOCK_TRIES) {
            g_set_error(error, DKVM_ERROR, DKVM_ERROR_FILE,
                        "cannot lock %s: %s; is another dkvm-iommu at work? Try again", folder,
                        g_strerror(errno));
            (void)close(fd);
            return -1;
        }
        g_usleep(LOCK_PAUSE_US);
    }
    return fd;
}

/* Removes the entries whose address is BDF; *RESET gets the reset= of it, which is the user's. */
static void remove_entry(GArray *entries, const DkvmBdf *bdf, char *reset)
{
    for (guint i = entries->len; i > 0; i--) {
        const DkvmReservation *entry = &g_array_index(entries, DkvmReservation, i - 1);

        if (dkvm_bdf_compare(&entry->id.bdf, bdf) != 0)
            continue;
        (void)g_strlcpy(reset, entry->reset, DKVM_RESET_SIZE);
        g_array_remove_index(entries, i - 1);
    }
}

static void add_entry(GArray *entries, DkvmDevice *device, const DkvmBdf *with)
{
    dkvm_device_read_capabilities(device);
    DkvmReservation entry = {.id = device->id, .with = *with};

    remove_entry(entries, &device->id.bdf, entry.reset);
    g_array_append_val(entries, entry);
}

/* The line that makes the initramfs anew on this distribution. */
static const char *initramfs_command(void)
{
    static const struct {
        const char *program, *command;
    } table[] = {
        {"/usr/sbin/update-initramfs", "update-initramfs -u -k all"},
        {"/usr/bin/mkinitcpio", "mkinitcpio -P"},
        {"/usr/bin/dracut", "dracut --force --regenerate-all"},
        {"/usr/sbin/dracut", "dracut --force --regenerate-all"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autofree char *path = dkvm_path(table[i].program);

        if (access(path, F_OK) == 0)
            return table[i].command;
    }
    return NULL;
}

static void say_initramfs(GString *text)
{
    const char *command = initramfs_command();

    g_string_append_printf(text, "The initramfs has a copy of the list: make it anew now%s%s%s\n",
                           command ? " with\n  " : ".", command ? command : "", "");
}

/* ---- reserving -------------------------------------------------------------------------- */

static gboolean refuse(const DkvmHost *host, const DkvmDevice *device, GError **error)
{
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                "cannot reserve %s: dkvm-iommu %s says no, and why", device->name,
                dkvm_device_short(host, device));
    return FALSE;
}

/* What is reserved is away from the first moment of the boot on: the only display cannot be. */
static gboolean may_reserve(const DkvmHost *host, const DkvmDevice *device,
                            const DkvmVerdict *verdict, GError **error)
{
    static const char *const needed[] = {"only-display", "only-keyboard", "console"};

    if (verdict->answer == DKVM_ANSWER_NO)
        return refuse(host, device, error);
    if (device->physical_name) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                    "cannot reserve %s: it is a virtual function of %s, which makes it long after "
                    "the start of the host and gives it to a driver at once; let the hand-over "
                    "take it when the guest starts instead",
                    device->name, device->physical_name);
        return FALSE;
    }
    for (guint i = 0; i < verdict->host_reasons->len; i++) {
        const DkvmReason *reason = g_ptr_array_index(verdict->host_reasons, i);

        for (gsize k = 0; k < G_N_ELEMENTS(needed); k++) {
            if (!g_str_equal(reason->code, needed[k]))
                continue;
            g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                        "cannot reserve %s: %s A reserved device is away from the start of the "
                        "host on; let the hand-over take it when the guest starts instead",
                        device->name, reason->text);
            return FALSE;
        }
    }
    return TRUE;
}

/* The list with DEVICE and what goes along, written; TEXT gets what that is. */
static gboolean add_all(const DkvmHost *host, DkvmDevice *device, const DkvmVerdict *verdict,
                        GString *text, GError **error)
{
    g_autoptr(GArray) entries = dkvm_reservations_read(error);

    if (!entries)
        return FALSE;
    add_entry(entries, device, &device->id.bdf);
    g_string_append_printf(text, "Reserved: %s", dkvm_device_short(host, device));
    for (guint i = 0; i < verdict->with->len; i++) {
        const DkvmWith *with = g_ptr_array_index(verdict->with, i);

        add_entry(entries, with->device, &device->id.bdf);
        g_string_append_printf(text, ", %s", dkvm_device_short(host, with->device));
    }
    if (entries->len > DKVM_RESERVATION_MAX) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                    "cannot reserve %s: there are already %d reserved devices; release some",
                    device->name, DKVM_RESERVATION_MAX);
        return FALSE;
    }
    return write_all(entries, error);
}

char *dkvm_reserve(const DkvmHost *host, DkvmDevice *device, GError **error)
{
    g_autoptr(DkvmVerdict) verdict = dkvm_verdict(host, device);
    g_autoptr(GString) text = g_string_new(NULL);
    gboolean good;
    int lock;

    if (!may_reserve(host, device, verdict, error))
        return NULL;
    lock = lock_list(TRUE, error);
    if (lock < 0)
        return NULL;
    good = add_all(host, device, verdict, text, error);
    (void)close(lock);
    if (!good)
        return NULL;
    g_string_append(text,
                    ". vfio-pci takes what is reserved from the next start of the host on.\n");
    say_initramfs(text);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* ---- releasing -------------------------------------------------------------------------- */

/* Moves the entries that belong to BDF from ENTRIES to a new array. */
static GArray *take_out(GArray *entries, const DkvmBdf *bdf)
{
    GArray *released = g_array_new(FALSE, FALSE, sizeof(DkvmReservation));
    DkvmBdf leader = *bdf;

    for (guint i = 0; i < entries->len; i++) {
        const DkvmReservation *entry = &g_array_index(entries, DkvmReservation, i);

        if (dkvm_bdf_compare(&entry->id.bdf, bdf) == 0)
            leader = entry->with;
    }
    for (guint i = entries->len; i > 0; i--) {
        const DkvmReservation *entry = &g_array_index(entries, DkvmReservation, i - 1);

        if (dkvm_bdf_compare(&entry->id.bdf, bdf) == 0 ||
            dkvm_bdf_compare(&entry->with, &leader) == 0) {
            g_array_prepend_val(released, *entry);
            g_array_remove_index(entries, i - 1);
        }
    }
    return released;
}

/* The list without what belongs to BDF, written; what that was, or NULL with ERROR set. */
static GArray *remove_all(const DkvmBdf *bdf, GError **error)
{
    g_autoptr(GArray) entries = dkvm_reservations_read(error);
    g_autoptr(GArray) released = entries ? take_out(entries, bdf) : NULL;
    char name[DKVM_BDF_SIZE];

    if (!entries)
        return NULL;
    dkvm_bdf_format(bdf, name);
    if (released->len == 0) {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                    "cannot release %s: it is not reserved; %s lists what is", name,
                    DKVM_RESERVATION_FILE);
        return NULL;
    }
    return write_all(entries, error) ? g_steal_pointer(&released) : NULL;
}

char *dkvm_release(const DkvmHost *host, const DkvmBdf *bdf, GError **error)
{
    g_autofree char *path = dkvm_path(DKVM_RESERVATION_FILE);
    gboolean there = access(path, F_OK) == 0;
    g_autoptr(GArray) released = NULL;
    g_autoptr(GString) text = g_string_new("Released:");
    char name[DKVM_BDF_SIZE];
    int lock = there ? lock_list(FALSE, error) : -1;

    if (there && lock < 0)
        return NULL;
    released = remove_all(bdf, error);
    if (lock >= 0)
        (void)close(lock);
    if (!released)
        return NULL;
    for (guint i = 0; i < released->len; i++) {
        const DkvmReservation *entry = &g_array_index(released, DkvmReservation, i);

        dkvm_bdf_format(&entry->id.bdf, name);
        g_string_append_printf(text, "%s %s", i ? "," : "", name);
    }
    g_string_append(text, ".\n");
    dkvm_give_back(host, released, text);
    say_initramfs(text);
    return g_string_free(g_steal_pointer(&text), FALSE);
}
