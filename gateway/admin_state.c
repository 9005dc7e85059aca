/* Verbs of the admin API about this process and its surroundings: workers, limits, incidents, check, reload. */
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/pg.h"
#include "gateway/admin_inner.h"
#include "gateway/chat.h"
#include "gateway/config.h"
#include "gateway/health.h"
#include "gateway/limits.h"
#include "gateway/upgrade.h"

void admin_workers(struct admin_call *c)
{
    struct buf text;
    buf_init(&text, ADMIN_ANSWER_MAX);
    buf_add_cstr(&text, "{\"items\":");
    chat_write_workers(c->control->gateway, &text);
    buf_add_cstr(&text, "}");
    admin_reply(c, &text);
    buf_clear(&text);
}

/* --- draining: at once, whatever the database does; then the audit log is told ------------------- */

struct drain {
    char *worker, *actor, *reason, *request_id;
    char host[HOST_NAME_MAX + 1]; /* of the gateway */
    bool is_undone;
};

static int write_drain(struct pg *pg, void *arg)
{
    const struct drain *d = arg;
    int rows =
        pg_query(pg,
                 "INSERT INTO audit (actor, action, target, reason, request_id, detail) VALUES ($1, $2,"
                 " 'worker/' || $3, $4, $5, jsonb_build_object('host', $6::text))",
                 PG_CSTR(d->actor), PG_CSTR(d->is_undone ? "worker.undrain" : "worker.drain"),
                 PG_CSTR(d->worker), PG_CSTR(d->reason), PG_CSTR(d->request_id), PG_CSTR(d->host));
    return rows < 0 ? rows : 0;
}

static void drop_drain(void *arg)
{
    struct drain *d = arg;
    free(d->worker);
    free(d->actor);
    free(d->reason);
    free(d->request_id);
    free(d);
}

static void reply_drained(struct admin_call *c, const struct drain *d, bool is_audited)
{
    struct buf text;
    struct json_writer w = {.out = &text};
    buf_init(&text, ADMIN_ANSWER_MAX);
    json_open(&w, '{');
    json_str_at(&w, "worker", c->name);
    json_bool_at(&w, "draining", !d->is_undone);
    json_bool_at(&w, "audited", is_audited);
    json_close(&w, '}');
    admin_reply(c, &text);
    buf_clear(&text);
}

static void drain_not_audited(void *arg, const struct err *err)
{
    log_warn("drain not audited error=\"%s\"", err->msg);
}

static void on_drained(struct admin_call *c, void *arg, int rc, const struct err *err)
{
    reply_drained(c, arg, rc == 0);
}

static void drain_not_submitted(struct admin_call *c, void *arg)
{
    log_warn("drain not audited error=\"the database is away or too busy\"");
    reply_drained(c, arg, false);
}

void admin_worker_drain(struct admin_call *c)
{
    static const char *const members[] = {"drain", "reason"};
    enum { AUDIT_MS = 2000 };
    struct gateway *g = c->control->gateway;
    struct str reason = STR("");
    bool drain = true;
    struct err err = {0};
    if (!admin_knows_members(c, members, 2) || !admin_get_bool(c, "drain", &drain) ||
        !admin_get_text(c, "reason", &reason)) {
        return;
    }
    if (upgrade_may_start(c->control->upgrade, &err) != 0) {
        http_reply_error(c->ex, "conflict",
                         "%s: the process after this one would not know of it; ask again then", err.msg);
        return;
    }
    bool is_known = c->dry_run ? chat_has_worker(g, c->name) : chat_drain_worker(g, c->name, drain);
    if (!is_known) {
        http_reply_error(c->ex, "not_found", "there is no worker " STR_FMT, STR_ARG(c->name));
        return;
    }
    log_info("worker name=" STR_FMT " state=%s actor=%s reason=\"" STR_FMT "\"", STR_ARG(c->name),
             c->dry_run ? "tried"
             : drain    ? "draining"
                        : "undrained",
             c->actor, STR_ARG(reason));
    struct drain *d = calloc(1, sizeof *d);
    BUG_ON(d == NULL);
    *d = (struct drain){.worker = strndup(c->name.p, c->name.n),
                        .actor = strdup(c->actor),
                        .reason = strndup(reason.p, reason.n),
                        .request_id = strdup(c->ex->id),
                        .is_undone = !drain};
    (void)gethostname(d->host, sizeof d->host - 1);
    admin_submit(c, &(struct admin_work){.run = write_drain,
                                         .done = on_drained,
                                         .failed = drain_not_audited,
                                         .drop = drop_drain,
                                         .not_submitted = drain_not_submitted,
                                         .arg = d,
                                         .timeout_ms = AUDIT_MS});
}

/* --- check: is all well here? -------------------------------------------------------------------- */

static void write_certificate(struct json_writer *w, const struct gateway_config *conf, bool *well)
{
    enum { WARN_S = 14 * 86400 };
    if (conf->tls == NULL) {
        return;
    }
    int64_t left_s = tls_set_expires_s(conf->tls) - clock_wall_s();
    json_bool_at(w, "certificate", left_s > WARN_S);
    json_i64_at(w, "certificate_days_left", left_s / 86400);
    *well = *well && left_s > WARN_S;
}

void admin_check(struct admin_call *c)
{
    struct gateway *g = c->control->gateway;
    struct buf text;
    struct json_writer w = {.out = &text};
    bool ready = false;
    buf_init(&text, ADMIN_ANSWER_MAX);
    json_open(&w, '{');
    json_open_at(&w, "checks", '{');
    health_write(g, &w, &ready);
    bool well = ready && (g->pg == NULL || atomic_load(&g->pg_is_up));
    if (limits_has_redis(&g->loops[0])) {
        bool redis = true;
        for (unsigned i = 0; i < g->loop_count; i++) {
            redis = redis && limits_redis_is_ready(&g->loops[i]);
        }
        json_bool_at(&w, "redis", redis);
        well = well && redis;
    }
    write_certificate(&w, g->conf, &well);
    json_close(&w, '}');
    json_bool_at(&w, "ready", ready);
    json_bool_at(&w, "well", well);
    json_str_at(&w, "version", STR(TIDE_VERSION));
    json_i64_at(&w, "pid", (int64_t)getpid());
    json_i64_at(&w, "uptime_s", (int64_t)((clock_mono_ms() - g->started_ms) / 1000));
    json_i64_at(&w, "config_serial", (int64_t)g->conf->serial);
    json_close(&w, '}');
    admin_reply(c, &text);
    buf_clear(&text);
}

void admin_reload(struct admin_call *c)
{
    struct err err = {0};
    if (!admin_knows_members(c, NULL, 0)) {
        return;
    }
    int rc = c->dry_run ? control_try_reload(c->control, &err) : control_reload(c->control, &err);
    if (rc != 0) {
        http_reply_error(c->ex, "validation_failed", "%s", err.msg);
        return;
    }
    struct buf text;
    buf_init(&text, 256);
    buf_addf(&text, "{\"config_serial\":%llu}", (unsigned long long)c->control->gateway->conf->serial);
    admin_reply(c, &text);
    buf_clear(&text);
}

static void on_upgraded(void *arg, int pid, const char *why)
{
    struct admin_call *c = arg;
    if (pid == 0) {
        http_reply_error(c->ex, "internal_error", "%s", why);
        return;
    }
    struct buf text;
    buf_init(&text, 256);
    buf_addf(&text, "{\"pid\":%d}", pid);
    admin_reply(c, &text);
    buf_clear(&text);
}

/* Nothing stands in the way here, and the file that the new process would read is good. */
static void try_upgrade(struct admin_call *c)
{
    struct err err = {0};
    struct gateway_config *conf = NULL;
    int rc = upgrade_may_start(c->control->upgrade, &err);
    if (rc == 0) {
        rc = config_load(c->control->gateway->start.conf_path, &conf, &err);
    }
    if (rc != 0) {
        http_reply_error(c->ex, rc == ERR_CONFLICT ? "conflict" : "validation_failed", "%s", err.msg);
        return;
    }
    config_unref(conf);
    struct buf text;
    buf_init(&text, 64);
    buf_add_cstr(&text, "{\"pid\":0}");
    admin_reply(c, &text);
    buf_clear(&text);
}

void admin_upgrade(struct admin_call *c)
{
    struct err err = {0};
    if (!admin_knows_members(c, NULL, 0)) {
        return;
    }
    if (c->dry_run) {
        try_upgrade(c);
        return;
    }
    int rc = upgrade_start(c->control->upgrade, &err);
    if (rc != 0) {
        admin_refuse(c, rc == ERR_CONFLICT ? rc : ERR_INTERNAL, &err);
        return;
    }
    upgrade_wait(c->control->upgrade, on_upgraded, c);
}
