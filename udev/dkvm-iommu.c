/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dkvm-iommu: which devices can go to a guest, with which companions, and why not.  See
 * dkvm-iommu.1.scd. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gprintf.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/log.h"
#include "udev/report.h"

#define EXIT_NO 1
#define EXIT_NO_IOMMU 4

typedef struct {
    gboolean json, dot, svg, version;
    char *reserve, *release;
    char **operands;
} Options;

static gboolean usage(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static gboolean usage(GError **error, const char *format, ...)
{
    va_list arguments;
    g_autofree char *text = NULL;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_USAGE, "%s; see dkvm-iommu --help", text);
    return FALSE;
}

/* ---- options ---------------------------------------------------------------------------- */

static gboolean check(const Options *o, GError **error)
{
    guint actions = (guint)(o->json + o->dot + o->svg + (o->reserve != NULL) +
                            (o->release != NULL) + o->version);

    if (actions > 1)
        return usage(error,
                     "only one of --json, --dot, --svg, --reserve, --release, --version at a time");
    if (o->operands && o->operands[0] && (actions > 0 && !o->json))
        return usage(error, "a device is named by itself or with --json, not with other options");
    return TRUE;
}

static gboolean parse(Options *o, int *argc, char ***argv, GError **error)
{
    const GOptionEntry entries[] = {
        {"json", 0, 0, G_OPTION_ARG_NONE, &o->json, "Print JSON", NULL},
        {"dot", 0, 0, G_OPTION_ARG_NONE, &o->dot, "Print a graph for Graphviz", NULL},
        {"svg", 0, 0, G_OPTION_ARG_NONE, &o->svg, "Print a picture", NULL},
        {"reserve", 0, 0, G_OPTION_ARG_STRING, &o->reserve,
         "Let vfio-pci take the device and what goes along with it at every boot", "BDF"},
        {"release", 0, 0, G_OPTION_ARG_STRING, &o->release, "Undo that", "BDF"},
        {"version", 0, 0, G_OPTION_ARG_NONE, &o->version, "Print the version", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &o->operands, NULL, NULL},
        {0},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("[BDF...]");
    g_autoptr(GError) bad = NULL;

    g_option_context_set_summary(
        context, "Which PCI devices can go to a guest, with which companions, and why not.");
    g_option_context_set_description(
        context,
        "Exit: 0 yes, or the report was printed, 1 no, 2 usage, 3 a bad reservation file,\n"
        "4 no IOMMU in use, 6 a file could not be read or written. See dkvm-iommu(1).");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, &bad))
        return usage(error, "%s", bad->message);
    return check(o, error);
}

/* ---- what is asked ---------------------------------------------------------------------- */

static gboolean parse_bdf(const char *text, DkvmBdf *bdf, GError **error)
{
    return dkvm_bdf_parse(text, bdf) ||
           usage(error, "'%.32s' is no device address such as 01:00.0 or 0000:01:00.0", text);
}

static DkvmDevice *find(const DkvmHost *host, const char *text, GError **error)
{
    DkvmBdf bdf;
    DkvmDevice *device = NULL;

    if (!parse_bdf(text, &bdf, error))
        return NULL;
    device = dkvm_host_device(host, &bdf);
    if (!device)
        usage(error, "there is no device %s on this host; dkvm-iommu lists them", text);
    return device;
}

static GPtrArray *find_all(const DkvmHost *host, char **operands, GError **error)
{
    g_autoptr(GPtrArray) devices = g_ptr_array_new();

    for (char **text = operands; *text; text++) {
        DkvmDevice *device = find(host, *text, error);

        if (!device)
            return NULL;
        g_ptr_array_add(devices, device);
    }
    return g_steal_pointer(&devices);
}

static int about_devices(const DkvmReport *report, const Options *o, GError **error)
{
    g_autoptr(GPtrArray) devices = find_all(report->host, o->operands, error);
    gboolean no = FALSE;

    if (!devices)
        return DKVM_ERROR_USAGE;
    for (guint i = 0; i < devices->len; i++) {
        DkvmDevice *device = g_ptr_array_index(devices, i);
        /* Each its own bus, so that the elements of all can go into one guest. */
        g_autofree char *text =
            o->json ? NULL : dkvm_report_explain(report, device, MIN(DKVM_GUEST_BUS + i, 0xff));

        if (text)
            (void)fprintf(stdout, "%s%s", i ? "\n" : "", text);
        no = no || dkvm_report_verdict(report, device)->answer == DKVM_ANSWER_NO;
    }
    if (o->json) {
        g_autofree char *text = dkvm_report_json(report, devices);

        (void)fputs(text, stdout);
    }
    return no ? EXIT_NO : EXIT_SUCCESS;
}

static gboolean wants_colour(void)
{
    const char *term = g_getenv("TERM"), *never = g_getenv("NO_COLOR");

    return isatty(STDOUT_FILENO) && (!never || !*never) && g_strcmp0(term, "dumb") != 0;
}

static void about_host(const DkvmReport *report, const Options *o)
{
    g_autofree char *text = o->json  ? dkvm_report_json(report, NULL)
                            : o->dot ? dkvm_report_dot(report)
                            : o->svg ? dkvm_report_svg(report)
                                     : dkvm_report_text(report, wants_colour());

    (void)fputs(text, stdout);
}

static int change(DkvmHost *host, const Options *o, GError **error)
{
    g_autofree char *text = NULL;
    DkvmBdf bdf;

    if (o->reserve) {
        DkvmDevice *device = find(host, o->reserve, error);

        text = device ? dkvm_reserve(host, device, error) : NULL;
    } else if (parse_bdf(o->release, &bdf, error)) {
        text = dkvm_release(host, &bdf, error);
    }
    if (text)
        (void)fputs(text, stdout);
    return EXIT_SUCCESS;
}

static int run(const Options *o, GError **error)
{
    g_autoptr(DkvmHost) host = NULL;
    g_autoptr(DkvmReport) report = NULL;
    g_autoptr(GError) bad = NULL;
    GArray *reservations;
    int code = EXIT_SUCCESS;

    if (o->version) {
        (void)puts("dkvm-iommu " DKVM_VERSION);
        return EXIT_SUCCESS;
    }
    host = dkvm_host_read(error);
    if (!host)
        return EXIT_SUCCESS;
    if (o->reserve || o->release) {
        if (o->reserve && host->groups->len == 0) {
            g_autofree char *advice = dkvm_iommu_advice(host);

            dkvm_log_error("cannot reserve %s: no IOMMU is in use; do what is said below first",
                           o->reserve);
            (void)fputs(advice, stdout);
            return EXIT_NO_IOMMU;
        }
        return change(host, o, error);
    }
    reservations = dkvm_reservations_read(&bad);
    if (bad)
        dkvm_log_warning("%s", bad->message);
    report = dkvm_report_new(host, reservations);
    if (o->operands && o->operands[0])
        code = about_devices(report, o, error);
    else
        about_host(report, o);
    if (host->groups->len > 0 || *error)
        return code;
    if (!o->json && !o->dot && !o->svg) {
        g_autofree char *advice = dkvm_iommu_advice(host);

        (void)fprintf(stdout, "\n%s", advice);
    }
    return EXIT_NO_IOMMU;
}

/* A closed standard file would be the next one that is opened. */
static void hold_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        int flags = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;

        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", flags) != fd)
            abort();
    }
}

int main(int argc, char **argv)
{
    Options options = {0};
    g_autoptr(GError) error = NULL;
    int code = EXIT_SUCCESS;

    hold_standard_files();
    setlocale(LC_ALL, "");
    (void)signal(SIGPIPE, SIG_IGN);
    dkvm_log_init("dkvm-iommu");
    if (parse(&options, &argc, &argv, &error))
        code = run(&options, &error);
    if (error) {
        dkvm_log_error("%s", error->message);
        code = error->code == DKVM_ERROR_REFUSED ? EXIT_NO : error->code;
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        dkvm_log_error("cannot write to standard output: %s; what was printed is not complete",
                       g_strerror(errno));
        code = MAX(code, DKVM_ERROR_FILE);
    }
    g_free(options.reserve);
    g_free(options.release);
    g_strfreev(options.operands);
    return code;
}
