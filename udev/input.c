/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keyboards and mice, and the PCI devices (mostly USB controllers) that they hang on.  What is a
 * keyboard is told as udev's input_id builtin does: all keys from Esc to S. */
#include <linux/input-event-codes.h>
#include <stdlib.h>
#include <string.h>

#include "udev/host-private.h"

#define WORDS 16
#define KEYBOARD_KEYS 0xfffffffeUL

typedef struct {
    gulong word[WORDS]; /* 64 bits each, lowest first */
} Bits;

static gboolean has(const Bits *bits, guint bit)
{
    return bit / 64 < WORDS && (bits->word[bit / 64] >> bit % 64 & 1);
}

/* "c000000 3803078f800d001 feffffdfffefffff fffffffffffffffe": the highest word first. */
static Bits read_bits(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, "capabilities", name, NULL);
    g_autofree char *text = dkvm_host_text(path, 1024);
    g_auto(GStrv) words = g_strsplit(text ? g_strstrip(text) : "", " ", -1);
    guint count = g_strv_length(words);
    Bits bits = {{0}};

    for (guint i = 0; i < count && i < WORDS; i++)
        bits.word[i] = strtoul(words[count - 1 - i], NULL, 16);
    return bits;
}

static gboolean is_mouse(const char *folder, const Bits *keys)
{
    Bits relative = read_bits(folder, "rel"), absolute = read_bits(folder, "abs");

    if (has(keys, BTN_LEFT) && has(&relative, REL_X) && has(&relative, REL_Y))
        return TRUE;
    return has(&absolute, ABS_X) && has(&absolute, ABS_Y) &&
           (has(keys, BTN_LEFT) || has(keys, BTN_TOUCH) || has(keys, BTN_TOOL_FINGER) ||
            has(keys, BTN_TOOL_PEN));
}

static void read_one(DkvmHost *host, const char *path)
{
    Bits keys = read_bits(path, "key");
    gboolean keyboard = (keys.word[0] & KEYBOARD_KEYS) == KEYBOARD_KEYS;
    gboolean mouse = is_mouse(path, &keys);
    DkvmDevice *device = dkvm_host_device_of_path(host, path);
    g_autofree char *file = g_build_filename(path, "name", NULL);
    g_autofree char *name = dkvm_host_text(file, 128);
    const char *what = name ? g_strstrip(name) : "unnamed";

    host->keyboards += keyboard;
    host->mice += mouse;
    if (device && keyboard) {
        device->keyboards++;
        dkvm_device_add_use(device, DKVM_USE_KEYBOARD, what);
    }
    if (device && mouse) {
        device->mice++;
        dkvm_device_add_use(device, DKVM_USE_MOUSE, what);
    }
}

void dkvm_host_read_input(DkvmHost *host)
{
    g_autoptr(GPtrArray) names = dkvm_host_list("/sys/class/input");

    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autofree char *link = g_strconcat("/sys/class/input/", name, NULL);
        g_autofree char *path = g_str_has_prefix(name, "input") ? dkvm_host_link(link) : NULL;

        if (path && !strstr(path, "/devices/virtual/"))
            read_one(host, path);
    }
}
