/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one view of PCI devices and IOMMU groups: what the kernel shows below the root prefix
 * (DKVM_ROOT), read once.  Nothing here writes.  All objects belong to the DkvmHost. */
#pragma once

#include <glib.h>

#include "udev/identity.h"

#define DKVM_BARS 6

typedef struct {
    guint64 size;     /* bytes; 0: there is no such region */
    gboolean io;      /* ports, not memory */
    guint64 possible; /* resourceN_resize (since 6.1): bit n = 2^n MiB is possible; 0: not known */
} DkvmBar;

/* What on this host needs a device. */
typedef enum {
    DKVM_USE_MOUNT,    /* a mounted file system */
    DKVM_USE_SWAP,     /* active swap space */
    DKVM_USE_STACK,    /* part of an active LVM, LUKS, RAID or similar volume that is not mounted */
    DKVM_USE_ROUTE,    /* the default route */
    DKVM_USE_NIC,      /* a network interface */
    DKVM_USE_KEYBOARD, /* a keyboard hangs on it */
    DKVM_USE_MOUSE,    /* a mouse, touchpad or tablet hangs on it */
    DKVM_USE_CONSOLE,  /* it shows the console */
    DKVM_USE_DISPLAY,  /* a screen is connected to it */
} DkvmUseKind;

typedef struct {
    DkvmUseKind kind;
    char *what; /* "/ (nvme0n1p2)", "enp3s0", "Logitech USB Keyboard", "HDMI-A-1" */
} DkvmUse;

typedef struct DkvmDevice DkvmDevice;
typedef struct DkvmGroup DkvmGroup;

struct DkvmDevice {
    DkvmIdentity id;
    char name[DKVM_BDF_SIZE]; /* the address as text */
    char *sysfs;              /* "/sys/devices/pci0000:00/...", without the root prefix */
    guint32 class_code;       /* 24 bits: class, subclass, programming interface */
    guint8 header_type;       /* 0 endpoint, 1 bridge, 2 CardBus bridge */
    gboolean gone;            /* configuration space reads all ones: the device does not answer */
    int boot_vga;             /* 1, 0; -1: not a VGA device */
    char *driver;             /* NULL: none bound */
    char *driver_override;    /* NULL: none */
    char *modalias;
    char *vendor_name;   /* from hwdb; NULL: not known there */
    char *device_name;   /* the same */
    char *class_name;    /* "VGA compatible controller"; never NULL */
    char *reset_methods; /* as the kernel lists them, "flr bus"; NULL: no such file (before 5.15) */
    int acs;             /* 1 has the ACS capability, 0 not, -1 not known: see below */
    int is_pcie;         /* 1 has the PCI Express capability, 0 not, -1 not known */
    DkvmBar bars[DKVM_BARS];
    DkvmGroup *group;            /* NULL: in no IOMMU group */
    DkvmDevice *parent;          /* the bridge above, NULL on a root bus */
    char *physical_name;         /* of a virtual function (SR-IOV): its physical one; else NULL */
    DkvmDevice *physical;        /* the same; NULL too where that is not to be seen */
    guint virtuals;              /* virtual functions that it has now */
    GPtrArray *uses;             /* of DkvmUse */
    guint keyboards, mice, nics; /* how many hang on it */
    gboolean has_card;           /* a DRM card is below it: a driver shows pictures with it */
    guint connectors;            /* outputs that its driver knows */
};

struct DkvmGroup {
    int number;
    char *type;         /* "DMA", "DMA-FQ", "identity"; NULL before 5.11 or unreadable */
    GPtrArray *devices; /* of DkvmDevice, in order */
    GPtrArray *others;  /* names (char *) of members that are no PCI devices */
    GPtrArray *driven;  /* those of them that a driver has (not owned) */
    gboolean direct;    /* has reserved regions of type "direct" (RMRR): the guest cannot have it */
};

typedef struct {
    char *kernel;             /* "6.1.0-18-amd64"; NULL: unknown */
    guint version;            /* 0x060100; 0 unknown */
    gboolean dma_ownership;   /* the rule of 5.19 and newer; also where the version is unknown */
    char *command_line;       /* of the kernel; never NULL */
    char *acs_override;       /* value of pcie_acs_override=, NULL without */
    char *cpu_vendor;         /* "GenuineIntel", "AuthenticAMD"; NULL unknown */
    gboolean cpu_virtualizes; /* vmx or svm */
    gboolean dmar, ivrs;      /* the ACPI table that describes Intel's, AMD's IOMMU is there */
    gboolean iommu_running;   /* /sys/class/iommu has one */
    GPtrArray *devices;       /* of DkvmDevice, by address */
    GPtrArray *groups;        /* of DkvmGroup, by number */
    GHashTable *by_name;      /* address as text -> DkvmDevice */
    guint keyboards, mice;    /* real ones, wherever they hang */
    guint nics;               /* physical network interfaces, wherever they hang */
    gpointer modules;         /* libkmod's context, made when first asked */
    GPtrArray *notes;         /* sentences (char *) about what could not be seen */
} DkvmHost;

/* Reads everything.  Errors: DKVM_ERROR_FILE if there is no /sys/bus/pci/devices to read. */
DkvmHost *dkvm_host_read(GError **error);
void dkvm_host_free(DkvmHost *host);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmHost, dkvm_host_free)

/* NULL if there is none. */
DkvmDevice *dkvm_host_device(const DkvmHost *host, const DkvmBdf *bdf);
DkvmGroup *dkvm_host_group(const DkvmHost *host, int number);
/* The innermost PCI device in a sysfs path ("/sys/devices/pci0000:00/0000:00:14.0/usb1/..."). */
DkvmDevice *dkvm_host_device_of_path(const DkvmHost *host, const char *path);

/* Fills in acs, is_pcie and the serial number from the whole configuration space, where this user
 * may read it; before that they are not known. */
void dkvm_device_read_capabilities(DkvmDevice *device);

gboolean dkvm_device_is_bridge(const DkvmDevice *device); /* header type 1 or 2 */
gboolean dkvm_device_is_gpu(const DkvmDevice *device);    /* class 03 */
/* "NVIDIA Corporation GA104 [GeForce RTX 3070]", or ids where hwdb has no names; g_free. */
char *dkvm_device_title(const DkvmDevice *device);
/* "01:00.0" where every device of the host is in domain 0, else with the domain. */
const char *dkvm_device_short(const DkvmHost *host, const DkvmDevice *device);
/* Modules that would take the device by its modalias, from modules.alias of the running kernel
 * (libkmod); a list of strings, empty if there are none (g_strfreev). */
char **dkvm_device_modules(DkvmHost *host, const DkvmDevice *device);

void dkvm_device_add_use(DkvmDevice *device, DkvmUseKind kind, const char *what);
gboolean dkvm_device_has_use(const DkvmDevice *device, DkvmUseKind kind);
/* "mount", "swap", "stack", "route", "nic", "keyboard", "mouse", "console", "display" */
const char *dkvm_use_kind_name(DkvmUseKind kind);
