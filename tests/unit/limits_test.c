/* Limits of a request and of a loop, against a real Redis: one server, as limits and, by a connection of its own, as ledger. */
#include "tests/unit/unit.h"

#include "base/http/exchange.h"
#include "gateway/config.h"
#include "gateway/limits.h"
#include "gateway/limits_inner.h"
#include "tests/unit/redis_server.h"

static const struct limit_row rows[] = {
    {.name = "at_once", .by = "all", .at = "invite", .limit = "1", .unit = "concurrent", .role = "ledger"},
    {.name = "often", .by = "all", .at = "sms", .limit = "100/1h", .role = "ledger"},
};

struct rig {
    struct redis_server server;
    struct redis_conf redis;
    struct gateway_settings set;
    struct gateway_config conf;
    struct gateway gateway;
    struct gateway_loop gl;
    struct limits limits;
    struct loop_timer timer;
    unsigned answers;
    enum limits_verdict verdict;
    struct redis_op op, next_op;
};

static void on_timer(void *loop)
{
    loop_stop(loop);
}

static void turn(struct rig *r)
{
    loop_timer_arm(&r->timer, 1);
    loop_run(r->gl.loop);
}

static int rig_open(void **state)
{
    static struct rig rig;
    struct rig *r = &rig;
    struct err err = {0};
    redis_server_open(&r->server);
    r->redis = redis_conf_default;
    r->redis.address = r->server.address;
    r->redis.password_file = r->server.password_file;
    r->redis.timeout_ms = 20000; /* a busy machine must not fail the test */
    r->redis.stall_ms = 20000;
    r->set.limits.redis = r->set.limits.ledger = &r->redis;
    r->conf.set = &r->set;
    r->conf.limits = limit_rules_new(rows, sizeof rows / sizeof *rows, &err);
    assert_non_null(r->conf.limits);
    r->limits.shared = limiter_shared_new(&limiter_conf_default, "gateway-a");
    r->gateway.limits = &r->limits;
    r->gl = (struct gateway_loop){.gateway = &r->gateway, .conf = &r->conf, .loop = loop_new("test", 1)};
    loop_timer_init(r->gl.loop, &r->timer, on_timer, r->gl.loop);
    assert_int_equal(limits_loop_open(&r->gl, &err), 0);
    for (int i = 0; i < 30000 && !limits_redis_is_ready(&r->gl); i++) {
        turn(r);
    }
    assert_true(limits_redis_is_ready(&r->gl));
    *state = r;
    return 0;
}

static int rig_close(void **state)
{
    struct rig *r = *state;
    limits_loop_close(&r->gl);
    loop_timer_disarm(&r->timer);
    loop_free(r->gl.loop);
    limiter_shared_free(r->limits.shared);
    limit_rules_unref(r->conf.limits);
    redis_server_close(&r->server);
    return 0;
}

static void on_decided(struct request *request, void *arg, enum limits_verdict v)
{
    struct rig *r = arg;
    r->answers++;
    r->verdict = v;
}

static enum limits_verdict asked(struct rig *r, struct request *request, const char *event)
{
    unsigned before = r->answers;
    limits_more(request, event, NULL, on_decided, r);
    for (int i = 0; i < 30000 && r->answers == before; i++) {
        turn(r);
    }
    assert_int_equal(r->answers, before + 1);
    return r->verdict;
}

/* A place at one event is free again when the request comes to its next event. */
static void a_second_event_ends_what_ran_at_the_first(void **state)
{
    struct rig *r = *state;
    const struct route route = {.name = "otp"};
    for (int i = 0; i < 3; i++) {
        struct http_exchange ex = {.method_text = STR("POST")};
        struct request request = {.ex = &ex, .gl = &r->gl, .conf = &r->conf, .route = &route};
        arena_init(&ex.arena);
        assert_int_equal(asked(r, &request, "invite"), LIMITS_PASS);
        assert_int_equal(asked(r, &request, "sms"), LIMITS_PASS);
        limits_settle(&request);
        arena_clear(&ex.arena);
    }
}

static void on_next(void *arg, int rc, const struct redis_reply *reply)
{
    ((struct rig *)arg)->answers++;
    assert_int_not_equal(rc, 0);
}

/* As the report of SMS costs does it: the limits' answer, then a question to the ledger. */
static void on_first(void *arg, int rc, const struct redis_reply *reply)
{
    struct rig *r = arg;
    struct str ping[] = {STR("PING")};
    assert_int_not_equal(rc, 0);
    r->answers++;
    if (redis_command(limits_ledger(&r->gl), &r->next_op, 1, ping, on_next, r) != 0) {
        r->answers++;
    }
}

static void at_the_end_a_question_may_go_on_to_the_ledger(void **state)
{
    struct rig *r = *state;
    struct str ping[] = {STR("PING")};
    unsigned before = r->answers;
    assert_int_equal(redis_command(limits_redis(&r->gl), &r->op, 1, ping, on_first, r), 0);
    limits_loop_close(&r->gl);
    assert_int_equal(r->answers, before + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_event_ends_what_ran_at_the_first),
        cmocka_unit_test(at_the_end_a_question_may_go_on_to_the_ledger),
    };
    return cmocka_run_group_tests(tests, rig_open, rig_close);
}
