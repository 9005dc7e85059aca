#include "inference/worker/cpu/team.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPINS = 3000 }; /* some 20 to 50 microseconds */

/* A number that only grows, and those who wait for it to change. Each on its own cache line. */
struct gate {
    _Alignas(64) atomic_uint count;
    atomic_uint sleepers;
};

struct helper {
    struct team *team;
    unsigned thread; /* 1 and up */
    pthread_t id;
};

struct team {
    unsigned size;
    struct gate start;   /* a job was given, or the team is ending */
    struct gate barrier; /* barriers passed */
    _Alignas(64) atomic_uint arrived;
    _Alignas(64) team_cb fn; /* NULL: end */
    void *arg;
    struct helper *helpers; /* size - 1 */
    unsigned started;       /* helpers that run */
};

static void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void gate_open(struct gate *g)
{
    atomic_fetch_add(&g->count, 1);
    if (atomic_load(&g->sleepers)) {
        syscall(SYS_futex, &g->count, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
    }
}

static void gate_wait(struct gate *g, unsigned seen)
{
    for (unsigned i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&g->count, memory_order_acquire) != seen) {
            return;
        }
        cpu_relax();
    }
    atomic_fetch_add(&g->sleepers, 1);
    while (atomic_load(&g->count) == seen) {
        syscall(SYS_futex, &g->count, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    }
    atomic_fetch_sub(&g->sleepers, 1);
}

unsigned team_size(const struct team *t)
{
    return t->size;
}

void team_barrier(struct team *t)
{
    if (t->size == 1) {
        return;
    }
    unsigned seen = atomic_load_explicit(&t->barrier.count, memory_order_acquire);
    if (atomic_fetch_add(&t->arrived, 1) + 1 == t->size) {
        atomic_store(&t->arrived, 0);
        gate_open(&t->barrier);
    } else {
        gate_wait(&t->barrier, seen);
    }
}

static void *helper_main(void *arg)
{
    struct helper *h = arg;
    struct team *t = h->team;
    for (unsigned seen = 0;; seen++) {
        gate_wait(&t->start, seen);
        if (!t->fn) {
            return NULL;
        }
        t->fn(t->arg, h->thread);
        team_barrier(t);
    }
}

void team_run(struct team *t, team_cb fn, void *arg)
{
    t->fn = fn;
    t->arg = arg;
    if (t->size > 1) {
        gate_open(&t->start);
    }
    fn(arg, 0);
    team_barrier(t);
}

int team_new(unsigned threads, struct team **out, struct err *err)
{
    if (threads == 0 || threads > TEAM_MAX_THREADS) {
        return err_set(err, ERR_LIMIT, "cpu: %u threads, expected 1 to %u", threads, TEAM_MAX_THREADS);
    }
    struct team *t = aligned_alloc(64, sizeof *t);
    struct helper *helpers = calloc(threads, sizeof *helpers);
    if (!t || !helpers) {
        free(t);
        free(helpers);
        return err_set(err, ERR_NOMEM, "cpu: no memory for threads");
    }
    memset(t, 0, sizeof *t);
    t->size = threads;
    t->helpers = helpers;
    for (unsigned i = 0; i + 1 < threads; i++) {
        helpers[i] = (struct helper){.team = t, .thread = i + 1};
        int rc = pthread_create(&helpers[i].id, NULL, helper_main, &helpers[i]);
        if (rc) {
            team_free(t);
            return err_set(err, ERR_IO, "cpu: cannot start a thread: %s", strerror(rc));
        }
        char name[16];
        snprintf(name, sizeof name, "compute-%u", i + 1);
        pthread_setname_np(helpers[i].id, name);
        t->started++;
    }
    *out = t;
    return 0;
}

void team_free(struct team *t)
{
    if (!t) {
        return;
    }
    t->fn = NULL;
    gate_open(&t->start);
    for (unsigned i = 0; i < t->started; i++) {
        pthread_join(t->helpers[i].id, NULL);
    }
    free(t->helpers);
    free(t);
}
