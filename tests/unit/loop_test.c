#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"

struct trace {
    struct loop *loop;
    char order[32];
    size_t n;
    struct loop_timer timer, other;
    struct loop_task task, again;
};

static void mark(struct trace *t, char c)
{
    t->order[t->n++] = c;
}

static void stop_now(void *arg)
{
    loop_stop(((struct trace *)arg)->loop);
}

static void on_timer(void *arg)
{
    struct trace *t = arg;
    mark(t, 't');
    loop_at_turn_end(t->loop, &t->task);
    loop_at_turn_end(t->loop, &t->task);
    loop_call(t->loop, stop_now, t);
}

static void on_task(void *arg)
{
    mark(arg, 'e');
}

static void turn_runs_timers_then_tasks_then_inbox(void **state)
{
    struct trace t = {.loop = loop_new("test", 3)};
    t.task = (struct loop_task){.fn = on_task, .arg = &t};
    loop_timer_init(t.loop, &t.timer, on_timer, &t);
    uint64_t before = clock_mono_ms();
    loop_timer_arm(&t.timer, 5);
    assert_null(loop_current());
    loop_run(t.loop);
    assert_true(clock_mono_ms() - before >= 5);
    assert_string_equal(t.order, "te");
    assert_false(t.timer.armed);
    assert_int_equal(loop_index(t.loop), 3);
    loop_free(t.loop);
}

static void on_other(void *arg)
{
    mark(arg, 'o');
    stop_now(arg);
}

static void timers_move_both_ways(void **state)
{
    struct trace t = {.loop = loop_new("test", 0)};
    loop_timer_init(t.loop, &t.timer, on_task, &t);
    loop_timer_init(t.loop, &t.other, on_other, &t);
    loop_timer_arm(&t.timer, 1);
    loop_timer_arm(&t.timer, 10000); /* later: still only one entry */
    loop_timer_arm(&t.other, 10000);
    loop_timer_arm(&t.other, 20); /* earlier */
    loop_run(t.loop);
    assert_string_equal(t.order, "o");
    assert_true(t.timer.armed);
    clock_test_advance_ms(10000);
    loop_timer_arm(&t.other, 1);
    loop_run(t.loop);
    assert_string_equal(t.order, "oeo");
    loop_timer_arm(&t.timer, 0);
    loop_timer_disarm(&t.timer);
    loop_timer_disarm(&t.timer);
    loop_timer_arm(&t.other, 1);
    loop_run(t.loop);
    assert_string_equal(t.order, "oeoo");
    loop_free(t.loop);
}

enum { MANY = 2000 };
static struct loop_timer many[MANY];
static uint64_t last_deadline;
static unsigned fired;

static void on_many(void *arg)
{
    struct loop_timer *t = arg;
    assert_true(t->deadline_ms >= last_deadline);
    last_deadline = t->deadline_ms;
    fired++;
}

static void many_timers_fire_in_order(void **state)
{
    struct trace t = {.loop = loop_new("test", 0)};
    srand(1);
    for (int i = 0; i < MANY; i++) {
        loop_timer_init(t.loop, &many[i], on_many, &many[i]);
        loop_timer_arm(&many[i], 1000 + (uint64_t)rand() % 5000);
    }
    for (int i = 0; i < MANY; i += 3) {
        loop_timer_arm(&many[i], 1000 + (uint64_t)rand() % 5000);
    }
    for (int i = 1; i < MANY; i += 3) {
        loop_timer_disarm(&many[i]);
    }
    loop_timer_init(t.loop, &t.other, on_other, &t);
    loop_timer_arm(&t.other, 20);
    clock_test_advance_ms(20000);
    loop_run(t.loop); /* the wake-up comes by the real clock, all are due by then */
    assert_int_equal(fired, MANY - (MANY + 1) / 3);
    loop_free(t.loop);
}

static void on_again(void *arg)
{
    struct trace *t = arg;
    mark(t, 'a');
    if (t->n == 3) {
        loop_stop(t->loop);
        return;
    }
    loop_at_turn_end(t->loop, &t->again);
}

static void on_cancels(void *arg)
{
    struct trace *t = arg;
    loop_task_cancel(t->loop, &t->task);
}

static void tasks_requeue_and_cancel(void **state)
{
    struct trace t = {.loop = loop_new("test", 0)};
    struct loop_task cancels = {.fn = on_cancels, .arg = &t};
    t.task = (struct loop_task){.fn = on_task, .arg = &t};
    t.again = (struct loop_task){.fn = on_again, .arg = &t};
    loop_at_turn_end(t.loop, &cancels);
    loop_at_turn_end(t.loop, &t.task); /* taken out by `cancels` in the same batch */
    loop_at_turn_end(t.loop, &t.again);
    loop_run(t.loop);
    assert_string_equal(t.order, "aaa");
    loop_free(t.loop);
}

enum { SENDERS = 4, POSTS = 5000, AT_ONCE = 8 }; /* AT_ONCE divides POSTS */
struct count_msg {
    struct loop_msg msg;
    unsigned sender, number;
};
static struct loop *counted_loop;
static unsigned next_number[SENDERS], received, canceled_count;

static void on_count(struct loop_msg *m, bool canceled)
{
    struct count_msg *c = (struct count_msg *)m;
    if (canceled) {
        canceled_count++;
    } else {
        assert_int_equal(c->number, next_number[c->sender]);
        next_number[c->sender]++;
        if (++received == SENDERS * POSTS) {
            loop_stop(counted_loop);
        }
    }
    free(c);
}

static void post_one(unsigned sender, unsigned number)
{
    struct count_msg *c = malloc(sizeof(*c));
    *c = (struct count_msg){{.fn = on_count}, sender, number};
    if (sender % 2) {
        loop_post(counted_loop, &c->msg);
        return;
    }
    loop_post_quietly(counted_loop, &c->msg);
    if (number % AT_ONCE == AT_ONCE - 1) {
        loop_wake(counted_loop);
    }
}

static void *sender_main(void *arg)
{
    for (unsigned i = 0; i < POSTS; i++) {
        post_one((unsigned)(uintptr_t)arg, i);
    }
    return NULL;
}

static void inbox_keeps_order_of_each_sender(void **state)
{
    pthread_t threads[SENDERS];
    counted_loop = loop_new("test", 0);
    for (uintptr_t i = 0; i < SENDERS; i++) {
        pthread_create(&threads[i], NULL, sender_main, (void *)i);
    }
    loop_run(counted_loop);
    for (int i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(received, SENDERS * POSTS);
    post_one(0, 0);
    loop_call(counted_loop, stop_now, NULL); /* canceled: never run */
    loop_free(counted_loop);
    assert_int_equal(canceled_count, 1);
}

static void *post_late(void *arg)
{
    usleep(30000); /* the loop waits by then, its inbox empty */
    loop_call(((struct trace *)arg)->loop, stop_now, arg);
    return NULL;
}

static void a_message_ends_the_wait(void **state)
{
    pthread_t thread;
    struct trace t = {.loop = loop_new("test", 0)};
    loop_timer_init(t.loop, &t.other, on_other, &t);
    loop_timer_arm(&t.other, 3000); /* marks, should nobody wake the loop */
    pthread_create(&thread, NULL, post_late, &t);
    loop_run(t.loop);
    pthread_join(thread, NULL);
    assert_string_equal(t.order, "");
    loop_free(t.loop);
}

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void stop_from_another_thread(void **state)
{
    pthread_t thread;
    struct loop *l = loop_new("test", 0);
    pthread_create(&thread, NULL, run_loop, l);
    usleep(10000);
    loop_stop(l);
    pthread_join(thread, NULL);
    loop_free(l);
}

/* --- names of threads ---------------------------------------------------------------------------------- */

struct named {
    struct loop *loop;
    char name[16];
};

static void on_named(void *arg)
{
    struct named *n = arg;
    pthread_getname_np(pthread_self(), n->name, sizeof n->name);
    loop_stop(n->loop);
}

static void *run_named(void *arg)
{
    struct named *n = arg;
    n->loop = loop_new("of-a-loop", 0);
    loop_call(n->loop, on_named, n);
    loop_run(n->loop);
    loop_free(n->loop);
    return NULL;
}

static void a_process_keeps_its_name(void **state)
{
    struct named first = {0}, other = {0};
    char program[16];
    pthread_t thread;
    pthread_getname_np(pthread_self(), program, sizeof program);
    run_named(&first);
    assert_string_equal(first.name, program);
    pthread_create(&thread, NULL, run_named, &other);
    pthread_join(thread, NULL);
    assert_string_equal(other.name, "of-a-loop");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turn_runs_timers_then_tasks_then_inbox),
        cmocka_unit_test(timers_move_both_ways),
        cmocka_unit_test(many_timers_fire_in_order),
        cmocka_unit_test(tasks_requeue_and_cancel),
        cmocka_unit_test(inbox_keeps_order_of_each_sender),
        cmocka_unit_test(a_message_ends_the_wait),
        cmocka_unit_test(stop_from_another_thread),
        cmocka_unit_test(a_process_keeps_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
