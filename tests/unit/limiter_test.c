/* The limiter against a real Redis, compared step by step with the arithmetic of gcra.h. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/loop.h"
#include "ratelimit/limiter.h"
#include "ratelimit/scripts.h"
#include "tests/unit/redis_server.h"

struct rig {
    struct redis_server server;
    struct loop *loop;
    struct limiter_shared *shared;
    struct redis *redis[LIMIT_ROLES];
    struct limiter *limiter;
    struct limit_rules *rules;
    struct loop_timer timer;
    struct arena arena;
    unsigned answers;
    char text[64];
    int64_t integer;
};

static void on_timer(void *arg)
{
    loop_stop(((struct rig *)arg)->loop);
}

static void run_ms(struct rig *rig, uint64_t ms)
{
    loop_timer_arm(&rig->timer, ms);
    loop_run(rig->loop);
}

static void wait_ready(struct rig *rig)
{
    for (int i = 0; i < 2000 && !(redis_is_ready(rig->redis[0]) && redis_is_ready(rig->redis[1])); i++) {
        run_ms(rig, 5);
    }
    assert_true(redis_is_ready(rig->redis[0]) && redis_is_ready(rig->redis[1]));
}

static struct redis *connect_to(struct rig *rig, const struct redis_server *server, const char *role)
{
    struct redis_conf conf = redis_conf_default;
    unsigned n = 0;
    struct redis_script *const *scripts = limiter_scripts(&n);
    conf.address = server->address;
    conf.password_file = server->password_file;
    conf.timeout_ms = 5000; /* a busy machine must not fail the test */
    conf.stall_ms = 20000;
    return redis_new(rig->loop, &conf, role, scripts, n, NULL);
}

static void rig_open(struct rig *rig, const struct limit_row *rows, unsigned count, bool beats)
{
    struct err err = {0};
    struct limiter_conf conf = limiter_conf_default;
    memcpy(conf.hash_key, "0123456789abcdef", 16);
    *rig = (struct rig){.loop = loop_new("test", 0)};
    redis_server_open(&rig->server);
    loop_timer_init(rig->loop, &rig->timer, on_timer, rig);
    arena_init(&rig->arena);
    rig->rules = limit_rules_new(rows, count, &err);
    assert_non_null(rig->rules);
    rig->shared = limiter_shared_new(&conf, "gateway-a");
    rig->redis[0] = rig->redis[1] = connect_to(rig, &rig->server, "limits");
    rig->limiter = limiter_new(rig->loop, rig->shared, rig->redis, beats);
    wait_ready(rig);
}

static void rig_close(struct rig *rig)
{
    limiter_free(rig->limiter);
    if (rig->redis[1] != rig->redis[0]) {
        redis_free(rig->redis[1]);
    }
    redis_free(rig->redis[0]);
    limiter_shared_free(rig->shared);
    limit_rules_unref(rig->rules);
    arena_clear(&rig->arena);
    loop_timer_disarm(&rig->timer);
    loop_free(rig->loop);
    redis_server_close(&rig->server);
}

static void on_decided(void *arg, struct limit_check *c)
{
    struct rig *rig = arg;
    rig->answers++;
    loop_stop(rig->loop);
}

static void on_reply(void *arg, int rc, const struct redis_reply *reply)
{
    struct rig *rig = arg;
    assert_int_equal(rc, 0);
    rig->answers++;
    rig->integer = reply->integer;
    snprintf(rig->text, sizeof(rig->text), STR_FMT, STR_ARG(reply->text));
}

static void wait_answer(struct rig *rig, unsigned n)
{
    for (int i = 0; i < 20000 && rig->answers < n; i++) {
        run_ms(rig, 1);
    }
    assert_int_equal(rig->answers, n);
}

static void command(struct rig *rig, struct redis *redis, unsigned argc, const struct str *argv)
{
    struct redis_op op;
    unsigned n = rig->answers;
    assert_int_equal(redis_command(redis, &op, argc, argv, on_reply, rig), 0);
    wait_answer(rig, n + 1);
}

static void check(struct rig *rig, struct limit_check *c, const struct limit_set *set,
                  const struct limit_subject *who)
{
    unsigned n = rig->answers;
    if (!limiter_check(rig->limiter, c, set, who, &rig->arena, on_decided, rig)) {
        wait_answer(rig, n + 1);
    }
}

static struct limit_subject subject(const char *address, const char *device, const char *account)
{
    struct limit_subject s = {0};
    for (int i = 0; i < LIMIT_DIMENSIONS; i++) {
        s.by[i] = STR("");
    }
    if (address) {
        assert_true(addr_parse(str_from(address), &s.address));
    }
    s.by[LIMIT_BY_DEVICE] = str_from(device);
    s.by[LIMIT_BY_ACCOUNT] = str_from(account);
    return s;
}

static const struct limit_row rows[] = {
    {.name = "wide", .by = "address", .limit = "100/1s", .burst = "40", .newcomers = "exact"},
    {.name = "narrow", .by = "device", .at = "x", .limit = "1/1h", .burst = "3"},
    {.name = "shade", .by = "address", .at = "x", .limit = "1/1h", .burst = "1", .shadow = true},
    {.name = "sms", .by = "device", .at = "sms", .limit = "5/1h", .on_error = "closed", .role = "ledger"},
    {.name = "free", .by = "device", .at = "open", .limit = "1/1h", .on_error = "open"},
    {.name = "tokens", .by = "account", .at = "chat", .limit = "1000/1h", .unit = "tokens"},
    {.name = "six", .by = "address", .address = "6", .at = "six", .limit = "2/1h"},
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static void all_or_nothing_and_the_binding_rule(void **state)
{
    struct rig rig;
    struct limit_check c;
    rig_open(&rig, rows, ROWS, false);
    const struct limit_set *set = limit_rules_at(rig.rules, STR("x"));
    struct limit_subject who = subject("192.0.2.1", "dev", NULL);
    for (unsigned i = 0; i < 3; i++) {
        check(&rig, &c, set, &who);
        assert_false(c.denied);
        assert_string_equal(c.binding->name, "narrow");
        assert_int_equal(c.remaining, 2 - i);
        assert_false(c.fallback);
    }
    check(&rig, &c, set, &who);
    assert_true(c.denied);
    assert_false(c.cached);
    assert_string_equal(c.binding->name, "narrow");
    assert_in_range(c.retry_us, 3500ll * 1000000, 3600ll * 1000000);
    for (int i = 0; i < 50; i++) {
        check(&rig, &c, set, &who); /* from the deny cache, and they charge nobody */
        assert_true(c.denied && c.cached);
        assert_in_range(c.retry_us, 3500ll * 1000000, 3600ll * 1000000);
    }
    /* another device of the same address: "wide" was charged three times only */
    who = subject("192.0.2.1", NULL, NULL);
    check(&rig, &c, set, &who);
    assert_false(c.denied);
    assert_in_range(c.remaining, 36, 39);
    rig_close(&rig);
}

/* A refusal neither takes from the rules that would have let pass, nor gives them back what was never taken. */
/* All of them with something to say: the command has a hundred parts. */
static void a_point_may_have_as_many_rules_as_it_may(void **state)
{
    struct rig rig;
    struct limit_row many[LIMIT_AT_MAX];
    char names[LIMIT_AT_MAX][16];
    struct limit_subject who = subject("192.0.2.1", "d", "a");
    for (unsigned n = LIMIT_AT_MAX - 1; n <= LIMIT_AT_MAX; n++) {
        for (unsigned i = 0; i < n; i++) {
            snprintf(names[i], sizeof(names[i]), "r%u", i);
            many[i] = (struct limit_row){.name = names[i], .by = "account", .limit = "2/1h", .lease = "off"};
        }
        rig_open(&rig, many, n, false);
        const struct limit_set *set = limit_rules_at(rig.rules, STR("chat"));
        for (unsigned i = 0; i < 3; i++) {
            struct limit_check c;
            check(&rig, &c, set, &who);
            assert_int_equal(c.count, n);
            assert_false(c.fallback);
            assert_int_equal(c.denied, i == 2);
            limiter_forget(&c);
        }
        rig_close(&rig);
    }
}

static void a_refusal_changes_nothing(void **state)
{
    static const struct limit_row two[] = {
        {.name = "tight", .by = "device", .at = "z", .limit = "1/1h"},
        {.name = "loose", .by = "account", .at = "z", .limit = "10/1h"},
    };
    struct rig rig;
    struct limit_check c;
    rig_open(&rig, two, 2, false);
    const struct limit_set *set = limit_rules_at(rig.rules, STR("z"));
    const char *const devices[] = {"a", "a", "b", "b", "c", "c"}; /* each second one is refused */
    for (int i = 0; i < 6; i++) {
        struct limit_subject who = subject(NULL, devices[i], "user");
        check(&rig, &c, set, &who);
        assert_int_equal(c.denied, i % 2);
        run_ms(&rig, 5); /* whatever might be sent afterwards */
    }
    struct limit_subject who = subject(NULL, NULL, "user");
    check(&rig, &c, set, &who);
    assert_string_equal(c.binding->name, "loose");
    assert_int_equal(c.remaining, 6);
    rig_close(&rig);
}

static void addresses_count_as_prefixes_of_their_family(void **state)
{
    struct rig rig;
    struct limit_check c;
    rig_open(&rig, rows, ROWS, false);
    const struct limit_set *set = limit_rules_at_event(rig.rules, STR("six"));
    struct limit_subject who = subject("2001:db8:1:2::1", NULL, NULL);
    check(&rig, &c, set, &who);
    assert_false(c.denied);
    who = subject("2001:db8:1:2:ffff::9", NULL, NULL);
    check(&rig, &c, set, &who);
    assert_int_equal(c.remaining, 0);
    who = subject("2001:db8:1:2:aaaa::7", NULL, NULL);
    check(&rig, &c, set, &who);
    assert_true(c.denied);
    assert_true(limiter_denied_locally(rig.limiter, &c, set, &who, &rig.arena));
    who = subject("2001:db8:1:3::1", NULL, NULL);
    check(&rig, &c, set, &who);
    assert_false(c.denied);
    assert_false(limiter_denied_locally(rig.limiter, &c, set, &who, &rig.arena));
    who = subject("192.0.2.1", NULL, NULL);
    check(&rig, &c, set, &who);
    assert_null(c.binding); /* not of this family: no rule applies */
    rig_close(&rig);
}

/* Redis holds names of rules and hashes, and no more. */
static void keys_tell_nothing(void **state)
{
    struct rig rig;
    struct limit_check c;
    rig_open(&rig, rows, ROWS, false);
    struct limit_subject who = subject(NULL, "+8613800138000", NULL);
    check(&rig, &c, limit_rules_at_event(rig.rules, STR("sms")), &who);
    struct str argv[] = {STR("RANDOMKEY")};
    command(&rig, rig.redis[0], 1, argv);
    assert_memory_equal(rig.text, "rl:sms:", 7);
    assert_int_equal(strlen(rig.text), 7 + 32);
    assert_null(strstr(rig.text, "138"));
    rig_close(&rig);
}

static void tokens_are_settled(void **state)
{
    struct rig rig;
    struct limit_check c;
    rig_open(&rig, rows, ROWS, false);
    const struct limit_set *set = limit_rules_at_event(rig.rules, STR("chat"));
    struct limit_subject who = subject(NULL, NULL, "user");
    who.tokens = 600;
    check(&rig, &c, set, &who);
    assert_false(c.denied);
    assert_int_equal(c.remaining, 400);
    limiter_settle(&c, 100); /* used less */
    limiter_settle(&c, 100); /* once only */
    run_ms(&rig, 50);
    who.tokens = 900;
    check(&rig, &c, set, &who);
    assert_false(c.denied);
    limiter_settle(&c, 1500); /* used more: a debt of at most one burst */
    run_ms(&rig, 50);
    who.tokens = 1;
    check(&rig, &c, set, &who);
    assert_true(c.denied);
    assert_in_range(c.retry_us, 2100ll * 1000000, 2200ll * 1000000); /* 601 tokens at 1000 an hour */
    who.tokens = 1001;
    check(&rig, &c, set, &who);
    assert_int_equal(c.retry_us, GCRA_NEVER);
    who.tokens = 0;
    check(&rig, &c, set, &who);
    assert_null(c.binding);
    rig_close(&rig);
}

static void give_back_undoes(void **state)
{
    struct rig rig;
    struct limit_check c;
    rig_open(&rig, rows, ROWS, false);
    const struct limit_set *set = limit_rules_at_event(rig.rules, STR("sms"));
    struct limit_subject who = subject(NULL, "dev", NULL);
    for (int i = 0; i < 20; i++) {
        check(&rig, &c, set, &who);
        assert_false(c.denied);
        assert_int_equal(c.remaining, 4);
        limiter_give_back(&c);
        limiter_give_back(&c);
        run_ms(&rig, 2);
    }
    rig_close(&rig);
}

/* Redis away: local keeps its share, open passes, closed refuses; all at once, and back when it is back. */
static void each_rule_has_its_way_without_redis(void **state)
{
    struct rig rig;
    struct limit_check c;
    rig_open(&rig, rows, ROWS, false);
    struct limit_subject who = subject("192.0.2.7", "dev", NULL);
    redis_server_signal(&rig.server, SIGKILL);
    run_ms(&rig, 50);
    int passed = 0;
    for (int i = 0; i < 60; i++) {
        check(&rig, &c, limit_rules_at(rig.rules, STR("y")), &who);
        assert_true(c.fallback);
        passed += !c.denied;
    }
    assert_in_range(passed, 40, 55); /* burst 40, and what the rate gave meanwhile */
    check(&rig, &c, limit_rules_at_event(rig.rules, STR("open")), &who);
    assert_false(c.denied);
    check(&rig, &c, limit_rules_at_event(rig.rules, STR("open")), &who);
    assert_false(c.denied);
    check(&rig, &c, limit_rules_at_event(rig.rules, STR("sms")), &who);
    assert_true(c.denied && c.closed);
    assert_true(c.retry_us > 0);
    redis_server_start(&rig.server);
    uint64_t began = clock_mono_ms();
    wait_ready(&rig);
    assert_in_range(clock_mono_ms() - began, 0, 2000);
    check(&rig, &c, limit_rules_at_event(rig.rules, STR("sms")), &who);
    assert_false(c.denied || c.fallback);
    rig_close(&rig);
}

/* limits and ledger on two servers: a denial by one gives back what the other took. */
static void two_servers_refund_each_other(void **state)
{
    static const struct limit_row two[] = {
        {.name = "l", .by = "device", .at = "z", .limit = "10/1h", .newcomers = "exact"},
        {.name = "m", .by = "device", .at = "z", .limit = "2/1h", .role = "ledger"},
    };
    struct rig rig;
    struct limit_check c;
    struct redis_server second;
    rig_open(&rig, two, 2, false);
    redis_server_open(&second);
    limiter_free(rig.limiter);
    rig.redis[1] = connect_to(&rig, &second, "ledger");
    rig.limiter = limiter_new(rig.loop, rig.shared, rig.redis, false);
    wait_ready(&rig);
    struct limit_subject who = subject(NULL, "dev", NULL);
    const struct limit_set *set = limit_rules_at(rig.rules, STR("z"));
    for (int i = 0; i < 6; i++) {
        check(&rig, &c, set, &who);
        assert_int_equal(c.denied, i >= 2);
        run_ms(&rig, 2);
    }
    /* the first rule was charged for the two that passed, the four refusals were given back */
    struct str argv[] = {STR("EVAL"), STR("return redis.call('PTTL', redis.call('RANDOMKEY'))"), STR("0")};
    command(&rig, rig.redis[0], 3, argv);
    assert_in_range(rig.integer, 700 * 1000, 720 * 1000);
    rig_close(&rig);
    redis_server_close(&second);
}

static void a_forgotten_check_is_not_called(void **state)
{
    struct rig rig;
    rig_open(&rig, rows, ROWS, false);
    struct limit_check *c = malloc(sizeof(*c));
    struct limit_subject who = subject("192.0.2.7", "dev", NULL);
    assert_false(limiter_check(rig.limiter, c, limit_rules_at(rig.rules, STR("x")), &who, &rig.arena,
                               on_decided, &rig));
    limiter_forget(c);
    free(c);
    run_ms(&rig, 50);
    assert_int_equal(rig.answers, 0);
    rig_close(&rig);
}

static void gateways_are_counted_by_heartbeat(void **state)
{
    struct rig rig;
    rig_open(&rig, rows, ROWS, true);
    struct str argv[] = {STR("EVAL"),        limit_script_beat.source, STR("1"),
                         STR("rl:gateways"), STR("gateway-b"),         STR("9000")};
    command(&rig, rig.redis[0], 6, argv);
    for (int i = 0; i < 1000 && limiter_gateways(rig.shared) != 2; i++) {
        run_ms(&rig, 10);
    }
    assert_int_equal(limiter_gateways(rig.shared), 2);
    rig_close(&rig);
}

/* The script with a clock of our own: the same text, TIME replaced, against gcra_step for each key. */
enum { MODEL_KEYS = 4, MODEL_STEPS = 10000 };

static void model_text(struct buf *out)
{
    const char *source = limit_script_take.source.p;
    const char *time = strstr(source, "redis.call('TIME')");
    assert_non_null(time);
    buf_add(out, source, (size_t)(time - source));
    buf_add_cstr(out, "{redis.call('GET', 'clock_s'), redis.call('GET', 'clock_us')}");
    buf_add_cstr(out, time + strlen("redis.call('TIME')"));
}

struct model_answer {
    struct loop *loop;
    int64_t d[MODEL_KEYS + 1]; /* allowed, then distances */
    bool done;
};

static void on_model(void *arg, int rc, const struct redis_reply *reply)
{
    struct model_answer *a = arg;
    assert_int_equal(rc, 0);
    assert_int_equal(reply->count, MODEL_KEYS + 1);
    const struct redis_reply *item = reply->items;
    for (int i = 0; i <= MODEL_KEYS; i++, item = item->next) {
        a->d[i] = item->integer;
    }
    a->done = true;
    loop_stop(a->loop);
}

static void set_clock(struct rig *rig, struct redis_op *op, int64_t now)
{
    char s[24], us[24];
    snprintf(s, sizeof(s), "%lld", (long long)(now / 1000000));
    snprintf(us, sizeof(us), "%lld", (long long)(now % 1000000));
    struct str argv[] = {STR("MSET"), STR("clock_s"), str_from(s), STR("clock_us"), str_from(us)};
    assert_int_equal(redis_command(rig->redis[0], op, 5, argv, on_reply, rig), 0);
}

static void script_equals_the_model(void **state)
{
    struct rig rig;
    struct buf text;
    rig_open(&rig, rows, ROWS, false);
    buf_init(&text, 8192);
    model_text(&text);
    srand(11);
    struct gcra rules[MODEL_KEYS];
    int64_t t[MODEL_KEYS] = {0};
    for (int k = 0; k < MODEL_KEYS; k++) {
        uint64_t limit = 1 + (uint64_t)rand() % 9000000;
        assert_true(gcra_init(&rules[k], limit, 86400ull * 1000000, 1 + limit / (uint64_t)(2 + rand() % 1000),
                              limit / 7));
    }
    int64_t now = 1795000000000123; /* 16 digits: "%.14g" would lose the microseconds */
    int denials = 0;
    for (int step = 0; step < MODEL_STEPS; step++) {
        int64_t pause = rand() % 5 ? rand() % 2000000 : (int64_t)(rand() % 1000) * 1000000;
        now += rand() % 50 ? pause : -pause; /* now and then the clock steps back */
        int enforced = rand() % (MODEL_KEYS + 1);
        char num[MODEL_KEYS * 3][24];
        struct str argv[4 + MODEL_KEYS * 4] = {STR("EVAL"), buf_str(&text), STR("4"), STR("a"),
                                               STR("b"),    STR("c"),       STR("d")};
        argv[7] = str_of(&"01234"[enforced], 1);
        int64_t inc[MODEL_KEYS];
        for (int k = 0; k < MODEL_KEYS; k++) {
            inc[k] = gcra_inc_us(&rules[k], (uint64_t)rand() % (rules[k].burst + 2));
            if (rand() % 3 == 0 && t[k] > now && t[k] - now < rules[k].tau_us) {
                inc[k] = rules[k].tau_us - (t[k] - now) + rand() % 2; /* exactly full, or 1 us too much */
            }
            snprintf(num[3 * k], 24, "%lld", (long long)inc[k]);
            snprintf(num[3 * k + 1], 24, "%lld", (long long)rules[k].tau_us);
            snprintf(num[3 * k + 2], 24, "%lld", (long long)rules[k].cap_us);
            for (int i = 0; i < 3; i++) {
                argv[8 + 3 * k + i] = str_from(num[3 * k + i]);
            }
        }
        struct redis_op clock_op, op;
        struct model_answer got = {.loop = rig.loop};
        set_clock(&rig, &clock_op, now);
        assert_int_equal(redis_command(rig.redis[0], &op, 4 + MODEL_KEYS * 4, argv, on_model, &got), 0);
        while (!got.done) {
            run_ms(&rig, 1000);
        }
        int64_t next[MODEL_KEYS];
        bool allowed = true;
        for (int k = 0; k < MODEL_KEYS; k++) {
            next[k] = t[k];
            int64_t d = gcra_step(&rules[k], &next[k], now, inc[k]);
            assert_int_equal(got.d[k + 1], d);
            allowed = allowed && (k >= enforced || gcra_allows(&rules[k], d));
        }
        assert_int_equal(got.d[0], allowed);
        denials += !allowed;
        if (allowed) {
            memcpy(t, next, sizeof(t));
        }
    }
    assert_in_range(denials, MODEL_STEPS / 20, MODEL_STEPS - MODEL_STEPS / 20); /* both sides were met */
    buf_clear(&text);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_or_nothing_and_the_binding_rule),
        cmocka_unit_test(a_point_may_have_as_many_rules_as_it_may),
        cmocka_unit_test(a_refusal_changes_nothing),
        cmocka_unit_test(addresses_count_as_prefixes_of_their_family),
        cmocka_unit_test(keys_tell_nothing),
        cmocka_unit_test(tokens_are_settled),
        cmocka_unit_test(give_back_undoes),
        cmocka_unit_test(each_rule_has_its_way_without_redis),
        cmocka_unit_test(two_servers_refund_each_other),
        cmocka_unit_test(a_forgotten_check_is_not_called),
        cmocka_unit_test(gateways_are_counted_by_heartbeat),
        cmocka_unit_test(script_equals_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
