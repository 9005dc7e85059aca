/* Exactness of the limiter: random traces against a bucket that counts, with three gateways whose clocks differ by up
 * to 10 s, a real Redis with a clock of ours, and gateways that die with units in hand.
 *
 * The model knows nothing of the script's arithmetic: for each key it keeps a leaky bucket in whole numbers (units
 * times period), filled by what was admitted. What a rule promises is a ceiling on that bucket:
 *     exact        burst
 *     leased       burst + rate * 1 s
 *     newcomers    burst + 2 units a gateway, and the bucket drains 1.1 times as fast
 * A refusal by Redis must be explained as well: some key's bucket would be over its burst, where units count too that
 * leases hold unused, and those of newcomers that were charged late.
 *
 * TIDE_LIMIT_TRACES=1000000 runs the long form (without it: 10000); TIDE_LIMIT_SEED chooses the traces. */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/loop.h"
#include "ratelimit/limiter_shared.h"
#include "ratelimit/scripts.h"
#include "tests/unit/redis_server.h"

enum { GATEWAYS = 3, SHORT_TRACE = 6, LONG_TRACE = 250, RULES = 6, SUBJECTS = 3, POINTS = 8 };

struct gateway {
    struct limiter_shared *shared;
    struct redis *redis;
    struct limiter *limiter;
    int64_t skew_ms;
};

struct bucket {
    int64_t level; /* units * period, admitted; drains at the rate (newcomers: 1.1 of it) */
    int64_t used;  /* the same with units lost by dead gateways; drains at 0.9 of the rate */
    int64_t at_us;
};

struct rig {
    struct redis_server server;
    struct loop *loop;
    struct arena arena;
    struct gateway gateways[GATEWAYS];
    struct limit_rules *rules;
    struct bucket buckets[RULES][SUBJECTS];
    uint64_t serial;   /* makes the subjects of a trace new ones */
    int64_t now_us;    /* Redis' clock: ours, without any gateway's skew; keys' TTL runs by the real one */
    int64_t offset_us; /* of it to the monotonic clock */
    uint32_t random;
    bool decided, clock_is_set;
    unsigned long traces, decisions, admitted, refused, leased, newcomers, deaths, over, unexplained;
};

/* Rules: exact ones, leased ones, newcomers; periods that the limit divides, so that one unit is whole microseconds. */
static const struct limit_row rows[RULES] = {
    {.name = "exact_fast",
     .by = "account",
     .at = "p0 p1 p3 p7",
     .limit = "100/1s",
     .burst = "7",
     .lease = "off"},
    {.name = "exact_slow",
     .by = "device",
     .at = "p0 p2 p3 p6",
     .limit = "5/1m",
     .burst = "5",
     .newcomers = "exact",
     .lease = "off"},
    {.name = "leased", .by = "account", .at = "p1 p4 p5 p7", .limit = "200/1s", .burst = "120"},
    {.name = "leased_wide", .by = "apikey", .at = "p2 p4 p6 p7", .limit = "1000/1s", .burst = "1000"},
    {.name = "newcomers", .by = "device", .at = "p3 p5 p6", .limit = "50/1s", .burst = "20", .lease = "off"},
    {.name = "newcomers_leased", .by = "device", .at = "p4 p7", .limit = "100/1s", .burst = "50"},
};

static uint32_t below(struct rig *rig, uint32_t n)
{
    rig->random = rig->random * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)(rig->random >> 8) * n) >> 24);
}

/* --- a Redis whose TIME is ours --------------------------------------------------------------------- */

static void replace(struct redis_script *s, const char *text, const char *with)
{
    struct buf out;
    const char *at = strstr(s->source.p, text);
    assert_non_null(at);
    buf_init(&out, 65536);
    buf_add(&out, s->source.p, (size_t)(at - s->source.p));
    buf_add_cstr(&out, with);
    buf_add_cstr(&out, at + strlen(text));
    s->source = buf_str(&out); /* kept for the life of the test */
}

/* Keys live a minute longer: their life runs by the real clock, which goes on while this process waits for a
 * processor between setting ours and the script. */
static void replace_time(struct redis_script *s)
{
    replace(s, "redis.call('TIME')", "redis.call('HMGET', 'clock', 's', 'us')");
    char *first = (char *)(uintptr_t)s->source.p;
    replace(s, "math.ceil((t_new[i] - now) / 1000)", "60000 + math.ceil((t_new[i] - now) / 1000)");
    free(first);
}

static void on_clock(void *arg, int rc, const struct redis_reply *reply)
{
    struct rig *rig = arg;
    assert_int_equal(rc, 0);
    rig->clock_is_set = true;
    loop_stop(rig->loop);
}

static void set_clock(struct rig *rig, struct redis *redis, struct redis_op *op)
{
    char s[24], us[24];
    rig->clock_is_set = false;
    snprintf(s, sizeof(s), "%lld", (long long)(rig->now_us / 1000000));
    snprintf(us, sizeof(us), "%lld", (long long)(rig->now_us % 1000000));
    struct str argv[] = {STR("HSET"), STR("clock"), STR("s"), str_from(s), STR("us"), str_from(us)};
    assert_int_equal(redis_command(redis, op, 6, argv, on_clock, rig), 0);
}

/* --- gateways --------------------------------------------------------------------------------------- */

static void gateway_live(struct rig *rig, struct gateway *g, const char *name)
{
    struct limiter_conf conf = limiter_conf_default;
    memcpy(conf.hash_key, "0123456789abcdef", 16);
    conf.newcomer_entries = conf.lease_entries = conf.local_entries = conf.deny_entries = 4096;
    g->shared = limiter_shared_new(&conf, name);
    atomic_store(&g->shared->gateways, GATEWAYS);
    if (!g->redis) {
        struct redis_conf rc = redis_conf_default;
        unsigned n = 0;
        struct redis_script *const *scripts = limiter_scripts(&n);
        rc.address = rig->server.address;
        rc.password_file = rig->server.password_file;
        rc.timeout_ms = 600000; /* the clocks jump */
        rc.stall_ms = 1200000;
        g->redis = redis_new(rig->loop, &rc, "limits", scripts, n, NULL);
    }
    struct redis *const roles[LIMIT_ROLES] = {g->redis, g->redis};
    g->limiter = limiter_new(rig->loop, g->shared, roles, false);
}

static void gateway_die(struct gateway *g)
{
    limiter_free(g->limiter);
    limiter_shared_free(g->shared);
}

static void on_tick(void *arg)
{
    loop_stop(((struct rig *)arg)->loop);
}

static void rig_open(struct rig *rig)
{
    static struct rig zero;
    struct err err = {0};
    *rig = zero;
    rig->loop = loop_new("test", 0);
    redis_server_open(&rig->server);
    replace_time(&limit_script_take);
    replace_time(&limit_script_reserve);
    arena_init(&rig->arena);
    rig->rules = limit_rules_new(rows, RULES, &err);
    assert_non_null(rig->rules);
    rig->offset_us = 1795000000000123 - (int64_t)clock_mono_us();
    for (int i = 0; i < GATEWAYS; i++) {
        gateway_live(rig, &rig->gateways[i], "g");
    }
    struct loop_timer tick;
    loop_timer_init(rig->loop, &tick, on_tick, rig);
    for (int i = 0; i < GATEWAYS; i++) {
        for (int k = 0; k < 2000 && !redis_is_ready(rig->gateways[i].redis); k++) {
            loop_timer_arm(&tick, 5);
            loop_run(rig->loop);
        }
        assert_true(redis_is_ready(rig->gateways[i].redis));
    }
    loop_timer_disarm(&tick);
}

static void rig_close(struct rig *rig)
{
    for (int i = 0; i < GATEWAYS; i++) {
        gateway_die(&rig->gateways[i]);
        redis_free(rig->gateways[i].redis);
    }
    limit_rules_unref(rig->rules);
    arena_clear(&rig->arena);
    loop_free(rig->loop);
    redis_server_close(&rig->server);
}

/* --- the model -------------------------------------------------------------------------------------- */

static bool is_leased(const struct limit_rule *r)
{
    return r->leases;
}

static struct bucket *bucket_at(struct rig *rig, const struct limit_rule *r, unsigned subject)
{
    unsigned i = 0;
    while (limit_rules_get(rig->rules, i) != r) {
        i++;
    }
    struct bucket *b = &rig->buckets[i][subject];
    int64_t drained = (rig->now_us - b->at_us) * (int64_t)r->gcra.limit;
    b->level -= r->newcomers ? drained * 11 / 10 : drained;
    b->used -= is_leased(r) ? drained * 9 / 10 : drained;
    b->level = b->level > 0 ? b->level : 0;
    b->used = b->used > 0 ? b->used : 0;
    b->at_us = rig->now_us;
    return b;
}

static int64_t ceiling(const struct limit_rule *r)
{
    const struct gcra *g = &r->gcra;
    int64_t units = (int64_t)g->burst + (r->newcomers ? NEWCOMER_FREE * GATEWAYS : 0);
    return units * (int64_t)g->period_us + (is_leased(r) ? (int64_t)g->limit * LEASE_TTL_US : 0);
}

/* Whether one more unit would not fit, counting what leases may hold unused. */
static bool is_full(struct rig *rig, const struct limit_rule *r, unsigned subject)
{
    const struct gcra *g = &r->gcra;
    int64_t spare = is_leased(r) ? (int64_t)(lease_size(g, GATEWAYS) * GATEWAYS) : 0;
    spare +=
        r->newcomers ? NEWCOMER_FREE * GATEWAYS : 0; /* charged when the third came, not when they came */
    int64_t more = (1 + spare) * (int64_t)g->period_us;
    return bucket_at(rig, r, subject)->used + more > (int64_t)g->burst * (int64_t)g->period_us;
}

static void admit(struct rig *rig, const struct limit_rule *r, unsigned subject)
{
    struct bucket *b = bucket_at(rig, r, subject);
    b->level += (int64_t)r->gcra.period_us;
    b->used += (int64_t)r->gcra.period_us;
    if (b->level > ceiling(r)) {
        rig->over++;
        print_error("over: rule %s holds %lld of %lld, trace %lu\n", r->name, (long long)b->level,
                    (long long)ceiling(r), rig->traces);
    }
}

static void death_strands(struct rig *rig)
{
    for (unsigned i = 0; i < limit_rules_count(rig->rules); i++) {
        const struct limit_rule *r = limit_rules_get(rig->rules, i);
        for (unsigned s = 0; s < SUBJECTS && is_leased(r); s++) {
            bucket_at(rig, r, s)->used += (int64_t)(lease_size(&r->gcra, GATEWAYS) * r->gcra.period_us);
        }
    }
}

/* --- traces ----------------------------------------------------------------------------------------- */

static void on_decided(void *arg, struct limit_check *c)
{
    struct rig *rig = arg;
    rig->decided = true;
    loop_stop(rig->loop);
}

static void judge(struct rig *rig, const struct limit_check *c, const struct limit_set *set, unsigned subject)
{
    rig->decisions++;
    assert_false(c->fallback);
    if (!c->denied) {
        rig->admitted++;
        for (unsigned i = 0; i < c->count; i++) {
            rig->leased += c->keys[i].charge == LIMIT_CHARGE_LEASE;
            rig->newcomers += c->keys[i].charge == LIMIT_CHARGE_NEWCOMER;
            admit(rig, c->keys[i].rule, subject);
        }
        return;
    }
    rig->refused++;
    bool explained = c->cached; /* repeats one that was explained */
    for (unsigned i = 0; i < set->count; i++) {
        explained = explained || is_full(rig, set->rules[i], subject);
    }
    if (!explained) {
        rig->unexplained++;
        print_error("refused without need by %s, trace %lu\n", c->binding->name, rig->traces);
    }
}

static void decide(struct rig *rig, unsigned point, unsigned subject)
{
    char at[8], who[48];
    snprintf(at, sizeof(at), "p%u", point);
    snprintf(who, sizeof(who), "%llu/%u", (unsigned long long)rig->serial, subject);
    struct gateway *g = &rig->gateways[below(rig, GATEWAYS)];
    const struct limit_set *set = limit_rules_at(rig->rules, str_from(at));
    struct limit_subject s = {.by = {[LIMIT_BY_ACCOUNT] = str_from(who),
                                     [LIMIT_BY_DEVICE] = str_from(who),
                                     [LIMIT_BY_APIKEY] = str_from(who)}};
    struct limit_check c;
    struct redis_op clock_op;
    rig->now_us = (int64_t)clock_mono_us() + rig->offset_us;
    clock_test_advance_ms(g->skew_ms);
    set_clock(rig, g->redis, &clock_op);
    rig->decided = limiter_check(g->limiter, &c, set, &s, &rig->arena, on_decided, rig);
    while (!rig->decided || !rig->clock_is_set) {
        loop_run(rig->loop);
    }
    clock_test_advance_ms(-g->skew_ms);
    judge(rig, &c, set, subject);
    limiter_forget(&c);
}

static void trace(struct rig *rig)
{
    bool is_long = below(rig, 50) == 0; /* long enough for leases */
    unsigned n = is_long ? LONG_TRACE : SHORT_TRACE;
    unsigned subjects = is_long ? 1 : SUBJECTS;
    unsigned fixed = below(rig, POINTS);
    rig->traces++;
    rig->serial++;
    rig->now_us = (int64_t)clock_mono_us() + rig->offset_us;
    for (int i = 0; i < RULES * SUBJECTS; i++) {
        rig->buckets[i / SUBJECTS][i % SUBJECTS] = (struct bucket){.at_us = rig->now_us};
    }
    for (int i = 0; i < GATEWAYS; i++) {
        rig->gateways[i].skew_ms = (int64_t)below(rig, 20001) - 10000;
    }
    for (unsigned i = 0; i < n; i++) {
        decide(rig, is_long && below(rig, 4) ? fixed : below(rig, POINTS), below(rig, subjects));
        uint32_t dice = below(rig, 100);
        clock_test_advance_ms(dice < 50   ? 0
                              : dice < 95 ? below(rig, 12)
                              : dice < 99 ? below(rig, 200)
                                          : below(rig, 3000));
        if (is_long && below(rig, 300) == 0) {
            struct gateway *g = &rig->gateways[below(rig, GATEWAYS)];
            gateway_die(g);
            gateway_live(rig, g, "g");
            death_strands(rig);
            rig->deaths++;
        }
    }
    arena_clear(&rig->arena);
}

static void no_trace_lets_too_much_pass(void **state)
{
    static struct rig rig;
    const char *wanted = getenv("TIDE_LIMIT_TRACES");
    const char *seed = getenv("TIDE_LIMIT_SEED");
    unsigned long n = wanted ? strtoul(wanted, NULL, 10) : 10000;
    rig_open(&rig);
    rig.random = seed ? (uint32_t)strtoul(seed, NULL, 10) : 7;
    while (rig.traces < n && rig.over + rig.unexplained < 10) {
        trace(&rig);
    }
    print_message(
        "%lu traces, %lu decisions: %lu admitted, %lu refused, %lu keys by lease, %lu as newcomers, %lu "
        "gateways died; too many admitted: %lu, refused without need: %lu\n",
        rig.traces, rig.decisions, rig.admitted, rig.refused, rig.leased, rig.newcomers, rig.deaths, rig.over,
        rig.unexplained);
    assert_int_equal(rig.over, 0);
    assert_int_equal(rig.unexplained, 0);
    /* every path was walked */
    assert_true(rig.refused > n / 2 && rig.leased > n / 2 && rig.newcomers > n / 2);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_trace_lets_too_much_pass)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
