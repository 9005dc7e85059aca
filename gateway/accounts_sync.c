/* What the control thread learns from the database and hands to the loops: the policy in force, sessions that
 * ended. Both are kept on disk for a start without the database. */
#include "gateway/accounts_inner.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/ended_file.h"
#include "auth/revoked.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/emergency.h"
#include "gateway/gateway.h"

enum { RETRY_MS = 400, SAVE_MS = 1000, SAVE_WHOLE_MS = 3600000, PURGE_MS = 60000, JOB_MS = 5000 };

static struct metric policy_version_now =
    METRIC_GAUGE("tidegate_policy_version", "Version of the sign-up policy in force here.");

/* --- the policy -------------------------------------------------------------------------------------- */

static void give_policy(struct gateway_loop *gl, void *arg)
{
    auth_loop_set_policy(&gl->accounts->auth, arg);
    policy_unref(arg);
}

static void use_policy(struct accounts *a, struct policy *p)
{
    struct err err;
    policy_unref(a->policy);
    a->policy = policy_ref(p);
    metric_set(&policy_version_now, (double)policy_version(p));
    log_info("policy in force name=%s version=%lld", policy_name(p), (long long)policy_version(p));
    for (unsigned i = 0; i < a->gateway->loop_count; i++) {
        policy_ref(p); /* one a loop: give_policy drops it */
    }
    gateway_each_loop(a->gateway, give_policy, p);
    atomic_store(&a->has_policy, true);
    if (policy_save(p, a->policy_path, &err) < 0) {
        log_warn("policy not kept on disk error=\"%s\"", err.msg);
    }
    emergency_on_policy(a, policy_version(p));
}

/* --- sessions that ended ----------------------------------------------------------------------------- */

struct ended_list {
    atomic_uint refs;
    unsigned n;
    struct auth_ended items[];
};

static void give_ended(struct gateway_loop *gl, void *arg)
{
    struct ended_list *list = arg;
    auth_loop_end_sessions(&gl->accounts->auth, list->items, list->n);
    if (atomic_fetch_sub(&list->refs, 1) == 1) {
        free(list);
    }
}

static struct ended_list *ended_list_new(const struct accounts *a, unsigned room)
{
    struct ended_list *list = malloc(sizeof *list + room * sizeof list->items[0]);
    BUG_ON(!list);
    atomic_init(&list->refs, a->gateway->loop_count);
    list->n = 0;
    return list;
}

/* Forgets what no token can be alive for any more, and what is too much. */
static void ended_prune(struct accounts *a, int64_t now_s)
{
    unsigned old = a->ended_count > REVOKED_MAX ? a->ended_count - REVOKED_MAX : 0;
    while (old < a->ended_count && a->ended[old].ended_s < now_s - AUTH_ENDED_KEEP_S) {
        old++;
    }
    if (old > 0) {
        a->ended_count -= old;
        memmove(a->ended, a->ended + old, a->ended_count * sizeof *a->ended);
    }
}

/* False when it was known. */
static bool ended_remember(struct accounts *a, const struct auth_ended *e, int64_t now_s)
{
    if (!revoked_add(a->ended_known, &e->session, e->ended_s, now_s)) {
        return false;
    }
    if (a->ended_count == a->ended_room) {
        a->ended_room = a->ended_room ? a->ended_room * 2 : 256;
        a->ended = realloc(a->ended, a->ended_room * sizeof *a->ended);
        BUG_ON(!a->ended);
    }
    a->ended[a->ended_count++] = *e;
    return true;
}

/* Hands the new ones to the loops. */
static void use_ended(struct accounts *a, const struct auth_sync *s)
{
    int64_t now_s = clock_wall_s();
    struct ended_list *list = ended_list_new(a, s->ended_count);
    for (unsigned i = 0; i < s->ended_count; i++) {
        if (ended_remember(a, &s->ended[i], now_s)) {
            list->items[list->n++] = s->ended[i];
        }
    }
    if (list->n == 0) {
        free(list);
        return;
    }
    gateway_each_loop(a->gateway, give_ended, list);
}

struct era {
    atomic_uint refs;
    int64_t number;
};

static void give_era(struct gateway_loop *gl, void *arg)
{
    struct era *e = arg;
    auth_loop_set_era(&gl->accounts->auth, e->number);
    if (atomic_fetch_sub(&e->refs, 1) == 1) {
        free(e);
    }
}

/* Everybody has been signed out; or a database that has lost that, in a failover, takes it back. */
static void on_era(void *arg, int64_t number)
{
    struct accounts *a = arg;
    if (number == a->era) {
        return;
    }
    struct era *e = calloc(1, sizeof *e);
    BUG_ON(!e);
    atomic_init(&e->refs, a->gateway->loop_count);
    e->number = number;
    log_info("sessions of an earlier era have ended era=%lld was=%lld", (long long)number, (long long)a->era);
    a->era = number;
    a->is_era_saved = false;
    gateway_each_loop(a->gateway, give_era, e);
}

static int save_ended_whole(struct accounts *a, struct err *err)
{
    ended_prune(a, clock_wall_s());
    a->ended_whole_ms = clock_mono_ms();
    return ended_save(a->ended, a->ended_count, a->era, a->ended_path, err);
}

/* There may be many: what is new is appended, and now and then all is written anew, without what is old. */
static void on_save_ended(void *arg)
{
    struct accounts *a = arg;
    struct err err = {0};
    unsigned n = a->ended_saved;
    if (n == a->ended_count && a->is_era_saved) {
        return;
    }
    bool is_whole = n == 0 || !a->is_era_saved || clock_mono_ms() - a->ended_whole_ms >= SAVE_WHOLE_MS;
    int rc = is_whole ? save_ended_whole(a, &err)
                      : ended_append(a->ended + n, a->ended_count - n, a->ended_path, &err);
    a->ended_saved = rc < 0 ? 0 : a->ended_count;
    a->is_era_saved = rc >= 0;
    if (rc < 0) {
        log_warn("ended sessions not kept on disk error=\"%s\"", err.msg);
    }
}

/* --- fetching ---------------------------------------------------------------------------------------- */

static void fetch_start(struct fetch *f);

static void fetch_end(struct fetch *f, int rc)
{
    f->is_running = false;
    f->failures = rc < 0 ? f->failures + 1 : 0;
    if (rc == ERR_CANCELED) {
        f->is_due = false;
    } else if (rc < 0) {
        f->is_due = true; /* the tick tries again */
    } else if (f->is_due) {
        fetch_start(f);
    }
}

static void on_policy_fetched(void *arg, int rc, const struct err *err)
{
    struct accounts *a = ((struct fetch *)arg)->accounts;
    struct policy *p = rc == 0 ? a->policy_sync.policy : NULL;
    if (rc == ERR_INVALID) {
        log_error("the policy in the database cannot be read, the last known one stands error=\"%s\"",
                  err->msg);
    }
    if (p && p != a->policy) {
        use_policy(a, p);
    }
    auth_sync_clear(&a->policy_sync);
    fetch_end(arg, rc);
}

static void on_ended_fetched(void *arg, int rc, const struct err *err)
{
    struct accounts *a = ((struct fetch *)arg)->accounts;
    if (rc == 0) {
        use_ended(a, &a->ended_sync);
        a->ended_until = a->ended_sync.until;
    }
    auth_sync_clear(&a->ended_sync);
    fetch_end(arg, rc);
}

static void on_purged(void *arg, int rc, const struct err *err)
{
    ((struct fetch *)arg)->is_running = false;
}

/* Both halves of a job get the fetch; what the database thread fills is the sync beside it. */
static int run_policy(struct pg *pg, void *fetch)
{
    return auth_sync_policy(pg, &((struct fetch *)fetch)->accounts->policy_sync);
}

static int run_revocations(struct pg *pg, void *fetch)
{
    return auth_sync_revocations(pg, &((struct fetch *)fetch)->accounts->ended_sync);
}

static void fetch_start(struct fetch *f)
{
    struct accounts *a = f->accounts;
    if (f->is_running || !a->gateway->pg) {
        f->is_due = f->is_running;
        return;
    }
    f->is_due = false;
    if (f == &a->policy_fetch) {
        a->policy_sync.known = a->policy ? policy_ref(a->policy) : NULL;
        f->job = (struct pg_job){.run = run_policy, .done = on_policy_fetched, .lane = PG_LANE_URGENT};
    } else if (f == &a->ended_fetch) {
        a->ended_sync.since = a->ended_until;
        f->job = (struct pg_job){.run = run_revocations, .done = on_ended_fetched, .lane = PG_LANE_URGENT};
    } else {
        f->job = (struct pg_job){.run = auth_sync_purge, .done = on_purged};
    }
    f->job.arg = f;
    f->job.timeout_ms = (uint64_t)JOB_MS
                        << (f->failures < 4 ? f->failures : 4); /* there may be much to read */
    f->is_running = true;
    int rc = pg_submit(a->gateway->pg, &f->job);
    if (rc < 0) {
        f->job.done(f, rc, &(struct err){.code = (enum err_code)rc});
    }
}

static void on_moved(void *fetch, int64_t version)
{
    fetch_start(fetch);
}

static void on_retry(void *arg)
{
    struct accounts *a = arg;
    if (a->policy_fetch.is_due && !a->policy_fetch.is_running) {
        fetch_start(&a->policy_fetch);
    }
    if (a->ended_fetch.is_due && !a->ended_fetch.is_running) {
        fetch_start(&a->ended_fetch);
    }
}

static void on_purge(void *arg)
{
    struct accounts *a = arg;
    if (!a->purge.is_running && atomic_load(&a->gateway->pg_is_up)) {
        fetch_start(&a->purge);
    }
}

/* --- life -------------------------------------------------------------------------------------------- */

static void load_last_policy(struct accounts *a)
{
    struct err err;
    int rc = policy_load(a->policy_path, &a->policy, &err);
    if (rc == 0) {
        atomic_store(&a->has_policy, true);
        log_info("policy from disk name=%s version=%lld", policy_name(a->policy),
                 (long long)policy_version(a->policy));
    } else if (rc != ERR_NOT_FOUND) {
        log_warn("no policy from disk error=\"%s\"", err.msg);
    }
}

static void load_last_ended(struct accounts *a)
{
    struct err err;
    struct auth_ended *items;
    unsigned n;
    int rc = ended_load(a->ended_path, &items, &n, &a->era, &err);
    a->is_era_saved = true; /* without a file it is 0, as one without the line says */
    for (unsigned i = 0; i < n; i++) {
        ended_remember(a, &items[i], clock_wall_s());
    }
    free(items);
    if (rc < 0 && rc != ERR_NOT_FOUND) {
        log_warn("no ended sessions from disk error=\"%s\"", err.msg);
    }
}

void accounts_sync_open(struct accounts *a)
{
    struct control *c = a->gateway->control;
    const char *dir = a->gateway->conf->set->process.state_dir;
    a->policy_fetch.accounts = a->ended_fetch.accounts = a->purge.accounts = a;
    a->ended_known = revoked_new(AUTH_ENDED_KEEP_S);
    snprintf(a->policy_path, sizeof a->policy_path, "%s/policy", dir);
    snprintf(a->ended_path, sizeof a->ended_path, "%s/ended-sessions", dir);
    load_last_policy(a);
    load_last_ended(a);
    a->emergency = emergency_open(a);
    control_watch(c, CONTROL_POLICY, on_moved, &a->policy_fetch);
    control_watch(c, CONTROL_REVOCATIONS, on_moved, &a->ended_fetch);
    control_watch(c, CONTROL_EVERYBODY, on_era, a);
    control_tick(c, RETRY_MS, on_retry, a);
    control_tick(c, SAVE_MS, on_save_ended, a);
    control_tick(c, PURGE_MS, on_purge, a);
}

void accounts_sync_loop_open(struct accounts *a, struct gateway_loop *gl)
{
    if (a->policy) {
        auth_loop_set_policy(&gl->accounts->auth, a->policy);
    }
    emergency_loop_open(a->emergency, gl);
    auth_loop_end_sessions(&gl->accounts->auth, a->ended, a->ended_count);
    auth_loop_set_era(&gl->accounts->auth, a->era);
}

void accounts_sync_close(struct accounts *a)
{
    if (a->ended_known) {
        on_save_ended(a);
        revoked_free(a->ended_known);
    }
    emergency_free(a->emergency);
    policy_unref(a->policy);
    free(a->ended);
}
