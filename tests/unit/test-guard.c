/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard against loops of storing. */
#include "hooks/guard.h"

#define S G_TIME_SPAN_SECOND

/* Stores and gets the event of it. */
static void store(DkvmGuard *guard, gint64 at)
{
    g_assert_false(dkvm_guard_trips(guard, at));
    dkvm_guard_store(guard, at);
    dkvm_guard_defined(guard);
}

static void test_three(void)
{
    DkvmGuard guard = {0};
    store(&guard, 1 * S);
    store(&guard, 2 * S);
    store(&guard, 3 * S);
    g_assert_true(dkvm_guard_trips(&guard, 4 * S));
    g_assert_true(dkvm_guard_trips(&guard, 4000 * S)); /* set aside for good */
}

static void test_slowly(void)
{
    DkvmGuard guard = {0};
    for (gint64 i = 1; i < 100; i++) {
        store(&guard, i * 21 * S); /* the third after 42 seconds, the fourth after 63 */
    }
}

static void test_at_the_limit(void)
{
    DkvmGuard guard = {0};
    store(&guard, 1 * S);
    store(&guard, 2 * S);
    store(&guard, 3 * S);
    DkvmGuard later = guard;
    g_assert_true(dkvm_guard_trips(&guard, 61 * S));
    g_assert_false(dkvm_guard_trips(&later, 61 * S + 1000));
}

static void test_somebody_else(void)
{
    DkvmGuard guard = {0};
    for (gint64 i = 1; i < 100; i++) {
        store(&guard, i * S);
        store(&guard, i * S);
        dkvm_guard_defined(&guard); /* not ours */
    }
    for (gint64 i = 1; i < 100; i++) {
        store(&guard, i * S);
        store(&guard, i * S);
        dkvm_guard_changed(&guard);
    }
}

static void test_freed(void)
{
    DkvmGuard guard = {0};
    for (gint64 i = 1; i <= 3; i++) {
        store(&guard, i * S);
    }
    g_assert_true(dkvm_guard_trips(&guard, 4 * S));
    dkvm_guard_defined(&guard);
    g_assert_false(dkvm_guard_trips(&guard, 5 * S));
}

/* Our own events may come late. */
static void test_late_events(void)
{
    DkvmGuard guard = {0};
    for (gint64 i = 1; i <= 3; i++) {
        g_assert_false(dkvm_guard_trips(&guard, i * S));
        dkvm_guard_store(&guard, i * S);
    }
    for (guint i = 0; i < 3; i++) {
        dkvm_guard_defined(&guard);
    }
    g_assert_true(dkvm_guard_trips(&guard, 4 * S));
}

static void test_not_stored(void)
{
    DkvmGuard guard = {0};
    for (gint64 i = 1; i < 10; i++) {
        g_assert_false(dkvm_guard_trips(&guard, i * S));
        dkvm_guard_store(&guard, i * S);
        dkvm_guard_not_stored(&guard);
    }
    g_assert_cmpuint(guard.expected, ==, 0);
    dkvm_guard_not_stored(&guard);
    g_assert_cmpuint(guard.expected, ==, 0);
    g_assert_cmpuint(guard.count, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    g_test_add_func("/guard/three-stores", test_three);
    g_test_add_func("/guard/slowly", test_slowly);
    g_test_add_func("/guard/at-the-limit", test_at_the_limit);
    g_test_add_func("/guard/somebody-else", test_somebody_else);
    g_test_add_func("/guard/freed", test_freed);
    g_test_add_func("/guard/late-events", test_late_events);
    g_test_add_func("/guard/not-stored", test_not_stored);
    return g_test_run();
}
