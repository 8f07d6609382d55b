/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* No IOMMU: is there one, which kernel argument is missing, and which file takes it. */
#include <string.h>
#include <unistd.h>

#include "lib/paths.h"
#include "udev/host-private.h"
#include "udev/report.h"

#define LOADER_INFO "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

static gboolean there(const char *path)
{
    g_autofree char *full = dkvm_path(path);

    return access(full, F_OK) == 0;
}

/* The boot loader names itself in an EFI variable (systemd's Boot Loader Interface): four bytes of
 * attributes, then UTF-16. */
static gboolean loader_is(const char *name)
{
    g_autofree char *full = dkvm_path(LOADER_INFO);
    g_autofree char *data = NULL;
    g_autofree char *text = NULL;
    gsize length = 0;

    if (!g_file_get_contents(full, &data, &length, NULL) || length < 6 || length > 1024)
        return FALSE;
    text = g_convert(data + 4, (gssize)(length - 4), "UTF-8", "UTF-16LE", NULL, NULL, NULL);
    return text && g_str_has_prefix(text, name);
}

/* ---- where the argument goes ------------------------------------------------------------ */

static char *grub_advice(const char *argument)
{
    const char *run = "grub-mkconfig -o /boot/grub/grub.cfg";

    if (there("/usr/sbin/grubby") || there("/usr/bin/grubby") || there("/sbin/grubby"))
        return g_strdup_printf("GRUB with grubby: run\n  grubby --update-kernel=ALL --args=\"%s\"",
                               argument);
    if (there("/usr/sbin/update-grub") || there("/usr/bin/update-grub"))
        run = "update-grub";
    else if (there("/boot/grub2"))
        run = "grub2-mkconfig -o /boot/grub2/grub.cfg";
    return g_strdup_printf("GRUB: add it to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, "
                           "then run\n  %s",
                           run);
}

static char *systemd_boot_advice(const DkvmHost *host)
{
    if (there("/etc/kernel/proxmox-boot-uuids"))
        return g_strdup("systemd-boot on Proxmox VE: add it to the line in /etc/kernel/cmdline, "
                        "then run\n  proxmox-boot-tool refresh");
    if (there("/etc/kernel/cmdline"))
        return g_strdup_printf("systemd-boot: add it to the line in /etc/kernel/cmdline, then run\n"
                               "  kernel-install add %s /lib/modules/%s/vmlinuz",
                               host->kernel ? host->kernel : "VERSION",
                               host->kernel ? host->kernel : "VERSION");
    return g_strdup("systemd-boot: add it to the \"options\" line of the entry in "
                    "/boot/loader/entries/ (or /efi/loader/entries/); nothing has to be run.");
}

static char *where(const DkvmHost *host, const char *argument)
{
    static const struct {
        const char *path, *advice;
    } others[] = {
        {"/boot/limine.conf", "Limine: add it to the \"cmdline\" line in /boot/limine.conf."},
        {"/boot/limine/limine.conf",
         "Limine: add it to the \"cmdline\" line in /boot/limine/limine.conf."},
        {"/boot/refind_linux.conf",
         "rEFInd: add it inside the quotation marks of each line in /boot/refind_linux.conf."},
        {"/boot/extlinux/extlinux.conf",
         "extlinux: add it to the \"append\" line in /boot/extlinux/extlinux.conf."},
        {"/boot/syslinux/syslinux.cfg",
         "Syslinux: add it to the \"APPEND\" line in /boot/syslinux/syslinux.cfg."},
    };

    if (there("/etc/NIXOS"))
        return g_strdup_printf("NixOS: add \"%s\" to boot.kernelParams in "
                               "/etc/nixos/configuration.nix, then run\n  nixos-rebuild boot",
                               argument);
    if (there("/run/ostree-booted"))
        return g_strdup_printf("rpm-ostree: run\n  rpm-ostree kargs --append-if-missing=%s",
                               argument);
    if (loader_is("systemd-boot"))
        return systemd_boot_advice(host);
    if (there("/etc/default/grub"))
        return grub_advice(argument);
    if (there("/boot/loader/entries") || there("/efi/loader/entries") ||
        there("/etc/kernel/cmdline"))
        return systemd_boot_advice(host);
    for (gsize i = 0; i < G_N_ELEMENTS(others); i++) {
        if (there(others[i].path))
            return g_strdup(others[i].advice);
    }
    return g_strdup("The boot loader was not recognized: add it where yours keeps the kernel's "
                    "command line (the one in use is in /proc/cmdline).");
}

/* ---- what is missing -------------------------------------------------------------------- */

static gboolean is_amd(const DkvmHost *host)
{
    return host->ivrs || g_strcmp0(host->cpu_vendor, "AuthenticAMD") == 0 ||
           g_strcmp0(host->cpu_vendor, "HygonGenuine") == 0;
}

static const char *turned_off(const DkvmHost *host)
{
    static const char *const words[] = {"iommu=off", "amd_iommu=off", "intel_iommu=off"};
    g_auto(GStrv) given = g_strsplit(host->command_line, " ", -1);

    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        if (g_strv_contains((const char *const *)given, words[i]))
            return words[i];
    }
    return NULL;
}

const char *dkvm_iommu_argument(const DkvmHost *host)
{
    g_auto(GStrv) given = g_strsplit(host->command_line, " ", -1);

    if (!is_amd(host))
        return g_strv_contains((const char *const *)given, "intel_iommu=on") ? NULL
                                                                             : "intel_iommu=on";
    /* AMD's is on unless it is turned off, or the kernel takes the platform for a broken one
     * (Documentation/admin-guide/kernel-parameters.txt, amd_iommu=). */
    return host->ivrs && !turned_off(host) ? "amd_iommu=force_enable" : NULL;
}

static void say_firmware(const DkvmHost *host, GString *text)
{
    const char *vendor = is_amd(host) ? "AMD" : "Intel";
    const char *setting = is_amd(host) ? "\"IOMMU\" (AMD-Vi; not on \"Auto\")"
                                       : "\"VT-d\" (Intel VT for Directed I/O)";

    if (host->dmar || host->ivrs) {
        g_string_append_printf(text,
                               "This machine has an IOMMU: its firmware describes it (ACPI table "
                               "%s). The kernel does not use it.\n",
                               host->ivrs ? "IVRS" : "DMAR");
        return;
    }
    if (!host->cpu_vendor) {
        g_string_append(text, "Whether this machine has an IOMMU cannot be told: there is no "
                              "/proc/cpuinfo and no ACPI table.\n");
        return;
    }
    g_string_append_printf(text,
                           "The firmware describes no IOMMU (no ACPI table %s): it is off, or "
                           "this machine has none. ",
                           is_amd(host) ? "IVRS" : "DMAR");
    if (host->cpu_virtualizes)
        g_string_append_printf(text,
                               "The %s CPU can virtualize, and nearly all that can have an IOMMU "
                               "beside it: look for %s in the firmware setup and turn it on.\n",
                               vendor, setting);
    else
        g_string_append_printf(text,
                               "The %s CPU does not show virtualization either: turn on %s and %s "
                               "in the firmware setup. If they are not there, this machine cannot "
                               "pass devices to guests.\n",
                               vendor, is_amd(host) ? "\"SVM\"" : "\"VT-x\"", setting);
}

char *dkvm_iommu_advice(const DkvmHost *host)
{
    GString *text = g_string_new("There are no IOMMU groups, so no device can go to a guest.\n");
    const char *argument = dkvm_iommu_argument(host), *off = turned_off(host);

    say_firmware(host, text);
    if (off) {
        g_autofree char *place = where(host, "");

        g_string_append_printf(text,
                               "The kernel was started with %s: take that away where an argument "
                               "would be added.\n%s\n",
                               off, place);
    }
    if (argument) {
        g_autofree char *place = where(host, argument);

        g_string_append_printf(text, "Kernel argument: %s\n%s\n", argument, place);
    } else if (!off && is_amd(host)) {
        g_string_append(text, "No kernel argument is needed: Linux turns AMD's IOMMU on by itself "
                              "once the firmware describes it.\n");
    }
    g_string_append(text, "Then start the host again, and run dkvm-iommu.\n");
    return g_string_free(text, FALSE);
}
