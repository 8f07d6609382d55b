/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-hook/sleep.h"

#include <string.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/paths.h"
#include "qemu-hook/step.h"
#include "udev/host-private.h"

#define STATE "/sys/power/state"
#define KINDS "/sys/power/mem_sleep"
#define ALARM "/sys/class/rtc/rtc0/wakealarm" /* Documentation/ABI/testing/rtc-cdev */
#define CLOCK "/sys/class/rtc/rtc0/since_epoch"
#define SECONDS "+8"
#define TEXT_MAX 128
#define AWAKE_MS 60000 /* of being awake, until it has slept and woken up */

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

/* "[s2idle] deep": the word in brackets; "" where there is no choice.  g_free. */
static char *kind_now(void)
{
    g_autofree char *kinds = dkvm_host_text(KINDS, TEXT_MAX);
    const char *begin = kinds ? strchr(kinds, '[') : NULL;

    return begin ? g_strndup(begin + 1, strcspn(begin + 1, "]")) : g_strdup("");
}

/* FILE of the clock, in seconds since 1970 as the clock counts them, which need not be UTC; 0: no
 * alarm is set, or there is no such file. */
static gint64 clock_seconds(const char *file)
{
    g_autofree char *text = dkvm_host_text(file, TEXT_MAX);

    return text ? g_ascii_strtoll(text, NULL, 10) : 0;
}

static gboolean set_kind(DkvmHandover *handover, const DkvmAction *action, const char *kind,
                         GError **error)
{
    g_autofree char *before = kind_now(), *after = NULL;

    if (*before == '\0' || g_str_equal(before, kind))
        return TRUE;
    if (!dkvm_step_work(handover, action, DKVM_WORK_WRITE, KINDS, kind, error))
        return FALSE;
    after = kind_now();
    if (g_str_equal(after, kind))
        return TRUE;
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "%s stays '%s'", KINDS, after);
    return FALSE;
}

/* WHEN: as the kernel takes it (wakealarm_store() in drivers/rtc/sysfs.c), or NULL for none.  One
 * that is set cannot be changed. */
static gboolean set_alarm(DkvmHandover *handover, const DkvmAction *action, const char *when,
                          GError **error)
{
    if (clock_seconds(ALARM) != 0 &&
        !dkvm_step_work(handover, action, DKVM_WORK_WRITE, ALARM, "0", error))
        return FALSE;
    if (when && !dkvm_step_work(handover, action, DKVM_WORK_WRITE, ALARM, when, error))
        return FALSE;
    if ((clock_seconds(ALARM) != 0) == (when != NULL))
        return TRUE;
    g_set_error(error, DKVM_ERROR, DKVM_ERROR_REFUSED, "the host's clock %s",
                when ? "takes no alarm" : "keeps its alarm");
    return FALSE;
}

/* An alarm that would have been while the host slept is over. */
static gboolean set_alarm_back(DkvmHandover *handover, const DkvmAction *action, gint64 alarm,
                               GError **error)
{
    g_autofree char *when = NULL;

    if (alarm > clock_seconds(CLOCK))
        when = g_strdup_printf("%" G_GINT64_FORMAT, alarm);
    return set_alarm(handover, action, when, error);
}

static void put_back(DkvmHandover *handover, const DkvmAction *action, const char *kind,
                     gint64 alarm)
{
    g_autoptr(GError) kind_error = NULL, alarm_error = NULL;

    if (!set_kind(handover, action, kind, &kind_error))
        dkvm_step_problem(handover, action,
                          "how the host sleeps is not as before: %s; write '%s' to " KINDS,
                          kind_error->message, kind);
    if (!set_alarm_back(handover, action, alarm, &alarm_error))
        dkvm_step_problem(
            handover, action,
            "the alarm of the host's clock is not as before: %s; it was %" G_GINT64_FORMAT
            " (0: none), write that to " ALARM,
            alarm_error->message, alarm);
}

gboolean dkvm_sleep_now(DkvmHandover *handover, const DkvmAction *action, GError **error)
{
    g_autofree char *kind = kind_now();
    gint64 alarm = clock_seconds(ALARM);
    gboolean slept =
        set_kind(handover, action, "deep", error) && set_alarm(handover, action, SECONDS, error) &&
        dkvm_step_work_within(handover, action, DKVM_WORK_WRITE, STATE, "mem", AWAKE_MS, error);

    put_back(handover, action, kind, alarm);
    if (!slept)
        g_prefix_error(error, "the host cannot be suspended to bring %s back: ", action->target);
    return slept;
}
