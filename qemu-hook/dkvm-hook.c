/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dkvm-hook: what libvirt runs at each step of each virtual machine's life, through the link
 * /etc/libvirt/hooks/qemu.d/50-dkvm.  Reads the definition, and either ends at once or becomes
 * dkvm-gpu, with the definition as a sealed file on standard input and nothing else inherited but
 * standard error.  Where nothing may be refused it stays, and dkvm-gpu is a child whose end, of
 * whatever kind, is none of libvirt's business.  libc only.  Nothing on standard output, ever: for
 * some operations libvirt takes it as the new definition.  libvirt waits, with the domain locked,
 * until we end and until nobody has our standard output and error (facts/handoff.md 0).  See
 * dkvm-hook.8.scd. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qemu-hook/hook-input.h"
#include "qemu-hook/hook-scan.h"

#ifndef DKVM_GPU
#define DKVM_GPU "/usr/sbin/dkvm-gpu"
#endif

/* dkvm-gpu keeps its own deadlines, 60 s in prepare.  Should it not, it is killed by this, which is
 * one of the deaths that its guard repairs. */
#define LAST_RESORT_SECONDS 75
/* How long libvirt waits at most where dkvm-gpu is only told; it needs a hundredth. */
#define TELL_SECONDS 5

typedef enum {
    LEAVE, /* exit 0 without a look */
    TELL,  /* dkvm-gpu may want to know; whatever comes of it, 0 */
    DECIDE /* may refuse; refuses if it cannot be known what the virtual machine wants */
} Part;

typedef struct {
    const char *name, *operation, *suboperation, *extra;
    Part part;
    char caller[32]; /* a variable for dkvm-gpu: who called us, libvirt */
} Call;

/* The build of the tests: dkvm-gpu and its state below DKVM_ROOT; it sees the variables DKVM_*. */
static const char *root(void)
{
#ifdef DKVM_HOOK_TEST
    const char *set = getenv("DKVM_ROOT");

    return set ? set : "";
#else
    return "";
#endif
}

static char definition[DKVM_HOOK_MAX + 1];

/* migrate, restore, attach and what later versions of libvirt may add are none of ours. */
static Part part_of(const char *operation)
{
    static const struct {
        const char *operation;
        Part part;
    } parts[] = {{"prepare", DECIDE}, {"start", DECIDE}, {"started", TELL},
                 {"stopped", TELL},   {"release", TELL}, {"reconnect", TELL}};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (strcmp(operation, parts[i].operation) == 0)
            return parts[i].part;
    }
    return LEAVE;
}

/* Where dkvm-gpu keeps the state of this boot: a folder for each UUID that it has devices of. */
static bool is_handed_over(const char *uuid)
{
    char path[4096];

    if (*uuid == '\0')
        return false;
    (void)snprintf(path, sizeof path, "%s/run/dkvm/%s", root(), uuid);
    return access(path, F_OK) == 0;
}

/* ---- refusing --------------------------------------------------------------------------- */

/* A name is anything but a newline, and what it is printed on may be a terminal. */
static void print_name(char *to, size_t size, const char *name)
{
    size_t length = 0;

    for (; *name && length + 4 < size; name++)
        to[length++] = *name >= ' ' && *name <= '~' ? *name : '?';
    (void)snprintf(to + length, size - length, "%s", *name ? "..." : "");
}

/* One paragraph on standard error, which libvirt shows to whoever pressed Start; does not return.
 */
__attribute__((noreturn, format(printf, 2, 3))) static void refuse(const Call *call,
                                                                   const char *format, ...)
{
    char name[64], why[512], text[768];
    va_list arguments;
    int length;

    if (call->part != DECIDE)
        _exit(0);
    print_name(name, sizeof name, call->name);
    va_start(arguments, format);
    (void)vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    length = snprintf(text, sizeof text, "dkvm: VM '%s' is not started: %s\n", name, why);
    if (write(STDERR_FILENO, text, (size_t)length) < 0)
        _exit(1); /* nobody listens */
    _exit(1);
}

/* ---- the definition --------------------------------------------------------------------- */

static bool is_blank(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!strchr(" \t\r\n", text[i]) || text[i] == '\0')
            return false;
    }
    return true;
}

static size_t read_definition(const Call *call)
{
    ssize_t length = dkvm_hook_read(STDIN_FILENO, definition, sizeof definition, DKVM_HOOK_READ_MS);

    if (length < 0 && errno == ETIMEDOUT)
        refuse(call,
               "its definition did not arrive from libvirt within %d seconds, so it is not known "
               "whether it needs a device of this host. Start it again; if that fails too, look "
               "at libvirt's log.",
               DKVM_HOOK_READ_MS / 1000);
    if (length < 0 && errno == EFBIG)
        refuse(call,
               "its definition is larger than %u MiB, so it was not read, and it is not known "
               "whether it needs a device of this host. Make it smaller with virsh edit: look at "
               "<metadata>.",
               DKVM_HOOK_MAX >> 20);
    if (length < 0)
        refuse(call,
               "reading its definition from libvirt failed (%s). Start it again; if that fails "
               "too, look at libvirt's log.",
               strerror(errno));
    if (is_blank(definition, (size_t)length))
        refuse(call, "libvirt passed no definition, so it is not known whether it needs a device "
                     "of this host. Start it again; if that fails too, look at libvirt's log.");
    return (size_t)length;
}

/* ---- becoming dkvm-gpu ------------------------------------------------------------------ */

/* Files that cannot be had: the table of this process or of the host is full, or memory. */
__attribute__((noreturn)) static void refuse_hand_over(const Call *call, const char *what)
{
    refuse(call,
           "it may need a device of this host, and handing its definition over to dkvm-gpu failed "
           "(%s: %s). Nothing was changed. Look whether the host has memory and open files left, "
           "then start it again.",
           what, strerror(errno));
}

static void put_on_standard_input(const Call *call, size_t length)
{
    int fd = memfd_create("dkvm-domain", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        refuse_hand_over(call, "memfd_create");
    for (size_t done = 0; done < length;) {
        ssize_t part = pwrite(fd, definition + done, length - done, (off_t)done);

        if (part < 0 && errno == EINTR)
            continue;
        if (part <= 0)
            refuse_hand_over(call, "write");
        done += (size_t)part;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
        refuse_hand_over(call, "seal");
    if (dup2(fd, STDIN_FILENO) < 0)
        refuse_hand_over(call, "dup2");
}

static void close_the_rest(const Call *call)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC | O_NOCTTY);

    if (null < 0 || dup2(null, STDOUT_FILENO) < 0)
        refuse_hand_over(call, "/dev/null");
    if (call->part == TELL && dup2(null, STDERR_FILENO) < 0)
        refuse_hand_over(call, "/dev/null");
    if (close_range(STDERR_FILENO + 1, ~0U, 0) != 0)
        refuse_hand_over(call, "close_range");
}

/* libvirt resets all of them; whoever calls us otherwise need not. */
static void reset_signals(void)
{
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        (void)signal(number, SIG_DFL); /* two cannot be set, and need not be */
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void keep_variables(const char **environment, size_t count)
{
#ifdef DKVM_HOOK_TEST
    for (char **e = environ; *e && count > 1; e++) {
        if (strncmp(*e, "DKVM_", 5) == 0) {
            *environment++ = *e;
            count--;
        }
    }
#endif
}

__attribute__((noreturn)) static void become_dkvm_gpu(const Call *call)
{
    const char *environment[16] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", call->caller};
    const char *arguments[] = {"dkvm-gpu",         "hook",      call->name, call->operation,
                               call->suboperation, call->extra, NULL};
    char program[4096];

    (void)snprintf(program, sizeof program, "%s" DKVM_GPU, root());
    keep_variables(environment + 3, sizeof environment / sizeof *environment - 3);
    (void)alarm(LAST_RESORT_SECONDS);
    (void)execve(program, (char **)arguments, (char **)environment);
    if (errno == ENOENT)
        refuse(call,
               "it may need a device of this host, and the program that hands devices over, %s, "
               "is not there. Install dkvm again; or, to start it without dkvm, remove "
               "/etc/libvirt/hooks/qemu.d/50-dkvm.",
               program);
    refuse(call,
           "it may need a device of this host, and the program that hands devices over, %s, "
           "cannot be run (%s). Install dkvm again; or, to start it without dkvm, remove "
           "/etc/libvirt/hooks/qemu.d/50-dkvm.",
           program, strerror(errno));
}

static pid_t child;

/* Time is up.  What was to be told must not arrive later, at another start perhaps; that QEMU ends
 * is noticed by the guard itself. */
static void leave(int number)
{
    if (child > 0)
        (void)kill(child, SIGKILL);
    _exit(0);
}

/* Not there, broken by half an upgrade, crashed or stuck: whatever becomes of dkvm-gpu, this ends
 * with 0, and soon.  At "started" and "reconnect" libvirt ends the virtual machine otherwise. */
__attribute__((noreturn)) static void tell_dkvm_gpu(const Call *call)
{
    child = fork();
    if (child == 0)
        become_dkvm_gpu(call);
    (void)signal(SIGALRM, leave);
    (void)alarm(TELL_SECONDS);
    if (child > 0)
        (void)waitpid(child, NULL, 0);
    _exit(0);
}

/* ---- the program ------------------------------------------------------------------------ */

/* A closed standard file would be the next one that is opened. */
static void hold_standard_files(const Call *call)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_WRONLY : O_RDONLY) != fd)
            refuse(call, "/dev/null cannot be opened (%s).", strerror(errno));
    }
}

/* For people; libvirt passes four arguments. */
static void explain(const char *word)
{
    if (strcmp(word, "--version") == 0)
        (void)fputs("dkvm-hook " DKVM_VERSION "\n", stderr);
    else
        (void)fputs("Usage: dkvm-hook NAME OPERATION SUBOPERATION EXTRA <DEFINITION\n"
                    "       dkvm-hook --help|--version\n"
                    "Run by libvirt, not by people: see dkvm-hook(8). What it would do with a\n"
                    "virtual machine is shown by: dkvm-gpu plan NAME\n",
                    stderr);
}

static const char *word_at(int argc, char **argv, int i)
{
    return i < argc ? argv[i] : "-";
}

int main(int argc, char **argv)
{
    Call call = {word_at(argc, argv, 1),
                 word_at(argc, argv, 2),
                 word_at(argc, argv, 3),
                 word_at(argc, argv, 4),
                 LEAVE,
                 ""};
    char uuid[DKVM_HOOK_UUID_SIZE];
    size_t length;

    if (argc < 3) {
        explain(argc == 2 ? argv[1] : "--help");
        return 0;
    }
    call.part = part_of(call.operation);
    (void)snprintf(call.caller, sizeof call.caller, "DKVM_CALLER=%d", (int)getppid());
    if (call.part == LEAVE || geteuid() != 0)
        return 0;
    (void)signal(SIGPIPE, SIG_IGN);
    hold_standard_files(&call);
    length = read_definition(&call);
    /* A device that was unplugged while the guest ran is not in its definition any more. */
    if (dkvm_hook_scan(definition, length, uuid) == DKVM_HOOK_NOT_OURS &&
        (call.part == DECIDE || !is_handed_over(uuid)))
        return 0;
    put_on_standard_input(&call, length);
    close_the_rest(&call);
    reset_signals();
    if (chdir("/") != 0)
        refuse_hand_over(&call, "chdir");
    if (call.part == TELL)
        tell_dkvm_gpu(&call);
    become_dkvm_gpu(&call);
}
