#include "gateway/limits_reply.h"

#include <stdio.h>

static uint64_t seconds_up(int64_t us)
{
    return us > 0 ? ((uint64_t)us + 999999) / 1000000 : 0;
}

static void add_policy(struct request *r, const struct limit_check *c)
{
    static const struct str comma = STR_INIT(", ");
    size_t room = 0;
    for (unsigned i = 0; i < c->count; i++) {
        room += comma.n + c->keys[i].rule->policy_n;
    }
    char *start = arena_alloc(&r->ex->arena, room);
    char *p = start;
    for (unsigned i = 0; i < c->count; i++) {
        const struct limit_rule *rule = c->keys[i].rule;
        if (rule->shadow || rule->is_private) {
            continue;
        }
        if (p != start) {
            p = mempcpy(p, comma.p, comma.n);
        }
        p = mempcpy(p, rule->policy, rule->policy_n);
    }
    if (p != start) {
        http_add_field(r->ex, "ratelimit-policy", str_of(start, (size_t)(p - start)));
    }
}

static void add_state(struct request *r, const struct limit_check *c, uint64_t reset_s)
{
    if (c->binding->is_private) {
        return;
    }
    struct str name = str_from(c->binding->name);
    char *start = arena_alloc(&r->ex->arena, name.n + 48);
    char *p = start;
    *p++ = '"';
    p = mempcpy(p, name.p, name.n);
    p = str_put_u64(mempcpy(p, "\";r=", 4), (uint64_t)c->remaining);
    p = str_put_u64(mempcpy(p, ";t=", 3), reset_s);
    http_add_field(r->ex, "ratelimit", str_of(start, (size_t)(p - start)));
}

void limits_reply_fields(struct request *r, const struct limit_check *c)
{
    if (c->binding) {
        add_state(r, c, seconds_up(c->reset_us));
        add_policy(r, c);
    }
}

/* RFC 6585 and the draft's problem: which policy was violated, by name. */
static void reply_too_many(struct request *r, const struct limit_check *c, const char *code)
{
    uint64_t retry_s = seconds_up(c->retry_us);
    add_state(r, c, retry_s);
    add_policy(r, c);
    http_reply_problem(
        r->ex, &(struct problem){
                   .code = code,
                   .detail = arena_printf(&r->ex->arena, "limit %s: try again in %llu s", c->binding->name,
                                          (unsigned long long)retry_s),
                   .retry_after_s = (uint32_t)(retry_s < UINT32_MAX ? retry_s : UINT32_MAX),
                   .extra = arena_printf(&r->ex->arena, "\"violated-policies\":[\"%s\"]", c->binding->name),
               });
}

void limits_reply_denied(struct request *r, const struct limit_check *c, bool is_sms)
{
    r->refused_by = c->binding ? c->binding->name : NULL;
    if (c->closed) {
        http_reply_problem(r->ex, &(struct problem){.code = "service_unavailable",
                                                    .detail = STR("limits cannot be counted at the moment"),
                                                    .retry_after_s = (uint32_t)seconds_up(c->retry_us)});
    } else if (c->retry_us == GCRA_NEVER) {
        http_reply_error(r->ex, "payload_too_large", "limit %s: one request may take at most %llu units",
                         c->binding->name, (unsigned long long)c->binding->gcra.burst);
    } else if (is_sms) {
        reply_too_many(r, c, "over_sms_send_rate_limit");
    } else if (r->ex->dialect == HTTP_DIALECT_OPENAI) {
        reply_too_many(r, c, "rate_limit_exceeded");
    } else {
        reply_too_many(r, c, "over_request_rate_limit");
    }
}
