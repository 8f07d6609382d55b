/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Can this device go to a guest?  Two verdicts: what the kernel allows, and what this host would
 * lose. */
#pragma once

#include "udev/host.h"

typedef enum {
    DKVM_ANSWER_YES,
    DKVM_ANSWER_COSTS, /* yes, but the host goes without something as long as the guest runs */
    DKVM_ANSWER_NO,
} DkvmAnswer;

typedef struct {
    DkvmAnswer weight; /* NO: alone enough for no; YES: worth knowing */
    const char *code;  /* a word for programs, "boot-disk"; a literal (dkvm-iommu(1), JSON) */
    char *text;        /* the reason, a sentence */
    char *todo;        /* what can be done about it, a sentence; NULL: nothing */
} DkvmReason;

/* What goes along. */
typedef enum {
    DKVM_WITH_GROUP, /* in the same group and driven: must leave its driver */
    DKVM_WITH_CARD,  /* another function of the same card; the guest's driver expects it */
} DkvmWithWhy;

typedef struct {
    DkvmDevice *device;
    DkvmWithWhy why;
} DkvmWith;

typedef struct {
    DkvmAnswer kernel;         /* YES or NO */
    GPtrArray *kernel_reasons; /* of DkvmReason */
    DkvmAnswer host;
    GPtrArray *host_reasons; /* of DkvmReason */
    DkvmAnswer answer;       /* NO if either is; COSTS if the host's is */
    GPtrArray *with;         /* of DkvmWith, by address: what goes along, without the device */
} DkvmVerdict;

/* The verdict for DEVICE as the host is now.  Kernel: the group can be opened and is viable once
 * its endpoints are on vfio-pci or driverless (before 5.19: vfio_dev_viable(), drivers/vfio/vfio.c;
 * since: iommu_group_claim_dma_owner(), drivers/iommu/iommu.c). */
DkvmVerdict *dkvm_verdict(const DkvmHost *host, DkvmDevice *device);
/* The verdict for all of DEVICES (of DkvmDevice, at least one) when they go at once; `with` holds
 * all but the last, which is "it" in the texts. */
DkvmVerdict *dkvm_verdict_together(const DkvmHost *host, const GPtrArray *devices);
void dkvm_verdict_free(DkvmVerdict *verdict);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DkvmVerdict, dkvm_verdict_free)

/* "yes", "costs", "no" */
const char *dkvm_answer_name(DkvmAnswer answer);

/* Whether DRIVER (NULL: none) leaves the group to a guest: no driver, vfio-pci and its variants,
 * pci-stub. */
gboolean dkvm_driver_lets_go(const char *driver);

/* The other functions of a graphics card, whatever group they are in: audio, USB, UCSI; also behind
 * a switch of its own.  A new array of DkvmDevice (not owned), empty if DEVICE is no GPU. */
GPtrArray *dkvm_device_companions(const DkvmHost *host, DkvmDevice *device);
