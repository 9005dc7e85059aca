/* One event loop a thread, over libevent. Loops share no connection, request or buffer.
 *
 *     loop_new -> loop_run (the thread stays here) -> loop_stop (any thread) -> loop_free
 *
 * A turn is: wait, run the callbacks of what is ready, then due timers, then the tasks of loop_at_turn_end
 * (this is where output is gathered: one send per connection per turn), then the inbox, then the tasks that
 * the inbox queued. A task queued by a task runs in the next turn, which then does not wait.
 * The inbox (loop_post) is how other threads speak to a loop: queue + eventfd, unbounded but each sender
 * bounds what it has outstanding. A message is run exactly once, or when the loop is freed, with `canceled`.
 * Thread rule: all but loop_post, loop_post_quietly, loop_wake and loop_stop are called on the loop's own thread (or before loop_run). */
#ifndef TIDE_BASE_LOOP_H
#define TIDE_BASE_LOOP_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct loop;

/* name is copied: the thread's in ps and logs, while the loop runs. The program's first thread keeps its own: the kernel, top
 * and pgrep call the process by it. */
struct loop *loop_new(const char *name, unsigned index);
void loop_free(struct loop *l);
void loop_run(struct loop *l);   /* until loop_stop */
void loop_stop(struct loop *l);  /* any thread */
struct loop *loop_current(void); /* the loop this thread runs, NULL outside */
unsigned loop_index(const struct loop *l);
struct event_base *loop_event_base(struct loop *l);
uint64_t loop_now_ms(const struct loop *l); /* monotonic, taken once a turn */

/* Embedded in its owner. A task already queued is not queued twice; loop_task_cancel takes it out. */
struct loop_task {
    void (*fn)(void *arg);
    void *arg;
    struct loop_task *prev, *next; /* NULL when not queued */
};
void loop_at_turn_end(struct loop *l, struct loop_task *t);
void loop_task_cancel(struct loop *l, struct loop_task *t);

/* Embedded in its owner, disarmed before the owner is freed. Arming again moves it; firing disarms it.
 * Milliseconds from now. Moving a timer to a later time is free (the heap learns of it when the old time
 * comes), so a timer per connection may be armed at every request. Follows clock_test_advance_ms. */
struct loop_timer {
    struct loop *loop;
    void (*fn)(void *arg);
    void *arg;
    uint64_t deadline_ms; /* monotonic, while armed */
    uint32_t slot;        /* place in the loop's heap plus one; 0: not in it */
    bool armed;
};
void loop_timer_init(struct loop *l, struct loop_timer *t, void (*fn)(void *), void *arg);
void loop_timer_arm(struct loop_timer *t, uint64_t after_ms);
void loop_timer_disarm(struct loop_timer *t);

/* Allocated by the sender, owned by the loop once posted; fn frees it (and what it carries). */
struct loop_msg {
    struct loop_msg *next;
    void (*fn)(struct loop_msg *m, bool canceled); /* canceled: the loop is going away, just free */
};
void loop_post(struct loop *l, struct loop_msg *m); /* any thread */
/* The same for many messages at once: nobody is woken for each (what others post meanwhile may wait, too), but by loop_wake,
 * which has to follow soon. */
void loop_post_quietly(struct loop *l, struct loop_msg *m); /* any thread */
void loop_wake(struct loop *l);                             /* the same thread */
/* Convenience over loop_post: runs fn(arg) there; not run when the loop is going away. */
void loop_call(struct loop *l, void (*fn)(void *), void *arg);

#endif
