/* Verbs of the admin API about this process and its surroundings: workers, limits, incidents, check, reload. */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
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

void admin_worker_drain(struct admin_call *c)
{
    static const char *const members[] = {"drain", "reason"};
    bool drain = true;
    if (!admin_knows_members(c, members, 2)) {
        return;
    }
    const struct json_slice *v = json_member(&c->body, "drain");
    if (v != NULL && !json_get_bool(v, &drain)) {
        http_reply_error(c->ex, "validation_failed", "drain: wants true or false");
        return;
    }
    bool is_known = c->dry_run ? chat_has_worker(c->control->gateway, c->name)
                               : chat_drain_worker(c->control->gateway, c->name, drain);
    if (!is_known) {
        http_reply_error(c->ex, "not_found", "there is no worker " STR_FMT, STR_ARG(c->name));
        return;
    }
    struct buf text;
    struct json_writer w = {.out = &text};
    buf_init(&text, ADMIN_ANSWER_MAX);
    json_open(&w, '{');
    json_str_at(&w, "worker", c->name);
    json_bool_at(&w, "draining", drain);
    json_close(&w, '}');
    admin_reply(c, &text);
    buf_clear(&text);
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
