/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The picture: a box for each group, a row for each device.  It paints its own background, so that
 * it reads on any page, and follows the viewer's dark scheme by CSS alone. */
#include <string.h>

#include "udev/report.h"

#define COLUMN 580 /* pixels; everything below too */
#define GAP 14
#define MARGIN 28
#define HEAD 32 /* a box's title */
#define TALL 46 /* a row of a device that somebody may want to pass */
#define FLAT 24 /* a row of a bridge or of the chipset */
#define FOOT 8  /* below the last row */
#define TOP 132 /* title and legend */
#define LINE 20 /* of a warning */
#define SANS 14
#define SMALL 12
#define MONO 12
#define MONO_WIDTH 0.61 /* of a character, as a part of the font size */
#define SLIM 34         /* a box with one flat row only */
#define SLIM_TITLE 92

typedef struct {
    const DkvmReport *report;
    GString *out;
    GPtrArray *alone;
    guint columns;
} Picture;

static const char *const style =
    "  .bg{fill:#f4f6f9} .card{fill:#ffffff;stroke:#d5dae2} .rule{stroke:#e8ebf0}\n"
    "  text{fill:#1b2330;font-family:system-ui,\"Segoe UI\",\"Noto Sans\",\"DejaVu "
    "Sans\",sans-serif;"
    "font-size:14px}\n"
    "  .h1{font-size:24px;font-weight:600} "
    ".h2{font-size:13px;font-weight:600;letter-spacing:.4px}\n"
    "  .mono{font-family:ui-monospace,\"DejaVu Sans Mono\",monospace;font-size:12px}\n"
    "  .small{font-size:12px} .soft{fill:#5d6778} .pill{fill:#eef1f5}\n"
    "  .yes{fill:#1a7f37} .costs{fill:#b26a00} .no{fill:#c5303a} .bridge{fill:#7f8999}\n"
    "  .mark{fill:none;stroke:#ffffff;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}\n"
    "  @media (prefers-color-scheme: dark){\n"
    "  .bg{fill:#12161c} .card{fill:#1b2129;stroke:#333c48} .rule{stroke:#28303a}\n"
    "  text{fill:#e7ebf1} .soft{fill:#9aa6b6} .pill{fill:#2a323d}\n"
    "  .yes{fill:#3fa866} .costs{fill:#d9941f} .no{fill:#e5606a} .bridge{fill:#5d6878}\n"
    "  .mark{stroke:#12161c}\n"
    "  }\n";

/* ---- text ------------------------------------------------------------------------------- */

/* The width of a character as a part of the font size, from a wide font (DejaVu Sans), so that no
 * text leaves its box whatever the viewer has. */
static double width_of(gunichar c)
{
    if (c < 0x80 && strchr("ijl|'", (int)c))
        return 0.28;
    if (c < 0x80 && strchr(" rtfI.,:;()[]/-", (int)c))
        return 0.40;
    if (c < 0x80 && strchr("mwMW@%", (int)c))
        return 0.98;
    return g_unichar_isupper(c) ? 0.70 : c < 0x100 ? 0.635 : 1.0;
}

/* TEXT cut to WIDTH pixels. */
static char *shortened(const char *text, double width, double size)
{
    double room = width / size, used = 0;
    const char *cut = text;

    for (const char *at = text; *at; at = g_utf8_next_char(at)) {
        used += width_of(g_utf8_get_char(at));
        if (used + 1.0 <= room)
            cut = g_utf8_next_char(at);
        if (used > room) {
            g_autofree char *start = g_strndup(text, (gsize)(cut - text));

            return g_strconcat(g_strchomp(start), "\xe2\x80\xa6", NULL);
        }
    }
    return g_strdup(text);
}

static void put_text(Picture *p, double x, double y, const char *class, const char *text)
{
    g_autofree char *escaped = g_markup_escape_text(text, -1);

    g_string_append_printf(p->out, "<text x=\"%.0f\" y=\"%.0f\"%s%s%s>%s</text>\n", x, y,
                           *class ? " class=\"" : "", class, *class ? "\"" : "", escaped);
}

/* ---- a verdict's sign: shape and colour, since not everybody sees both -------------------- */

static const char *class_of(const Picture *p, const DkvmDevice *device)
{
    return dkvm_device_is_bridge(device)
               ? "bridge"
               : dkvm_answer_name(dkvm_report_verdict(p->report, device)->answer);
}

static void put_sign(Picture *p, double x, double y, double radius, const char *class)
{
    const char *path = "M-3.4,0 H3.4";

    if (strcmp(class, "yes") == 0)
        path = "M-3.4,0.4 L-1,2.8 L3.6,-2.6";
    else if (strcmp(class, "no") == 0)
        path = "M-2.7,-2.7 L2.7,2.7 M2.7,-2.7 L-2.7,2.7";
    else if (strcmp(class, "costs") == 0)
        path = "M0,-3.6 V0.6 M0,3.5 V3.6";
    g_string_append_printf(p->out,
                           "<g transform=\"translate(%.0f,%.0f) scale(%.2f)\"><circle r=\"8\" "
                           "class=\"%s\"/><path d=\"%s\" class=\"mark\"/></g>\n",
                           x, y, radius / 8, class, path);
}

/* ---- rows ------------------------------------------------------------------------------- */

/* Bridges and what every chipset has: there, but not what a person looks for. */
static gboolean is_flat(const DkvmDevice *device)
{
    switch (device->class_code >> 8) {
    case 0x0500:
    case 0x0580:
    case 0x0600:
    case 0x0601:
    case 0x0806:
    case 0x0880:
    case 0x0c05:
    case 0x1101:
    case 0x1180:
    case 0x1300:
        return TRUE;
    default:
        return dkvm_device_is_bridge(device);
    }
}

static double row_height(const DkvmDevice *device)
{
    return is_flat(device) ? FLAT : TALL;
}

/* Kind, what uses it, and what goes along. */
static char *second_line(const Picture *p, const DkvmDevice *device)
{
    g_autofree char *notes = dkvm_report_notes(p->report, device);
    g_autofree char *with = dkvm_report_with(p->report, device);
    gboolean goes = dkvm_report_verdict(p->report, device)->answer != DKVM_ANSWER_NO;

    return g_strconcat(device->class_name, *notes ? " \xc2\xb7 " : "", notes,
                       goes && *with ? " \xc2\xb7 with " : "", goes ? with : "", NULL);
}

/* What a pointer on the row shows. */
static void put_tooltip(Picture *p, const DkvmDevice *device)
{
    const DkvmVerdict *verdict = dkvm_report_verdict(p->report, device);
    const GPtrArray *both[] = {verdict->kernel_reasons, verdict->host_reasons};
    g_autofree char *title = dkvm_device_title(device);
    g_autoptr(GString) text = g_string_new(NULL);

    g_autofree char *second = second_line(p, device);

    g_string_append_printf(text, "%s  %s\n%s\n%04x:%04x, %s", device->name, title, second,
                           device->id.vendor, device->id.device,
                           device->driver ? device->driver : "no driver");
    for (gsize i = 0; i < G_N_ELEMENTS(both); i++) {
        for (guint k = 0; k < both[i]->len; k++)
            g_string_append_printf(text, "\n%s",
                                   ((const DkvmReason *)g_ptr_array_index(both[i], k))->text);
    }
    g_autofree char *escaped = g_markup_escape_text(text->str, -1);
    g_string_append_printf(p->out, "<title>%s</title>\n", escaped);
}

/* The driver at the right end; returns where the room for the name ends. */
static double put_driver(Picture *p, double right, double y, const DkvmDevice *device)
{
    g_autofree char *name = g_strndup(device->driver ? device->driver : "no driver", 26);
    double width = (double)g_utf8_strlen(name, -1) * MONO * MONO_WIDTH + 16;

    if (device->driver)
        g_string_append_printf(p->out,
                               "<rect x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" height=\"19\" "
                               "rx=\"9.5\" class=\"pill\"/>\n",
                               right - width, y - 14, width);
    put_text(p, right - width + 8, y, "mono soft", name);
    return right - width;
}

/* From X to RIGHT. */
static void put_row(Picture *p, double x, double right, double y, const DkvmDevice *device)
{
    const char *bdf = dkvm_device_short(p->report->host, device), *class = class_of(p, device);
    double name_x = x + 48 + (double)strlen(bdf) * MONO * MONO_WIDTH;
    gboolean flat = is_flat(device);
    double base = y + (flat ? 16 : 19);
    g_autofree char *title = dkvm_device_title(device);

    g_string_append(p->out, "<g>\n");
    put_tooltip(p, device);
    /* Invisible, so that the pointer need not hit the letters. */
    g_string_append_printf(p->out,
                           "<rect x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" height=\"%.0f\" "
                           "fill-opacity=\"0\"/>\n",
                           x + 1, y, right - x - 2, row_height(device));
    put_sign(p, x + 22, base - 4, flat ? 5.5 : 8, class);
    put_text(p, x + 38, base, flat ? "mono soft" : "mono", bdf);
    if (flat) {
        g_autofree char *text = g_strconcat(device->class_name, ": ", title, NULL);
        g_autofree char *cut = shortened(text, right - 14 - name_x, SMALL);

        put_text(p, name_x, base, "small soft", cut);
    } else {
        double end = put_driver(p, right - 14, base, device);
        g_autofree char *cut = shortened(title, end - 10 - name_x, SANS);
        g_autofree char *second = second_line(p, device);
        g_autofree char *second_cut = shortened(second, right - 14 - name_x, SMALL);

        put_text(p, name_x, base, "", cut);
        put_text(p, name_x, base + 18, "small soft", second_cut);
    }
    g_string_append(p->out, "</g>\n");
}

/* ---- boxes ------------------------------------------------------------------------------ */

static gboolean is_slim(const GPtrArray *devices, guint others)
{
    return others == 0 && devices->len == 1 && is_flat(g_ptr_array_index(devices, 0));
}

static double box_height(const GPtrArray *devices, guint others)
{
    double height = HEAD + FOOT + (double)others * FLAT;

    if (is_slim(devices, others))
        return SLIM;

    for (guint i = 0; i < devices->len; i++)
        height += row_height(g_ptr_array_index(devices, i));
    return height;
}

static void put_box(Picture *p, double x, double y, const char *title, const GPtrArray *devices,
                    const GPtrArray *others)
{
    guint extra = others ? others->len : 0;
    double row = y + HEAD;

    g_string_append_printf(p->out,
                           "<rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%.0f\" rx=\"10\" "
                           "class=\"card\"/>\n",
                           x + 0.5, y + 0.5, COLUMN, box_height(devices, extra));
    put_text(p, x + 14, y + (is_slim(devices, extra) ? 22 : 21), "h2 soft", title);
    if (is_slim(devices, extra)) {
        put_row(p, x + SLIM_TITLE, x + COLUMN, y + 6, g_ptr_array_index(devices, 0));
        return;
    }
    g_string_append_printf(p->out,
                           "<line x1=\"%.0f\" y1=\"%.1f\" x2=\"%.0f\" y2=\"%.1f\" "
                           "class=\"rule\"/>\n",
                           x + 1, y + HEAD - 1.5, x + COLUMN, y + HEAD - 1.5);
    for (guint i = 0; i < devices->len; i++) {
        const DkvmDevice *device = g_ptr_array_index(devices, i);

        put_row(p, x, x + COLUMN, row, device);
        row += row_height(device);
    }
    for (guint i = 0; i < extra; i++)
        put_text(p, x + 38, row + 16 + i * FLAT, "mono soft", g_ptr_array_index(others, i));
}

/* Boxes in reading order: down a column, then the next.  Draws if DRAW; returns the height of the
 * highest column when none is to be higher than LIMIT, or G_MAXDOUBLE if that takes more columns
 * than there are. */
static double place(Picture *p, double top, double limit, gboolean draw)
{
    const DkvmHost *host = p->report->host;
    double y = 0, highest = 0;
    guint column = 0;

    for (guint i = 0; i <= host->groups->len; i++) {
        const DkvmGroup *group = i < host->groups->len ? g_ptr_array_index(host->groups, i) : NULL;
        const GPtrArray *devices = group ? group->devices : p->alone;
        double height = box_height(devices, group ? group->others->len : 0);

        if (!group && devices->len == 0)
            break;
        if (y > 0 && y + height > limit) {
            column++;
            y = 0;
        }
        if (column >= p->columns)
            return G_MAXDOUBLE;
        if (draw) {
            g_autofree char *title =
                group ? g_strdup_printf("GROUP %d", group->number) : g_strdup("IN NO GROUP");

            put_box(p, MARGIN + column * (COLUMN + GAP), top + y, title, devices,
                    group ? group->others : NULL);
        }
        y += height + GAP;
        highest = MAX(highest, y - GAP);
    }
    return highest;
}

/* The lowest limit that needs no more columns than there are. */
static double balance(Picture *p)
{
    double low = 0, high = 1e7;

    while (high - low > 1) {
        double middle = (low + high) / 2;

        if (place(p, 0, middle, FALSE) <= 1e7)
            high = middle;
        else
            low = middle;
    }
    return high;
}

/* ---- the whole -------------------------------------------------------------------------- */

static void put_legend(Picture *p)
{
    static const struct {
        const char *class, *text;
        double width;
    } items[] = {
        {"yes", "can go to a guest", 150},
        {"costs", "can go, but the host goes without something", 322},
        {"no", "cannot go", 106},
        {"bridge", "bridge: stays", 120},
    };
    double x = MARGIN + 8, y = 102;

    for (gsize i = 0; i < G_N_ELEMENTS(items); i++) {
        if (i == 2 && p->columns == 1) {
            x = MARGIN + 8;
            y += 22;
        }
        put_sign(p, x, y - 4, 8, items[i].class);
        put_text(p, x + 15, y, "small", items[i].text);
        x += items[i].width;
    }
}

static guint columns_for(const DkvmHost *host)
{
    guint rows = host->devices->len;

    if (rows <= 8)
        return 1;
    return rows <= 36 ? 2 : rows <= 72 ? 3 : 4;
}

/* Warnings, broken at spaces to the width of the picture; returns where they end. */
static double put_warnings(Picture *p, double y, double width)
{
    guint room = (guint)((width - 30) / (SMALL * 0.6));

    for (guint i = 0; i < p->report->warnings->len; i++) {
        g_auto(GStrv) words = g_strsplit(g_ptr_array_index(p->report->warnings, i), " ", -1);
        g_autoptr(GString) line = g_string_new(NULL);

        put_sign(p, MARGIN + 8, y - 4, 8, "costs");
        for (char **word = words; *word; word++) {
            if (line->len > 0 && line->len + strlen(*word) >= room) {
                put_text(p, MARGIN + 23, y, "small", line->str);
                g_string_truncate(line, 0);
                y += LINE;
            }
            g_string_append_printf(line, "%s%s", line->len ? " " : "", *word);
        }
        put_text(p, MARGIN + 23, y, "small", line->str);
        y += LINE + 4;
    }
    return y;
}

char *dkvm_report_svg(const DkvmReport *report)
{
    Picture p = {.report = report,
                 .out = g_string_new(NULL),
                 .alone = dkvm_report_ungrouped(report),
                 .columns = columns_for(report->host)};
    g_autofree char *title = dkvm_report_title(report);
    double limit = balance(&p);
    double width = 2 * MARGIN + p.columns * COLUMN + (p.columns - 1) * GAP;
    double top = TOP + (p.columns == 1 ? 14 : 0), height;
    GString *all = g_string_new("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");

    top = report->warnings->len ? put_warnings(&p, top, width - 2 * MARGIN) + 4 : top;
    put_text(&p, MARGIN, 50, "h1", "What can go to a guest");
    put_text(&p, MARGIN, 74, "soft", title);
    put_legend(&p);
    height = top + place(&p, top, limit, TRUE) + MARGIN;
    g_string_append_printf(all,
                           "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" "
                           "height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n"
                           "<title>IOMMU groups</title>\n<style>\n%s</style>\n"
                           "<rect width=\"100%%\" height=\"100%%\" class=\"bg\"/>\n%s</svg>\n",
                           width, height, width, height, style, p.out->str);
    g_string_free(p.out, TRUE);
    g_ptr_array_unref(p.alone);
    return g_string_free(all, FALSE);
}
