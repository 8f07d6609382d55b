/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dkvm-gpu: hands GPUs over to guests and takes them back.  See dkvm-gpu.8.scd. */
#include <errno.h>
#include <glib/gprintf.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/file.h"
#include "lib/log.h"
#include "qemu-hook/commands.h"
#include "qemu-hook/guardian.h"
#include "qemu-hook/rundir.h"

static const char usage_text[] =
    "Usage:\n"
    "  dkvm-gpu plan DOMAIN|--xml FILE   what a start would do, without doing it\n"
    "  dkvm-gpu status [--json]          what is handed over now\n"
    "  dkvm-gpu restore UUID|--all       give back what no running VM has\n"
    "  dkvm-gpu recover                  at boot: remember what the host died of\n"
    "  dkvm-gpu guard UUID               run by systemd\n"
    "  dkvm-gpu hook NAME OPERATION SUBOPERATION EXTRA\n"
    "                                    run by dkvm-hook, with the domain on standard input\n"
    "  dkvm-gpu --version, --help\n"
    "\n"
    "Exit: 0 done, 1 refused, 2 usage, 3 the domain or the configuration is not valid,\n"
    "4 a device is stuck until the host is started again, 5 libvirt cannot be asked,\n"
    "6 a file cannot be read or written.\n"
    "See dkvm-gpu(8).\n";

static int usage(const char *why)
{
    dkvm_log_error("%s; see dkvm-gpu --help", why);
    return DKVM_ERROR_USAGE;
}

static int guard(int argc, char **argv)
{
    if (argc != 1 || !dkvm_uuid_is_valid(argv[0]))
        return usage("guard takes one UUID");
    return dkvm_guardian_run(argv[0]);
}

static int plan(int argc, char **argv)
{
    if (argc == 2 && g_str_equal(argv[0], "--xml"))
        return dkvm_command_plan(NULL, argv[1]);
    if (argc == 1 && *argv[0] != '-')
        return dkvm_command_plan(argv[0], NULL);
    if (argc == 2 && g_str_equal(argv[0], "--"))
        return dkvm_command_plan(argv[1], NULL);
    return usage("plan takes the name or UUID of a domain, or --xml and a file");
}

static int status(int argc, char **argv)
{
    if (argc == 0)
        return dkvm_command_status(FALSE);
    if (argc == 1 && g_str_equal(argv[0], "--json"))
        return dkvm_command_status(TRUE);
    return usage("status takes nothing or --json");
}

static int restore(int argc, char **argv)
{
    g_autofree char *uuid = argc == 1 ? dkvm_uuid_normalize(argv[0]) : NULL;

    if (argc == 1 && g_str_equal(argv[0], "--all"))
        return dkvm_command_restore(NULL);
    return uuid ? dkvm_command_restore(uuid) : usage("restore takes a UUID or --all");
}

static int recover(int argc, char **argv)
{
    return argc == 0 ? dkvm_command_recover() : usage("recover takes nothing");
}

static int hook(int argc, char **argv)
{
    return argc == 4 ? dkvm_command_hook(argv[1]) : usage("hook is for dkvm-hook");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {{"plan", plan},       {"status", status}, {"restore", restore},
                    {"recover", recover}, {"guard", guard},   {"hook", hook}};

    (void)setlocale(LC_ALL, "");
    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(0077);
    dkvm_log_init("dkvm-gpu");
    dkvm_failpoint_init();
    if (argc < 2)
        return usage("which command?");
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (g_str_equal(argv[1], commands[i].name)) {
            int code = commands[i].run(argc - 2, argv + 2);

            if (fflush(stdout) != 0 || ferror(stdout)) {
                dkvm_log_error("cannot write to standard output: %s", g_strerror(errno));
                return code ? code : DKVM_ERROR_FILE;
            }
            return code;
        }
    }
    if (g_str_equal(argv[1], "--version"))
        return g_printf("dkvm-gpu " DKVM_VERSION "\n") > 0 ? 0 : DKVM_ERROR_FILE;
    if (g_str_equal(argv[1], "--help"))
        return g_printf("%s", usage_text) > 0 ? 0 : DKVM_ERROR_FILE;
    return usage("there is no such command");
}
