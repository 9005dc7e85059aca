/* Verbs about limits: top, explain, set, reset. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

enum { TARGET_MAX = 1024, BODY_MAX = 4096 };

int ctl_limits_top(const struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"RULE", "rule"}, {"SOURCE", "source"}, {"REFUSED", "refused"}, {NULL, NULL}};
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/limits/top");
    ctl_add_query(&target, "rule", c->word_count > 0 ? c->words[0] : NULL);
    ctl_add_query_number(&target, "limit", c->limit);
    int code = ctl_get(c, target.p, "items", columns);
    buf_clear(&target);
    return code;
}

int ctl_limits_explain(const struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"RULE", "rule"},           {"BY", "by"},       {"LIMIT", "limit"},
        {"PERIOD-MS", "period_ms"}, {"BURST", "burst"}, {"REMAINING", "remaining"},
        {"RESET-S", "reset_s"},     {"NEXT", "next"},   {"RETRY-S", "retry_s"},
        {"KNOWN", "known"},         {NULL, NULL}};
    if (c->word_count != 1) {
        return ctl_usage("limits explain KEY: an address, a phone number (+86...) or an account");
    }
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/limits/explain");
    ctl_add_query(&target, "key", c->words[0]);
    ctl_add_query(&target, "route", c->route);
    int code = ctl_get(c, target.p, "items", columns);
    buf_clear(&target);
    return code;
}

static int send_change(const struct ctl *c, const char *method, const char *suffix, const struct buf *body,
                       const char *done)
{
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/limits/");
    ctl_add_encoded(&target, c->words[0]);
    buf_add_cstr(&target, suffix);
    int code = ctl_change(c, method, target.p, body, done);
    buf_clear(&target);
    return code;
}

int ctl_limits_set(const struct ctl *c)
{
    uint64_t ttl_ms = 0;
    if (c->word_count != 2 || c->reason == NULL || c->ttl == NULL) {
        return ctl_usage("limits set RULE LIMIT --ttl 10m --reason TEXT [--burst N]: see tidectl get limits");
    }
    if (!str_duration_ms(str_from(c->ttl), &ttl_ms) || ttl_ms < 1000) {
        return ctl_usage("--ttl: a time like 90s, 10m, 2h");
    }
    struct buf body;
    char done[160];
    buf_init(&body, BODY_MAX);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_str_at(&w, "limit", str_from(c->words[1]));
    if (c->burst != NULL) {
        json_str_at(&w, "burst", str_from(c->burst));
    }
    json_i64_at(&w, "ttl_s", (int64_t)(ttl_ms / 1000));
    json_str_at(&w, "reason", str_from(c->reason));
    json_close(&w, '}');
    snprintf(done, sizeof done, "limit %.40s is %.40s for %.20s", c->words[0], c->words[1], c->ttl);
    int code = send_change(c, "PUT", "", &body, done);
    buf_clear(&body);
    return code;
}

int ctl_limits_reset(const struct ctl *c)
{
    if (c->word_count != 1 || c->reason == NULL) {
        return ctl_usage("limits reset RULE --reason TEXT: back to the configuration's numbers");
    }
    struct buf body;
    buf_init(&body, BODY_MAX);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_str_at(&w, "reason", str_from(c->reason));
    json_close(&w, '}');
    int code = send_change(c, "POST", "/reset", &body, "limit is the configuration's again");
    buf_clear(&body);
    return code;
}
