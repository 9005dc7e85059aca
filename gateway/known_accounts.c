/* See known_accounts.h. */
#include "gateway/known_accounts.h"

#include <pthread.h>
#include <stdlib.h>

#include "auth/known_feed.h"
#include "auth/known_filter.h"
#include "auth/subject.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/pg.h"
#include "gateway/accounts_inner.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/gateway.h"

enum { TICK_MS = 1000, PACE_MS = 20, REST_MS = 5000, JOB_MS = 5000, CATCH_UP_JOB_MS = 2000, GROWTH = 4 };

static struct metric bytes_now =
    METRIC_GAUGE("tidegate_known_filter_bytes", "Memory of the filter of numbers that have an account.");
static struct metric entries_now =
    METRIC_GAUGE("tidegate_known_filter_entries", "Numbers in the filter of numbers that have an account.");
static struct metric ready_now =
    METRIC_GAUGE("tidegate_known_filter_ready",
                 "1: that filter is complete, and refusals need no look-up in the database.");
static struct metric lag_now =
    METRIC_GAUGE("tidegate_known_filter_lag_seconds", "Since that filter last caught up with the database.");
static struct metric answers = METRIC_COUNTER_L(
    "tidegate_known_filter_answers_total",
    "Numbers that the policy refuses, by what that filter said: surely_not, or maybe, which asks the "
    "database.",
    "answer");

enum known_state {
    KNOWN_EMPTY = 0,     /* to be begun at the next tick */
    KNOWN_LOADING = 1,   /* pages are missing */
    KNOWN_FOLLOWING = 2, /* complete as of the last catch-up */
    KNOWN_OFF = 3,       /* it would be larger than it may */
};

struct known_waiter {
    struct known_waiter *next;
    uint64_t turn; /* the first catch-up that begins after it came */
    struct subject subject;
    auth_known_cb done;
    void *arg;
};

struct known_accounts {
    struct gateway *gateway;
    size_t bytes_max; /* auth.known_filter_max */
    /* under lock */
    pthread_mutex_t lock;
    struct known_filter *trusted; /* that of feed, borrowed; NULL: all answers are "maybe" */
    uint64_t begun, ended;        /* catch-ups, counted */
    bool is_wanted;               /* somebody waits for a further one */
    /* the control thread's */
    enum known_state state;
    struct known_feed feed; /* the job's while it runs, but for the filter */
    struct pg_job job;
    bool is_running;
    struct loop_timer pace;
    uint64_t turned_ms; /* monotonic: when the last catch-up began */
    uint64_t caught_ms; /* monotonic: when one last succeeded, or a load began */
};

/* --- the loops --------------------------------------------------------------------------------------- */

void known_loop_init(struct known_loop *kl, struct known_accounts *all)
{
    *kl = (struct known_loop){.all = all};
    kl->last = &kl->first;
}

static void waiter_end(struct known_waiter *w, enum auth_known answer)
{
    if (answer != AUTH_KNOWN_CANCELED) {
        metric_child_add(metric_child(&answers, answer == AUTH_KNOWN_SURELY_NOT ? "surely_not" : "maybe"), 1);
    }
    w->done(w->arg, answer);
    free(w);
}

static struct known_waiter *waiter_take(struct known_loop *kl)
{
    struct known_waiter *w = kl->first;
    kl->first = w->next;
    kl->last = kl->first ? kl->last : &kl->first;
    return w;
}

/* A catch-up has ended. Who waits for it, or for anything once nothing is trusted, gets an answer. */
static void give_answers(struct gateway_loop *gl, void *arg)
{
    struct known_accounts *k = arg;
    struct known_loop *kl = gl->accounts ? &gl->accounts->known : NULL;
    if (!kl || !kl->first) {
        return;
    }
    pthread_mutex_lock(&k->lock);
    struct known_filter *filter = k->trusted ? known_filter_ref(k->trusted) : NULL;
    uint64_t ended = k->ended;
    pthread_mutex_unlock(&k->lock);
    while (kl->first && (!filter || kl->first->turn <= ended)) {
        struct known_waiter *w = waiter_take(kl);
        bool is_unknown = filter && !known_filter_may_have_subject(filter, &w->subject);
        waiter_end(w, is_unknown ? AUTH_KNOWN_SURELY_NOT : AUTH_KNOWN_MAYBE);
    }
    known_filter_unref(filter);
}

static void on_wanted(void *arg);

void known_loop_ask(struct known_loop *kl, const struct subject *s, auth_known_cb done, void *arg)
{
    struct known_accounts *k = kl->all;
    struct known_waiter *w = calloc(1, sizeof *w);
    BUG_ON(!w);
    *w = (struct known_waiter){.subject = *s, .done = done, .arg = arg};
    pthread_mutex_lock(&k->lock);
    bool is_trusted = k->trusted, is_first = is_trusted && !k->is_wanted;
    k->is_wanted = k->is_wanted || is_first;
    w->turn = k->begun + 1;
    pthread_mutex_unlock(&k->lock);
    if (!is_trusted) {
        waiter_end(w, AUTH_KNOWN_MAYBE);
        return;
    }
    *kl->last = w;
    kl->last = &w->next;
    if (is_first) {
        loop_call(control_loop(k->gateway->control), on_wanted, k);
    }
}

void known_loop_close(struct known_loop *kl)
{
    while (kl->first) {
        waiter_end(waiter_take(kl), AUTH_KNOWN_CANCELED);
    }
}

/* --- the control thread ------------------------------------------------------------------------------ */

static void go_on(struct known_accounts *k);

static void submit(struct known_accounts *k, int (*run)(struct pg *, void *),
                   void (*done)(void *, int, const struct err *), uint64_t timeout_ms)
{
    k->job = (struct pg_job){.run = run, .done = done, .arg = k, .timeout_ms = timeout_ms};
    if (k->state == KNOWN_FOLLOWING) {
        k->job.lane = PG_LANE_URGENT; /* what it knows spares the database the most when that is busiest */
    }
    k->is_running = true;
    int rc = pg_submit(k->gateway->pg, &k->job);
    if (rc < 0) {
        done(k, rc, &(struct err){.code = (enum err_code)rc, .msg = "no room among the database's jobs"});
    }
}

static int run_begin(struct pg *pg, void *arg)
{
    return known_feed_begin(pg, &((struct known_accounts *)arg)->feed);
}

static int run_page(struct pg *pg, void *arg)
{
    return known_feed_page(pg, &((struct known_accounts *)arg)->feed);
}

static int run_catch_up(struct pg *pg, void *arg)
{
    return known_feed_catch_up(pg, &((struct known_accounts *)arg)->feed);
}

/* What loops may rely on from now on; all who wait hear of it. */
static void trust(struct known_accounts *k, struct known_filter *filter, uint64_t ended)
{
    pthread_mutex_lock(&k->lock);
    k->trusted = filter;
    k->ended = ended;
    pthread_mutex_unlock(&k->lock);
    metric_set(&ready_now, filter != NULL);
    gateway_each_loop(k->gateway, give_answers, k);
}

/* Full: the next one is larger, as far as it may be. False: it may not, and there is none from now on. */
static bool grow(struct known_accounts *k)
{
    size_t wanted = k->feed.bytes * GROWTH;
    bool may_grow = k->feed.bytes < k->bytes_max;
    if (may_grow) {
        k->feed.bytes = wanted < k->bytes_max ? wanted : k->bytes_max;
        k->state = KNOWN_EMPTY;
    } else {
        log_warn("known accounts filter=off: %llu numbers do not fit auth.known_filter_max bytes=%zu",
                 (unsigned long long)known_filter_entries(k->feed.filter), k->bytes_max);
        known_feed_clear(&k->feed);
        k->state = KNOWN_OFF;
        metric_set(&bytes_now, 0);
        metric_set(&entries_now, 0);
    }
    return may_grow;
}

static void on_begun(void *arg, int rc, const struct err *err)
{
    struct known_accounts *k = arg;
    k->is_running = false;
    if (rc < 0) {
        if (rc != ERR_CANCELED && rc != ERR_UNAVAILABLE) {
            log_warn("known accounts not loaded error=\"%s\"", err->msg);
        }
        return; /* the tick tries again */
    }
    k->state = KNOWN_LOADING;
    k->caught_ms = clock_mono_ms();
    metric_set(&bytes_now, (double)k->feed.bytes);
    go_on(k);
}

static void on_page(void *arg, int rc, const struct err *err)
{
    struct known_accounts *k = arg;
    k->is_running = false;
    if (rc < 0) {
        return;
    }
    if (k->feed.is_lost) { /* anew, with the next tick */
        k->state = KNOWN_EMPTY;
        return;
    }
    metric_set(&entries_now, (double)known_filter_entries(k->feed.filter));
    if (known_filter_is_full(k->feed.filter)) {
        if (!grow(k)) {
            return;
        }
    } else if (k->feed.is_loaded) {
        k->state = KNOWN_FOLLOWING;
        log_info("known accounts loaded numbers=%llu bytes=%zu",
                 (unsigned long long)known_filter_entries(k->feed.filter), k->feed.bytes);
    }
    go_on(k);
}

static void on_caught_up(void *arg, int rc, const struct err *err)
{
    struct known_accounts *k = arg;
    bool is_full = rc == 0 && known_filter_is_full(k->feed.filter);
    bool is_good = rc == 0 && !k->feed.is_lost && !is_full;
    k->is_running = false;
    trust(k, is_good && k->state == KNOWN_FOLLOWING ? k->feed.filter : NULL, k->begun);
    if (rc < 0) {
        return;
    }
    metric_set(&entries_now, (double)known_filter_entries(k->feed.filter));
    if (is_good) {
        k->caught_ms = clock_mono_ms();
    } else if (k->feed.is_lost) {
        log_info("known accounts lost track of the database: loading anew");
        k->state = KNOWN_EMPTY;
    } else if (!grow(k)) {
        return;
    }
    go_on(k);
}

static void catch_up(struct known_accounts *k)
{
    pthread_mutex_lock(&k->lock);
    k->is_wanted = false;
    k->begun++;
    pthread_mutex_unlock(&k->lock);
    k->turned_ms = clock_mono_ms();
    submit(k, run_catch_up, on_caught_up, CATCH_UP_JOB_MS);
}

/* The next job, if one is due. */
static void go_on(struct known_accounts *k)
{
    uint64_t now = clock_mono_ms();
    bool has_rested = now >= k->caught_ms + REST_MS;
    if (k->is_running || k->state == KNOWN_OFF) {
        return;
    }
    if (k->state == KNOWN_EMPTY) {
        known_filter_unref(k->feed.filter); /* before the next one: never two of them */
        k->feed.filter = NULL;
        submit(k, run_begin, on_begun, JOB_MS);
        return;
    }
    if (k->state == KNOWN_LOADING && !has_rested) {
        submit(k, run_page, on_page, JOB_MS);
        return;
    }
    pthread_mutex_lock(&k->lock);
    bool is_wanted = k->is_wanted || !k->trusted;
    pthread_mutex_unlock(&k->lock);
    if (is_wanted && now < k->turned_ms + PACE_MS) {
        loop_timer_arm(&k->pace, k->turned_ms + PACE_MS - now);
    } else if (is_wanted || has_rested) {
        catch_up(k);
    }
}

static void on_wanted(void *arg)
{
    go_on(arg);
}

static void on_tick(void *arg)
{
    struct known_accounts *k = arg;
    bool is_up = atomic_load(&k->gateway->pg_is_up);
    metric_set(&lag_now, k->caught_ms ? (double)(clock_mono_ms() - k->caught_ms) / 1000.0 : 0);
    if (is_up) {
        go_on(k);
    }
}

struct known_accounts *known_accounts_open(struct gateway *g)
{
    struct known_accounts *k = calloc(1, sizeof *k);
    BUG_ON(!k || pthread_mutex_init(&k->lock, NULL) != 0);
    k->gateway = g;
    known_feed_init(&k->feed);
    k->bytes_max = g->conf->set->auth->known_filter_max;
    k->feed.bytes = k->bytes_max < KNOWN_FILTER_MIN ? k->bytes_max : KNOWN_FILTER_MIN;
    k->state = k->bytes_max == 0 ? KNOWN_OFF : KNOWN_EMPTY;
    metric_set(&ready_now, 0);
    loop_timer_init(control_loop(g->control), &k->pace, on_wanted, k);
    control_tick(g->control, TICK_MS, on_tick, k);
    return k;
}

void known_accounts_close(struct known_accounts *k)
{
    if (k) {
        loop_timer_disarm(&k->pace);
        known_feed_clear(&k->feed);
        pthread_mutex_destroy(&k->lock);
        free(k);
    }
}
