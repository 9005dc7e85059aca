#include "base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"

/* The key is the time at which the heap looks at the timer; its deadline may have moved on since.
 */
struct heap_entry {
    uint64_t key_ms;
    struct loop_timer *timer;
};

struct loop {
    struct event_base *base;
    char name[16];
    unsigned index;
    uint64_t now_ms; /* of this turn; 0: not yet asked for */

    struct heap_entry *heap; /* binary heap by key_ms */
    uint32_t heap_n, heap_cap;
    int wake_fd; /* timerfd, edge-triggered, never read: ends the wait when the first timer is due */
    struct event wake_event;
    uint64_t wake_at_ms; /* when it will fire; UINT64_MAX: not pending */

    struct loop_task queued;  /* heads of circular lists */
    struct loop_task running; /* the batch that runs now */

    int inbox_fd; /* eventfd, edge-triggered, never read */
    struct event inbox_event;
    _Atomic(struct loop_msg *) inbox; /* newest first */
    atomic_uint senders;              /* inside loop_post or loop_stop now: loop_free waits for them */
    atomic_bool stop_wanted;
};

static _Thread_local struct loop *current;

/* --- timers ----------------------------------------------------------------------------------- */

static void heap_put(struct loop *l, uint32_t i, struct heap_entry e)
{
    l->heap[i] = e;
    e.timer->slot = i + 1;
}

static void heap_up(struct loop *l, uint32_t i, struct heap_entry e)
{
    while (i > 0 && l->heap[(i - 1) / 2].key_ms > e.key_ms) {
        heap_put(l, i, l->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(l, i, e);
}

static void heap_down(struct loop *l, uint32_t i, struct heap_entry e)
{
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child + 1 < l->heap_n && l->heap[child + 1].key_ms < l->heap[child].key_ms) {
            child++;
        }
        if (child >= l->heap_n || l->heap[child].key_ms >= e.key_ms) {
            break;
        }
        heap_put(l, i, l->heap[child]);
        i = child;
    }
    heap_put(l, i, e);
}

static void heap_place(struct loop *l, uint32_t i, struct heap_entry e)
{
    if (i > 0 && l->heap[(i - 1) / 2].key_ms > e.key_ms) {
        heap_up(l, i, e);
    } else {
        heap_down(l, i, e);
    }
}

static void heap_add(struct loop *l, struct loop_timer *t)
{
    if (l->heap_n == l->heap_cap) {
        l->heap_cap = l->heap_cap ? l->heap_cap * 2 : 64;
        l->heap = reallocarray(l->heap, l->heap_cap, sizeof(*l->heap));
        BUG_ON(!l->heap);
    }
    heap_up(l, l->heap_n++, (struct heap_entry){t->deadline_ms, t});
}

static void heap_remove(struct loop *l, struct loop_timer *t)
{
    uint32_t i = t->slot - 1;
    t->slot = 0;
    struct heap_entry last = l->heap[--l->heap_n];
    if (i < l->heap_n) {
        heap_place(l, i, last);
    }
}

void loop_timer_init(struct loop *l, struct loop_timer *t, void (*fn)(void *), void *arg)
{
    *t = (struct loop_timer){.loop = l, .fn = fn, .arg = arg};
}

void loop_timer_arm(struct loop_timer *t, uint64_t after_ms)
{
    struct loop *l = t->loop;
    uint64_t now = loop_now_ms(l);
    t->deadline_ms = after_ms < UINT64_MAX / 2 ? now + after_ms : UINT64_MAX / 2;
    t->armed = true;
    if (t->slot == 0) {
        heap_add(l, t);
    } else if (t->deadline_ms < l->heap[t->slot - 1].key_ms) {
        heap_place(l, t->slot - 1, (struct heap_entry){t->deadline_ms, t});
    }
}

void loop_timer_disarm(struct loop_timer *t)
{
    if (t->slot != 0) {
        heap_remove(t->loop, t);
    }
    t->armed = false;
}

/* Timers armed for "at once" by a timer wait for the next turn, so that a turn ends. */
static void run_timers(struct loop *l)
{
    if (l->heap_n == 0) {
        return;
    }
    uint64_t now = clock_mono_ms();
    uint32_t most = l->heap_n;
    while (most > 0 && l->heap_n > 0 && l->heap[0].key_ms <= now) {
        struct loop_timer *t = l->heap[0].timer;
        if (t->deadline_ms > l->heap[0].key_ms) {
            heap_place(l, 0, (struct heap_entry){t->deadline_ms, t});
            continue;
        }
        heap_remove(l, t);
        t->armed = false;
        t->fn(t->arg);
        most--;
    }
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    ((struct loop *)arg)->wake_at_ms = UINT64_MAX;
}

/* A wake-up that comes too early only costs a turn; one that is too late would miss a deadline. A timer of libevent
 * would be one of the kernel's at every wait. */
static void set_wake(struct loop *l)
{
    if (l->heap_n == 0 || l->heap[0].key_ms >= l->wake_at_ms) {
        return;
    }
    uint64_t now = clock_mono_ms();
    uint64_t key = l->heap[0].key_ms;
    uint64_t wait_ms = key > now ? key - now : 0;
    struct itimerspec in = {.it_value = {.tv_sec = (time_t)(wait_ms / 1000),
                                         .tv_nsec = wait_ms ? (long)(wait_ms % 1000 * 1000000) : 1}};
    BUG_ON(timerfd_settime(l->wake_fd, 0, &in, NULL) != 0);
    l->wake_at_ms = key;
}

/* --- tasks ------------------------------------------------------------------------------------ */

static void task_link(struct loop_task *head, struct loop_task *t)
{
    t->prev = head->prev;
    t->next = head;
    head->prev->next = t;
    head->prev = t;
}

static void task_unlink(struct loop_task *t)
{
    t->prev->next = t->next;
    t->next->prev = t->prev;
    t->prev = t->next = NULL;
}

static bool tasks_empty(const struct loop_task *head)
{
    return head->next == head;
}

void loop_at_turn_end(struct loop *l, struct loop_task *t)
{
    if (!t->next) {
        task_link(&l->queued, t);
    }
}

void loop_task_cancel(struct loop *l, struct loop_task *t)
{
    if (t->next) {
        task_unlink(t);
    }
}

static void run_tasks(struct loop *l)
{
    if (tasks_empty(&l->queued)) {
        return;
    }
    l->running = l->queued;
    l->running.next->prev = &l->running;
    l->running.prev->next = &l->running;
    l->queued.prev = l->queued.next = &l->queued;
    while (!tasks_empty(&l->running)) {
        struct loop_task *t = l->running.next;
        task_unlink(t);
        t->fn(t->arg);
    }
}

/* --- inbox ------------------------------------------------------------------------------------ */

static void inbox_ring(struct loop *l)
{
    uint64_t one = 1;
    while (write(l->inbox_fd, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
}

/* Whether it is the only one there. */
static bool inbox_push(struct loop *l, struct loop_msg *m)
{
    struct loop_msg *head = atomic_load_explicit(&l->inbox, memory_order_relaxed);
    do {
        m->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&l->inbox, &head, m, memory_order_release,
                                                    memory_order_relaxed));
    return !head;
}

void loop_post(struct loop *l, struct loop_msg *m)
{
    atomic_fetch_add_explicit(&l->senders, 1, memory_order_relaxed);
    if (inbox_push(l, m)) { /* m may be gone by now, and with it the last reason to keep the loop */
        inbox_ring(l);
    }
    atomic_fetch_sub_explicit(&l->senders, 1, memory_order_release);
}

void loop_post_quietly(struct loop *l, struct loop_msg *m)
{
    atomic_fetch_add_explicit(&l->senders, 1, memory_order_relaxed);
    (void)inbox_push(l, m);
    atomic_fetch_sub_explicit(&l->senders, 1, memory_order_release);
}

void loop_wake(struct loop *l)
{
    atomic_fetch_add_explicit(&l->senders, 1, memory_order_relaxed);
    if (atomic_load_explicit(&l->inbox,
                             memory_order_relaxed)) { /* else the loop was awake and has seen to it */
        inbox_ring(l);
    }
    atomic_fetch_sub_explicit(&l->senders, 1, memory_order_release);
}

static void on_inbox(evutil_socket_t fd, short what, void *arg)
{
    /* Only ends the wait: messages are taken at the end of the turn. */
}

static void run_inbox(struct loop *l, bool canceled)
{
    if (!atomic_load_explicit(&l->inbox, memory_order_relaxed)) {
        return;
    }
    struct loop_msg *newest = atomic_exchange_explicit(&l->inbox, NULL, memory_order_acquire);
    struct loop_msg *oldest = NULL;
    while (newest) {
        struct loop_msg *m = newest;
        newest = m->next;
        m->next = oldest;
        oldest = m;
    }
    while (oldest) {
        struct loop_msg *m = oldest;
        oldest = m->next;
        m->fn(m, canceled);
    }
}

struct call_msg {
    struct loop_msg msg;
    void (*fn)(void *arg);
    void *arg;
};

static void on_call(struct loop_msg *m, bool canceled)
{
    struct call_msg *call = (struct call_msg *)(void *)m;
    void (*fn)(void *) = call->fn;
    void *arg = call->arg;
    free(call);
    if (!canceled) {
        fn(arg);
    }
}

void loop_call(struct loop *l, void (*fn)(void *), void *arg)
{
    struct call_msg *call = malloc(sizeof(*call));
    BUG_ON(!call);
    *call = (struct call_msg){.msg = {.fn = on_call}, .fn = fn, .arg = arg};
    loop_post(l, &call->msg);
}

/* --- life ------------------------------------------------------------------------------------- */

static struct event_base *base_new(void)
{
    struct event_config *config = event_config_new();
    BUG_ON(!config);
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
    event_config_require_features(config, EV_FEATURE_ET);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    BUG_ON(!base);
    return base;
}

struct loop *loop_new(const char *name, unsigned index)
{
    struct loop *l = calloc(1, sizeof(*l));
    BUG_ON(!l);
    snprintf(l->name, sizeof(l->name), "%s", name);
    l->index = index;
    l->base = base_new();
    l->wake_at_ms = UINT64_MAX;
    l->queued.prev = l->queued.next = &l->queued;
    l->running.prev = l->running.next = &l->running;
    l->inbox_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    BUG_ON(l->inbox_fd < 0);
    event_assign(&l->inbox_event, l->base, l->inbox_fd, EV_READ | EV_PERSIST | EV_ET, on_inbox, l);
    event_add(&l->inbox_event, NULL);
    l->wake_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    BUG_ON(l->wake_fd < 0);
    event_assign(&l->wake_event, l->base, l->wake_fd, EV_READ | EV_PERSIST | EV_ET, on_wake, l);
    event_add(&l->wake_event, NULL);
    return l;
}

void loop_free(struct loop *l)
{
    if (!l) {
        return;
    }
    while (atomic_load_explicit(&l->senders, memory_order_acquire) > 0) {
        sched_yield();
    }
    run_inbox(l, true);
    event_del(&l->inbox_event);
    event_del(&l->wake_event);
    event_base_loop(l->base,
                    EVLOOP_NONBLOCK); /* what libevent itself put off: questions to name servers end */
    event_base_free(l->base);
    close(l->inbox_fd);
    close(l->wake_fd);
    free(l->heap);
    free(l);
}

static void turn(struct loop *l)
{
    set_wake(l);
    l->now_ms = 0;
    event_base_loop(l->base, EVLOOP_ONCE | (tasks_empty(&l->queued) ? 0 : EVLOOP_NONBLOCK));
    run_timers(l);
    run_tasks(l);
    run_inbox(l, false);
    run_tasks(l);
}

void loop_run(struct loop *l)
{
    char old_name[16] = "";
    struct loop *outer = current;
    bool is_first_thread = gettid() == getpid();
    pthread_getname_np(pthread_self(), old_name, sizeof(old_name));
    pthread_setname_np(pthread_self(), is_first_thread ? old_name : l->name);
    current = l;
    while (!atomic_exchange(&l->stop_wanted, false)) {
        turn(l);
    }
    l->now_ms = 0;
    current = outer;
    pthread_setname_np(pthread_self(), old_name);
}

void loop_stop(struct loop *l)
{
    atomic_fetch_add_explicit(&l->senders, 1, memory_order_relaxed);
    atomic_store(&l->stop_wanted, true);
    inbox_ring(l);
    atomic_fetch_sub_explicit(&l->senders, 1, memory_order_release);
}

struct loop *loop_current(void)
{
    return current;
}

unsigned loop_index(const struct loop *l)
{
    return l->index;
}

struct event_base *loop_event_base(struct loop *l)
{
    return l->base;
}

uint64_t loop_now_ms(const struct loop *l)
{
    if (l != current) {
        return clock_mono_ms();
    }
    if (current->now_ms == 0) {
        current->now_ms = clock_mono_ms();
    }
    return current->now_ms;
}
