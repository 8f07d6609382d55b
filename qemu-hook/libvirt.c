/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt's library is loaded when it is needed, which is never on the way there and seldom on the
 * way back: it brings some forty others, and loading those took longer than all else that dkvm-gpu
 * does at its start. */
#include "qemu-hook/libvirt.h"

#include <dlfcn.h>
#include <errno.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdlib.h>

#include "lib/error.h"
#include "udev/bdf.h"

#define LIBRARY                                                                                    \
    "libvirt.so.0" /* its name for as long as there is a libvirt; symbols are versioned */

static struct {
    typeof(virSetErrorFunc) *set_error_func;
    typeof(virGetLastErrorMessage) *error_message;
    typeof(virConnectOpen) *connect;
    typeof(virConnectOpenReadOnly) *connect_to_read;
    typeof(virConnectClose) *close;
    typeof(virDomainLookupByName) *domain_by_name;
    typeof(virDomainLookupByUUIDString) *domain_by_uuid;
    typeof(virDomainGetXMLDesc) *domain_xml;
    typeof(virDomainFree) *domain_free;
    typeof(virNodeDeviceLookupByName) *device_by_name;
    typeof(virNodeDeviceReAttach) *device_reattach;
    typeof(virNodeDeviceFree) *device_free;
} calls;

static void no_message(void *unused, virErrorPtr error)
{
}

static gboolean find(void *library)
{
    const struct {
        const char *name;
        void **call;
    } all[] = {
        {"virSetErrorFunc", (void **)&calls.set_error_func},
        {"virGetLastErrorMessage", (void **)&calls.error_message},
        {"virConnectOpen", (void **)&calls.connect},
        {"virConnectOpenReadOnly", (void **)&calls.connect_to_read},
        {"virConnectClose", (void **)&calls.close},
        {"virDomainLookupByName", (void **)&calls.domain_by_name},
        {"virDomainLookupByUUIDString", (void **)&calls.domain_by_uuid},
        {"virDomainGetXMLDesc", (void **)&calls.domain_xml},
        {"virDomainFree", (void **)&calls.domain_free},
        {"virNodeDeviceLookupByName", (void **)&calls.device_by_name},
        {"virNodeDeviceReAttach", (void **)&calls.device_reattach},
        {"virNodeDeviceFree", (void **)&calls.device_free},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(all); i++) {
        *all[i].call = dlsym(library, all[i].name);
        if (!*all[i].call)
            return FALSE;
    }
    return TRUE;
}

/* NULL, or why it cannot be used (g_free).  It stays loaded. */
static char *load(void)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

    if (!library || !find(library)) {
        const char *cause = dlerror();

        return g_strdup(cause ? cause : "cannot load " LIBRARY);
    }
    calls.set_error_func(NULL, no_message);
    return NULL;
}

static char *last_error(void)
{
    return g_strdup(calls.error_message()); /* any other call forgets it */
}

static char *read_xml(virConnectPtr connection, const char *name, char **text)
{
    virDomainPtr domain = calls.domain_by_name(connection, name);

    if (!domain)
        domain = calls.domain_by_uuid(connection, name);
    char *xml = domain ? calls.domain_xml(domain, VIR_DOMAIN_XML_INACTIVE) : NULL;
    char *copy = g_strdup(xml);

    if (!xml)
        *text = last_error();
    free(xml);
    if (domain)
        (void)calls.domain_free(domain);
    return copy;
}

/* NULL with *TEXT, and *NEXT, what to do about it. */
static char *ask_definition(const char *name, char **text, const char **next)
{
    *next = "install libvirt's client library again";
    *text = load();
    if (*text)
        return NULL;
    *next = "is its daemon running (systemctl status libvirtd), and may you use it?";
    virConnectPtr connection = calls.connect_to_read("qemu:///system");

    if (!connection) {
        *text = last_error();
        return NULL;
    }
    *next = "'virsh list --all' shows the names";
    char *xml = read_xml(connection, name, text);

    (void)calls.close(connection);
    return xml;
}

char *dkvm_libvirt_definition(const char *name, GError **error)
{
    g_autofree char *text = NULL;
    const char *next;
    char *xml = ask_definition(name, &text, &next);

    if (!xml)
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_LIBVIRT,
                    "cannot read the definition of the VM '%s' from libvirt: %s; %s", name, text,
                    next);
    return xml;
}

int dkvm_libvirt_reattach(const char *bdf, const char *uri, char **text)
{
    DkvmBdf address;

    if (!dkvm_bdf_parse(bdf, &address))
        return EINVAL;
    *text = load();
    if (*text)
        return EIO;
    g_autofree char *name = g_strdup_printf("pci_%04x_%02x_%02x_%d", address.domain, address.bus,
                                            address.slot, address.function);
    virConnectPtr connection = calls.connect(uri);
    virNodeDevicePtr device = connection ? calls.device_by_name(connection, name) : NULL;
    int result = device && calls.device_reattach(device) == 0 ? 0 : EIO;

    if (result != 0)
        *text = last_error();
    if (device)
        (void)calls.device_free(device);
    if (connection)
        (void)calls.close(connection);
    return result;
}
