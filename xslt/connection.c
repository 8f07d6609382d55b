/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xslt/connection.h"

#include <libvirt/virterror.h>
#include <string.h>

#include "lib/error.h"
#include "lib/xml.h"
#include "xslt/ahead.h"
#include "xslt/edits.h"
#include "xslt/loop.h"
#include "xslt/state.h"

#define READ_AGAIN 5
#define EVENT_DEADLINE_MS 2000

typedef struct _virDomain VirDomain; /* virDomainPtr points to it; g_autoptr needs a name */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirDomain, virDomainFree)

gboolean dkvm_libvirt_error(GError **error, const char *operation, const char *object,
                            const char *next)
{
    const virError *last = virGetLastError();
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_LIBVIRT, "cannot %s%s%s: libvirt says: %s; %s",
                operation, object ? " " : "", object ? object : "",
                last && last->message ? last->message : "no reason", next);
    return FALSE;
}

/* ---- the connection ---- */

static void ignore_error(void *data, virErrorPtr error)
{
}

static virConnectPtr try_open(const char *uri)
{
    return virConnectOpenAuth(uri, virConnectAuthPtrDefault, 0);
}

virConnectPtr dkvm_connection_open(const char *uri, GError **error)
{
    virSetErrorFunc(NULL, ignore_error); /* errors are ours to print */
    virEventRegisterDefaultImpl();
    dkvm_loop_start();
    virConnectPtr conn = try_open(uri);
    if (conn == NULL && uri == NULL && g_getenv("LIBVIRT_DEFAULT_URI") == NULL) {
        conn = try_open("qemu:///system");
    }
    if (conn == NULL) {
        dkvm_libvirt_error(error, "connect to", uri ? uri : "libvirt",
                           "is its daemon running (systemctl status libvirtd), and may you use it? "
                           "--connect names another connection");
        return NULL;
    }
    if (g_strcmp0(virConnectGetType(conn), "QEMU") != 0) {
        g_set_error(
            error, DKVM_ERROR, DKVM_ERROR_LIBVIRT,
            "cannot use the connection %s: it is not a QEMU hypervisor; give one with --connect",
            uri ? uri : "that libvirt has by default");
        virConnectClose(conn);
        return NULL;
    }
    dkvm_edits_follow(conn);
    return conn;
}

void dkvm_connection_close(virConnectPtr conn)
{
    dkvm_edits_unfollow(conn);
    virConnectClose(conn);
    dkvm_loop_stop();
}

gboolean dkvm_connection_is_session(virConnectPtr conn)
{
    char *uri = virConnectGetURI(conn);
    gboolean session = uri != NULL && strstr(uri, ":///session") != NULL;
    free(uri);
    return session;
}

virDomainPtr dkvm_connection_find(virConnectPtr conn, const char *name, GError **error)
{
    static const char look[] = "virsh list --all shows the names";
    guint64 id = 0;
    if (*name == '\0') {
        g_set_error(error, DKVM_ERROR, DKVM_ERROR_LIBVIRT,
                    "cannot find a domain by an empty name: give a name, a UUID or an id; %s",
                    look);
        return NULL;
    }
    virDomainPtr domain = virDomainLookupByName(conn, name);
    if (domain == NULL && g_uuid_string_is_valid(name)) {
        domain = virDomainLookupByUUIDString(conn, name);
    }
    if (domain == NULL && g_ascii_string_to_unsigned(name, 10, 0, G_MAXINT, &id, NULL)) {
        domain = virDomainLookupByID(conn, (int)id);
    }
    if (domain == NULL) {
        dkvm_libvirt_error(error, "find the domain", name, look);
    }
    return domain;
}

static char *read_xml(virDomainPtr domain, unsigned int flags, GError **error)
{
    const char *name = virDomainGetName(domain); /* any call resets libvirt's last error */
    char *xml = virDomainGetXMLDesc(domain, flags);
    if (xml == NULL) {
        dkvm_libvirt_error(error, "read the definition of", name,
                           "virsh list --all shows whether it is still there");
        return NULL;
    }
    char *copy = g_strdup(xml);
    free(xml);
    return copy;
}

char *dkvm_connection_read(virDomainPtr domain, GError **error)
{
    return read_xml(domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE, error);
}

/* ---- storing ---- */

static gboolean define(virDomainPtr domain, const char *xml, GError **error)
{
    const char *name = virDomainGetName(domain); /* any call resets libvirt's last error */
    virConnectPtr conn = virDomainGetConnect(domain);
    g_autoptr(VirDomain) defined = virDomainDefineXMLFlags(conn, xml, 0);
    return defined != NULL ||
           dkvm_libvirt_error(error, "store the definition of", name,
                              "--diff shows what was to be stored; choose otherwise with --set, or "
                              "change what libvirt names with virsh edit");
}

static void report_lost(virDomainPtr domain, GError **error)
{
    g_set_error(
        error, DKVM_ERROR, DKVM_ERROR_REFUSED,
        "%s was changed by somebody else at the very moment when dkvm stored it; that change may "
        "be lost: look at the domain, and make the change again if it is",
        virDomainGetName(domain));
}

/* Our define made a domain anew that somebody had undefined since we read it. */
static void undefine_again(virDomainPtr domain, GError **error)
{
    const char *name = virDomainGetName(domain);
    if (virDomainUndefineFlags(domain, VIR_DOMAIN_UNDEFINE_KEEP_NVRAM) < 0) {
        dkvm_libvirt_error(error, "undefine (somebody undefined it while it was patched)", name,
                           "undefine it with virsh undefine --keep-nvram");
        return;
    }
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED,
                "%s was undefined by somebody else while it was patched, and stays so", name);
}

/* ---- the second read ---- */

/* The definition read again directly before it is stored, and the changes that arrive from before
 * that on.  Both take a turn: edits.h has to wait for its fence while the new definition is made,
 * and the read begins while it is being proven, which takes about as long. */
typedef struct {
    virDomainPtr domain;
    DkvmAhead *watch, *read; /* NULL: not begun, or over */
    DkvmEdits *edits;        /* what comes from then on */
    char *xml;               /* NULL with an error */
    GError *error;
} Again;

static void forget_read(Again *again)
{
    g_clear_pointer(&again->read, dkvm_ahead_wait);
    g_clear_pointer(&again->xml, g_free);
    g_clear_error(&again->error);
}

static void again_clear(Again *again)
{
    forget_read(again);
    g_clear_pointer(&again->watch, dkvm_ahead_wait);
    g_clear_pointer(&again->edits, dkvm_edits_free);
}

static void watch(gpointer data)
{
    Again *again = data;
    again->edits = dkvm_edits_watch(again->domain);
}

static void begin_watch(Again *again)
{
    again_clear(again);
    again->watch = dkvm_ahead_start(watch, again);
}

static void read_again(gpointer data)
{
    Again *again = data;
    if (again->watch == NULL && again->edits == NULL) {
        watch(again);
    }
    g_clear_pointer(&again->watch, dkvm_ahead_wait);
    again->xml = dkvm_connection_read(again->domain, &again->error);
}

static void begin_read(Again *again)
{
    forget_read(again);
    again->read = dkvm_ahead_start(read_again, again);
}

static void finish_read(Again *again)
{
    if (again->read == NULL) {
        read_again(again);
    }
    g_clear_pointer(&again->read, dkvm_ahead_wait);
}

/* ---- one update ---- */

struct DkvmUpdate {
    virDomainPtr domain;
    gboolean store;
    Again again;
    DkvmAsk *ask; /* of the patch that is being made */
};

static void on_nearly_done(gpointer data)
{
    DkvmUpdate *update = data;
    if (update->store) {
        begin_read(&update->again);
    }
}

static const DkvmDomainState *answer(gpointer data)
{
    DkvmUpdate *update = data;
    return dkvm_ask_answer(update->ask);
}

DkvmPatched *dkvm_connection_patch(DkvmUpdate *update, DkvmPatcher *patcher, DkvmDoc *doc,
                                   const char *xml, const DkvmFacts *facts,
                                   const DkvmWishes *wishes, GError **error)
{
    g_autoptr(DkvmAsk) ask = dkvm_ask_new(update->domain, xmlDocGetRootElement(doc), facts);
    DkvmPatchCalls calls = {.state = answer,
                            .likely = dkvm_ask_likely(ask),
                            .nearly_done = on_nearly_done,
                            .data = update};
    dkvm_ask_start(ask);
    if (update->store) {
        begin_watch(&update->again);
    }
    update->ask = ask;
    return dkvm_patch_doc(patcher, doc, xml, strlen(xml), virDomainGetName(update->domain), &calls,
                          wishes, error);
}

/* Stores NEW over OLD, unless the definition is not OLD any more (then *MOVED). */
static gboolean store_over(DkvmUpdate *update, const char *old, const char *new_xml,
                           gboolean *moved, GError **error)
{
    virDomainPtr domain = update->domain;
    Again *again = &update->again;
    finish_read(again);
    if (again->xml == NULL) {
        g_propagate_error(error, g_steal_pointer(&again->error));
        return FALSE;
    }
    /* Whoever changed it, even to what it was before: what comes now is to be counted from zero. */
    *moved = !g_str_equal(again->xml, old) || dkvm_edits_count(again->edits) > 0;
    if (*moved) {
        return FALSE;
    }
    if (!define(domain, new_xml, error)) {
        return FALSE;
    }
    /* libvirtd's main loop sends the events that are due before it reads the next call: after one
     * more call all events up to our own are on the way ahead of its reply. */
    virDomainIsActive(domain);
    DkvmEditsSeen seen = dkvm_edits_seen(again->edits, 1, EVENT_DEADLINE_MS);
    if (seen.undefined && seen.made_anew) {
        undefine_again(domain, error);
    } else if (seen.changes > 1) {
        report_lost(domain, error);
    }
    return TRUE;
}

/* Once.  *MOVED: the definition changed meanwhile, so it is to be done again. */
static DkvmPatched *try_update(virDomainPtr domain, DkvmMake make, gpointer data, gboolean store,
                               gboolean *stored, gboolean *moved, GError **error)
{
    DkvmUpdate update = {.domain = domain, .store = store, .again.domain = domain};
    g_autofree char *old = dkvm_connection_read(domain, error);
    g_autoptr(DkvmPatched) patched = old ? make(&update, old, data, error) : NULL;
    if (patched != NULL && patched->changed && store) {
        *stored = store_over(&update, old, patched->xml, moved, error);
    }
    again_clear(&update.again);
    return g_steal_pointer(&patched);
}

DkvmPatched *dkvm_connection_update(virDomainPtr domain, DkvmMake make, gpointer data,
                                    gboolean store, gboolean *stored, GError **error)
{
    *stored = FALSE;
    for (guint try = 0; try < READ_AGAIN; try++) {
        gboolean moved = FALSE;
        g_autoptr(DkvmPatched) patched =
            try_update(domain, make, data, store, stored, &moved, error);
        if (!moved) {
            return g_steal_pointer(&patched);
        }
    }
    g_set_error(
        error, DKVM_ERROR, DKVM_ERROR_REFUSED,
        "cannot store the definition of %s: somebody changes it all the time; try again when that "
        "is over",
        virDomainGetName(domain));
    return NULL;
}
