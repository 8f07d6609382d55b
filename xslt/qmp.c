/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QMP: QEMU's docs/interop/qmp-spec; the commands are those that libvirt itself probes with.
 * "unavailable-features" is what the accelerator of this very process lacks: with -machine none and
 * -accel tcg it is exactly what QEMU warns about when a q35 domain starts (tests/unit/test-qmp.c).
 */
#include "xslt/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <gio/gunixinputstream.h>
#include <glib-unix.h>
#include <libxml/tree.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/paths.h"
#include "lib/xml.h"
#include "xslt/facts-private.h"
#include "xslt/models.h"

#define MAX_REPLY (4 * 1024 * 1024)
#define MAX_STDERR 4096

typedef struct {
    const char *emulator; /* for messages */
    GSubprocess *process;
    int socket; /* QEMU's stdin and stdout: a socket, so that writing to a dead QEMU is no SIGPIPE
                 */
    int stderr_fd;      /* owned by PROCESS; -1 once it is closed */
    GString *input;     /* received, not yet consumed */
    GString *complaint; /* the beginning of stderr */
    gint64 deadline;    /* monotonic, microseconds */
} Session;

void dkvm_qmp_answer_free(DkvmQmpAnswer *answer)
{
    if (!answer)
        return;
    g_hash_table_unref(answer->missing);
    g_free(answer);
}

static const char *next_emulator(xmlNode **node)
{
    if (!*node) {
        xmlNode *root = xmlDocGetRootElement(dkvm_models_document());
        xmlNode *list = dkvm_xml_child(root, "emulators");
        *node = list ? dkvm_xml_element(list->children) : NULL;
    } else {
        *node = dkvm_xml_element((*node)->next);
    }
    return *node ? dkvm_xml_get(*node, "path") : NULL;
}

gboolean dkvm_qmp_is_distribution(const char *path)
{
    xmlNode *node = NULL;
    const char *known;

    while ((known = next_emulator(&node)))
        if (g_str_equal(known, path))
            return TRUE;
    return FALSE;
}

const char *dkvm_qmp_emulator(void)
{
    xmlNode *node = NULL;
    const char *known;

    while ((known = next_emulator(&node))) {
        g_autofree char *real = dkvm_path(known);
        if (g_file_test(real, G_FILE_TEST_IS_REGULAR) && access(real, X_OK) == 0)
            return known;
    }
    return NULL;
}

static void fail(const Session *session, const char *cause, GError **error)
{
    g_autofree char *said = g_strdelimit(g_strdup(session->complaint->str), "\r\n", ' ');

    g_strstrip(said);
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_HOST,
                "asking %s what it can do failed: %s%s%s; try to run it, or use --facts FILE",
                session->emulator, cause, *said ? ": " : "", said);
}

/* Text of somebody else's for a message: nothing that would move the cursor. */
static void keep_complaint(Session *session, const char *text, gsize length)
{
    for (gsize i = 0; i < length && session->complaint->len < MAX_STDERR; i++)
        g_string_append_c(session->complaint,
                          g_ascii_isprint(text[i]) || text[i] == '\n' ? text[i] : '?');
}

static void read_stderr(Session *session)
{
    char buffer[4096];
    ssize_t length = read(session->stderr_fd, buffer, sizeof buffer);

    if (length > 0)
        keep_complaint(session, buffer, (gsize)length);
    else if (length == 0 || (errno != EAGAIN && errno != EINTR))
        session->stderr_fd = -1;
}

/* Waits for more of QEMU's output.  FALSE with ERROR at the deadline or the end of the output. */
static gboolean receive(Session *session, GError **error)
{
    char buffer[65536];
    struct pollfd fds[2] = {{.fd = session->socket, .events = POLLIN},
                            {.fd = session->stderr_fd, .events = POLLIN}};
    gint64 left = (session->deadline - g_get_monotonic_time()) / 1000;
    ssize_t length;

    if (left <= 0) {
        fail(session, "no answer in time", error);
        return FALSE;
    }
    if (poll(fds, G_N_ELEMENTS(fds), (int)left) < 0)
        return TRUE; /* EINTR: the caller comes back, the deadline holds */
    if (fds[1].revents)
        read_stderr(session);
    if (!fds[0].revents)
        return TRUE;
    length = recv(session->socket, buffer, sizeof buffer, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return TRUE;
    if (length <= 0) {
        if (session->stderr_fd >= 0)
            read_stderr(session);
        fail(session, "it ended without an answer", error);
        return FALSE;
    }
    g_string_append_len(session->input, buffer, length);
    if (session->input->len <= MAX_REPLY)
        return TRUE;
    fail(session, "its answer is larger than 4 MiB", error);
    return FALSE;
}

/* One message (a line); NULL with ERROR. */
static JsonObject *message(Session *session, GError **error)
{
    g_autoptr(GError) cause = NULL;
    JsonObject *object;
    char *end;

    while (!(end = memchr(session->input->str, '\n', session->input->len)))
        if (!receive(session, error))
            return NULL;
    object = dkvm_json_object(session->input->str, (gsize)(end - session->input->str), &cause);
    g_string_erase(session->input, 0, end - session->input->str + 1);
    if (!object)
        fail(session, cause->message, error);
    return object;
}

/* Sends COMMAND (a JSON text) and returns its reply, a "return" or an "error" member in it. */
static JsonObject *command(Session *session, const char *text, GError **error)
{
    gsize length = strlen(text);

    if (send(session->socket, text, length, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)length) {
        while (receive(session, error))
            ; /* it is gone: what it said last is the reason */
        return NULL;
    }
    for (;;) {
        g_autoptr(JsonObject) reply = message(session, error);
        if (!reply)
            return NULL;
        if (json_object_has_member(reply, "return") || json_object_has_member(reply, "error"))
            return g_steal_pointer(&reply);
    }
}

static void ask_version(Session *session, DkvmQmpAnswer *answer, GError **error)
{
    g_autoptr(JsonObject) reply = command(session, "{\"execute\":\"query-version\"}\n", error);
    JsonObject *object = reply ? dkvm_json_child(reply, "return") : NULL;
    JsonObject *qemu = object ? dkvm_json_child(object, "qemu") : NULL;
    gint64 major, minor, micro;

    if (!reply)
        return;
    if (!qemu) {
        fail(session, "it does not tell its version", error);
        return;
    }
    major = json_object_get_int_member_with_default(qemu, "major", -1);
    minor = json_object_get_int_member_with_default(qemu, "minor", -1);
    micro = json_object_get_int_member_with_default(qemu, "micro", -1);
    if (major < 1 || major > 999 || minor < 0 || minor > 999 || micro < 0 || micro > 999)
        fail(session, "it does not tell its version", error);
    else
        answer->version = (gulong)(major * 1000000 + minor * 1000 + micro);
}

/* Does device TYPE exist, and does it have PROPERTY?  UNKNOWN if this QEMU cannot tell. */
static DkvmTristate ask_property(Session *session, const char *type, const char *property,
                                 GError **error)
{
    g_autofree char *text = g_strdup_printf(
        "{\"execute\":\"device-list-properties\",\"arguments\":{\"typename\":\"%s\"}}\n", type);
    g_autoptr(JsonObject) reply = command(session, text, error);
    JsonObject *problem;
    JsonArray *list;

    if (!reply)
        return DKVM_UNKNOWN;
    problem = dkvm_json_child(reply, "error");
    if (problem)
        return g_strcmp0(dkvm_json_string(problem, "class"), "DeviceNotFound") == 0 ? DKVM_NO
                                                                                    : DKVM_UNKNOWN;
    list = dkvm_json_array(reply, "return");
    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        JsonObject *item = dkvm_json_array_object(list, i);
        if (item && g_strcmp0(dkvm_json_string(item, "name"), property) == 0)
            return DKVM_YES;
    }
    return list ? DKVM_NO : DKVM_UNKNOWN;
}

/* A definition is called MODEL, or MODEL-x86_64-cpu where only the type is named. */
static gboolean defines(JsonObject *definition, const char *model)
{
    g_autofree char *type = g_strconcat(model, "-x86_64-cpu", NULL);
    const char *name = dkvm_json_string(definition, "name");

    return g_strcmp0(name, model) == 0 || g_strcmp0(name, type) == 0;
}

/* "type" in the list: QEMU could not even build this model (x86_cpu_class_check_missing_features).
 */
static gboolean cannot_build(GPtrArray *names)
{
    return g_ptr_array_find_with_equal_func(names, "type", g_str_equal, NULL);
}

static void ask_cpus(Session *session, DkvmQmpAnswer *answer, GError **error)
{
    g_autoptr(JsonObject) reply =
        command(session, "{\"execute\":\"query-cpu-definitions\"}\n", error);
    JsonArray *list = reply ? dkvm_json_array(reply, "return") : NULL;

    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        JsonObject *definition = dkvm_json_array_object(list, i);
        for (const DkvmCpuModel *const *cpu = dkvm_models_cpus(); definition && *cpu; cpu++) {
            g_autoptr(GPtrArray) names = NULL;
            if (!defines(definition, (*cpu)->name))
                continue;
            names = dkvm_facts_feature_names(dkvm_json_array(definition, "unavailable-features"));
            if (names && !cannot_build(names))
                dkvm_facts_set_missing(answer->missing, (*cpu)->name, g_steal_pointer(&names));
        }
    }
}

static DkvmQmpAnswer *ask(Session *session, GError **error)
{
    g_autoptr(DkvmQmpAnswer) answer = g_new0(DkvmQmpAnswer, 1);
    g_autoptr(JsonObject) greeting = message(session, error);
    g_autoptr(GError) cause = NULL;

    answer->missing =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_strfreev);
    if (!greeting)
        return NULL;
    if (!dkvm_json_child(greeting, "QMP")) {
        fail(session, "it does not speak QMP", error);
        return NULL;
    }
    g_autoptr(JsonObject) ready = command(session, "{\"execute\":\"qmp_capabilities\"}\n", &cause);
    if (ready)
        ask_version(session, answer, &cause);
    if (!cause)
        answer->applesmc = ask_property(session, "isa-applesmc", "osk", &cause);
    if (!cause)
        answer->hotplug_off =
            ask_property(session, "ICH9-LPC", "acpi-pci-hotplug-with-bridge-support", &cause);
    if (!cause)
        ask_cpus(session, answer, &cause);
    if (cause) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return NULL;
    }
    return g_steal_pointer(&answer);
}

static gboolean start(Session *session, const char *real, const char *accel, GError **error)
{
    static const char *const environment[] = {"PATH=/usr/bin:/bin", "LC_ALL=C", NULL};
    const char *const arguments[] = {
        real,       "-machine", "none", "-accel", accel, "-S", "-nodefaults", "-no-user-config",
        "-display", "none",     "-qmp", "stdio",  NULL};
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDERR_PIPE);
    g_autoptr(GError) cause = NULL;
    int sockets[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0) {
        fail(session, g_strerror(errno), error);
        return FALSE;
    }
    session->socket = sockets[0];
    g_subprocess_launcher_set_environ(launcher, (char **)environment);
    g_subprocess_launcher_set_cwd(launcher, "/");
    g_subprocess_launcher_take_stdout_fd(launcher, fcntl(sockets[1], F_DUPFD_CLOEXEC, 3));
    g_subprocess_launcher_take_stdin_fd(launcher, sockets[1]);
    session->process = g_subprocess_launcher_spawnv(launcher, arguments, &cause);
    if (!session->process) {
        fail(session, cause->message, error);
        return FALSE;
    }
    session->stderr_fd = g_unix_input_stream_get_fd(
        G_UNIX_INPUT_STREAM(g_subprocess_get_stderr_pipe(session->process)));
    g_unix_set_fd_nonblocking(session->stderr_fd, TRUE, NULL);
    return TRUE;
}

static void finish(Session *session)
{
    if (session->process) {
        g_subprocess_force_exit(session->process);
        g_subprocess_wait(session->process, NULL, NULL);
        g_object_unref(session->process);
    }
    if (session->socket >= 0)
        close(session->socket);
    g_string_free(session->input, TRUE);
    g_string_free(session->complaint, TRUE);
}

DkvmQmpAnswer *dkvm_qmp_ask(const char *emulator, const char *accel, guint deadline, GError **error)
{
    g_autofree char *real = dkvm_path(emulator);
    Session session = {.emulator = emulator, .socket = -1, .stderr_fd = -1};
    DkvmQmpAnswer *answer = NULL;

    session.deadline = g_get_monotonic_time() + (gint64)deadline * 1000;
    session.input = g_string_new(NULL);
    session.complaint = g_string_new(NULL);
    if (start(&session, real, accel, error))
        answer = ask(&session, error);
    finish(&session);
    return answer;
}
