/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs of one key in turn, others beside them, and what a hanging one does to the rest. */
#include "hooks/queue.h"

#define KEYS 16
#define JOBS 200
#define DEADLINE_MS 30000

static GMutex lock;
static GCond moved;
static guint next_of[KEYS], running_of[KEYS], wrong, freed, ran;
static gboolean go_on;

typedef struct {
    guint key, number;
} Item;

static void run_item(gpointer data)
{
    Item *item = data;
    g_mutex_lock(&lock);
    wrong += next_of[item->key] != item->number || running_of[item->key] != 0;
    next_of[item->key]++;
    running_of[item->key]++;
    g_mutex_unlock(&lock);
    g_thread_yield();
    g_mutex_lock(&lock);
    running_of[item->key]--;
    g_mutex_unlock(&lock);
}

static void free_item(gpointer data)
{
    g_mutex_lock(&lock);
    freed++;
    g_mutex_unlock(&lock);
    g_free(data);
}

static void push(DkvmQueue *queue, guint key, guint number)
{
    g_autofree char *name = g_strdup_printf("%u", key);
    Item *item = g_new(Item, 1);
    *item = (Item){key, number};
    dkvm_queue_push(queue, name, run_item, item, free_item);
}

static void test_order(void)
{
    DkvmQueue *queue = dkvm_queue_new(4);
    freed = wrong = 0;
    for (guint number = 0; number < JOBS; number++) {
        for (guint key = 0; key < KEYS; key++) {
            push(queue, key, number);
        }
    }
    g_assert_true(dkvm_queue_wait(queue, 1, DEADLINE_MS));
    g_assert_cmpuint(dkvm_queue_done(queue), ==, KEYS * JOBS);
    g_assert_true(dkvm_queue_close(queue, DEADLINE_MS));
    g_assert_cmpuint(wrong, ==, 0);
    g_assert_cmpuint(freed, ==, KEYS * JOBS);
}

static void hang(gpointer data)
{
    g_mutex_lock(&lock);
    ran++;
    g_cond_broadcast(&moved);
    while (!go_on) {
        g_cond_wait(&moved, &lock);
    }
    g_mutex_unlock(&lock);
}

static void count(gpointer data)
{
    g_mutex_lock(&lock);
    ran++;
    g_cond_broadcast(&moved);
    g_mutex_unlock(&lock);
}

static gboolean wait_ran(guint number, guint ms)
{
    gint64 end = g_get_monotonic_time() + ms * G_TIME_SPAN_MILLISECOND;
    g_mutex_lock(&lock);
    while (ran < number && g_cond_wait_until(&moved, &lock, end)) {
    }
    gboolean reached = ran >= number;
    g_mutex_unlock(&lock);
    return reached;
}

static void let_go(void)
{
    g_mutex_lock(&lock);
    go_on = TRUE;
    g_cond_broadcast(&moved);
    g_mutex_unlock(&lock);
}

/* As many as there are threads hang; the others' jobs are done all the same. */
static void test_hanging(void)
{
    DkvmQueue *queue = dkvm_queue_new(2);
    ran = 0;
    go_on = FALSE;
    dkvm_queue_push(queue, "a", hang, NULL, NULL);
    dkvm_queue_push(queue, "b", hang, NULL, NULL);
    g_assert_true(wait_ran(2, DEADLINE_MS));
    dkvm_queue_push(queue, "c", count, NULL, NULL);
    dkvm_queue_push(queue, "a", count, NULL, NULL); /* in turn, whatever happens */
    g_assert_false(wait_ran(3, 200));
    gint64 end = g_get_monotonic_time() + DEADLINE_MS * G_TIME_SPAN_MILLISECOND;
    while (!wait_ran(3, 50) && g_get_monotonic_time() < end) {
        dkvm_queue_relieve(queue);
    }
    g_assert_true(wait_ran(3, 0));
    g_assert_false(wait_ran(4, 200));
    g_assert_false(dkvm_queue_wait(queue, 1, 0));
    let_go();
    g_assert_true(wait_ran(4, DEADLINE_MS));
    g_assert_true(dkvm_queue_close(queue, DEADLINE_MS));
}

static void test_close(void)
{
    DkvmQueue *queue = dkvm_queue_new(1);
    ran = freed = 0;
    go_on = FALSE;
    dkvm_queue_push(queue, "a", hang, NULL, NULL);
    g_assert_true(wait_ran(1, DEADLINE_MS));
    for (guint number = 0; number < 10; number++) {
        push(queue, 1, number);
    }
    g_assert_false(dkvm_queue_close(queue, 50)); /* one hangs */
    g_assert_cmpuint(freed, ==, 10);             /* what waited is dropped */
    push(queue, 1, 0);
    g_assert_cmpuint(freed, ==, 11); /* nothing new */
    let_go();
    g_assert_true(dkvm_queue_close(queue, DEADLINE_MS));
    g_assert_cmpuint(ran, ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    g_test_add_func("/queue/order", test_order);
    g_test_add_func("/queue/hanging", test_hanging);
    g_test_add_func("/queue/close", test_close);
    return g_test_run();
}
