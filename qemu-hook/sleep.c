/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/sleep.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/paths.h"
#include "udev/host-private.h"
#include "udev/sysfs.h"

#define STATE "/sys/power/state"
#define KINDS "/sys/power/mem_sleep"
#define ALARM "/sys/class/rtc/rtc0/wakealarm" /* Documentation/ABI/testing/rtc-cdev */
#define SECONDS "+8"
#define TEXT_MAX 128

static gboolean has_word(const char *text, const char *word)
{
    g_auto(GStrv) words = g_strsplit_set(text ? text : "", " []\n", -1);

    return g_strv_contains((const char *const *)words, word);
}

gboolean dkvm_sleep_is_possible(void)
{
    g_autofree char *states = dkvm_host_text(STATE, TEXT_MAX);
    g_autofree char *kinds = dkvm_host_text(KINDS, TEXT_MAX);
    g_autofree char *alarm = dkvm_path(ALARM);

    return has_word(states, "mem") && (!kinds || has_word(kinds, "deep")) &&
           access(alarm, F_OK) == 0;
}

static int put(const char *file, const char *text)
{
    g_autofree char *path = dkvm_path(file);

    return dkvm_sysfs_write(AT_FDCWD, path, text);
}

/* "[s2idle] deep": the word in brackets; "" where there is no choice.  g_free. */
static char *chosen_kind(void)
{
    g_autofree char *kinds = dkvm_host_text(KINDS, TEXT_MAX);
    const char *begin = kinds ? strchr(kinds, '[') : NULL;

    return begin ? g_strndup(begin + 1, strcspn(begin + 1, "]")) : g_strdup("");
}

/* The clock's alarm, in seconds since 1970; "" if none is set.  g_free. */
static char *alarm_now(void)
{
    char *text = dkvm_host_text(ALARM, TEXT_MAX);

    return text ? g_strstrip(text) : g_strdup("");
}

static int set_alarm(char **text)
{
    (void)put(ALARM, "0"); /* one that is set cannot be changed */
    int cause = put(ALARM, SECONDS);
    g_autofree char *now = alarm_now();

    if (cause == 0 && *now == '\0')
        cause = EIO;
    if (cause != 0)
        *text = g_strdup_printf("the host's clock cannot wake it up: %s", g_strerror(cause));
    return cause;
}

static int sleep_until_alarm(char **text)
{
    int cause = set_alarm(text);

    if (cause != 0)
        return cause;
    cause = put(STATE, "mem");
    if (cause != 0)
        *text = g_strdup_printf("the host does not suspend: %s", g_strerror(cause));
    return cause;
}

int dkvm_sleep_now(char **text)
{
    g_autofree char *kind = chosen_kind(), *alarm = alarm_now();
    gboolean other = *kind && !g_str_equal(kind, "deep");
    int cause = other ? put(KINDS, "deep") : 0;

    if (cause != 0) {
        *text = g_strdup_printf("the host cannot suspend to memory: %s", g_strerror(cause));
        return cause;
    }
    cause = sleep_until_alarm(text);
    (void)put(ALARM, "0");
    if (*alarm)
        (void)put(ALARM, alarm);
    if (other)
        (void)put(KINDS, kind);
    return cause;
}
