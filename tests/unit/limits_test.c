/* Limits of a request and of a loop, against a real Redis: one server, as limits and, by a connection of its own, as ledger. */
#include "tests/unit/unit.h"

#include "base/http/exchange.h"
#include "gateway/config.h"
#include "gateway/limits.h"
#include "gateway/limits_inner.h"
#include "gateway/sms.h"
#include "tests/unit/redis_server.h"

static const struct limit_row rows[] = {
    {.name = "at_once", .by = "all", .at = "invite", .limit = "1", .unit = "concurrent", .role = "ledger"},
    {.name = "often", .by = "all", .at = "sms", .limit = "2/1h", .role = "ledger"},
    {.name = "number", .by = "phone", .at = "sms", .limit = "3/1h", .role = "ledger", .newcomers = "exact"},
};
static const struct str number = STR_INIT("+8613800138000");
static const struct str prefix = STR_INIT("+86138");

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
    int64_t sent; /* codes to the prefix, as the guard counts them */
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
    r->conf.refs = 1; /* its own */
    r->conf.set = &r->set;
    r->set.sms.guard = (struct sms_guard_conf){
        .window_ms = 3600000, .grace_ms = 600000, .sends = 100, .percent = 1, .block_ms = 60000};
    r->conf.limits = limit_rules_new(rows, sizeof rows / sizeof *rows, &err);
    assert_non_null(r->conf.limits);
    struct limiter_conf limiter = limiter_conf_default;
    limiter.deny_max_ms = 0; /* each refusal is Redis' own */
    r->limits.shared = limiter_shared_new(&limiter, "gateway-a");
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

static void wait_answers(struct rig *r, unsigned wanted)
{
    for (int i = 0; i < 30000 && r->answers < wanted; i++) {
        turn(r);
    }
    assert_int_equal(r->answers, wanted);
}

static enum limits_verdict asked(struct rig *r, struct request *request, const char *event)
{
    unsigned before = r->answers;
    limits_more(request, event, NULL, on_decided, r);
    wait_answers(r, before + 1);
    return r->verdict;
}

/* A request for a code, until it ends. */
struct code {
    struct http_exchange ex;
    struct request request;
};

static void code_begin(struct rig *r, struct code *c, struct str phone)
{
    static const struct route route = {.name = "otp"};
    const struct limits_keys keys = {.phone = phone};
    *c = (struct code){.ex = {.method_text = STR("POST")},
                       .request = {.ex = &c->ex, .gl = &r->gl, .conf = &r->conf, .route = &route}};
    arena_init(&c->ex.arena);
    limits_more(&c->request, "sms", &keys, on_decided, r);
}

static void code_end(struct code *c)
{
    limits_settle(&c->request);
    sms_forget(&c->request);
    arena_clear(&c->ex.arena);
}

static enum limits_verdict code_asked(struct rig *r, struct code *c, struct str phone)
{
    unsigned before = r->answers;
    code_begin(r, c, phone);
    wait_answers(r, before + 1);
    return r->verdict;
}

/* Redis keeps its answer until the client has hung up. */
static void code_hangs_up_early(struct rig *r, struct str phone)
{
    unsigned before = r->answers;
    struct code c;
    redis_server_signal(&r->server, SIGSTOP);
    code_begin(r, &c, phone);
    code_end(&c);
    redis_server_signal(&r->server, SIGCONT);
    for (int i = 0; i < 30000 && r->gl.limits->left; i++) {
        turn(r);
    }
    assert_null(r->gl.limits->left);
    assert_int_equal(r->answers, before); /* nobody was told */
}

/* Two codes an hour: of these one goes out, and however many hang up, there is room for one more, and for no third. */
static void who_hangs_up_costs_nothing_that_many_share(void **state)
{
    struct rig *r = *state;
    struct limits_taken *first, *second;
    struct code c;
    assert_int_equal(code_asked(r, &c, STR("")), LIMITS_PASS);
    first = limits_take_over(&c.request);
    code_end(&c);
    code_hangs_up_early(r, number);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(code_asked(r, &c, number), LIMITS_PASS);
        code_end(&c);
    }
    assert_int_equal(code_asked(r, &c, STR("")), LIMITS_PASS);
    second = limits_take_over(&c.request);
    code_end(&c);
    code_hangs_up_early(r, STR("")); /* refused: took nothing */
    assert_int_equal(code_asked(r, &c, STR("")), LIMITS_DENIED);
    code_end(&c);
    limits_taken_give_back(first, false);
    limits_taken_give_back(second, false);
    limits_taken_free(first);
    limits_taken_free(second);
    assert_int_equal(code_asked(r, &c, number), LIMITS_DENIED); /* a number's own limit keeps all three */
    code_end(&c);
}

static void on_guarded(void *arg, bool is_admitted)
{
    struct rig *r = arg;
    assert_true(is_admitted);
    r->answers++;
}

static void on_counts(void *arg, int rc, const struct redis_reply *reply)
{
    struct rig *r = arg;
    assert_int_equal(rc, 0);
    r->answers++;
    r->sent = 0;
    for (const struct redis_reply *i = reply->items; i; i = i->next) {
        int64_t n = 0;
        assert_true(str_i64(i->text, &n));
        r->sent += n;
    }
}

static int64_t sent(struct rig *r)
{
    struct str hvals[] = {STR("HVALS"), STR("{sms}:counts:+86138")};
    unsigned before = r->answers;
    assert_int_equal(redis_command(limits_ledger(&r->gl), &r->op, 2, hvals, on_counts, r), 0);
    wait_answers(r, before + 1);
    return r->sent;
}

static void who_hangs_up_is_no_code_to_the_guard(void **state)
{
    struct rig *r = *state;
    char kept[PHONE_E164_MAX + 1] = "";
    struct code c;
    for (int takes_over = 0; takes_over < 2; takes_over++) {
        unsigned before = r->answers;
        assert_int_equal(code_asked(r, &c, STR("")), LIMITS_PASS);
        sms_guard(&c.request, prefix, on_guarded, r);
        wait_answers(r, before + 2);
        assert_int_equal(sent(r), 1);
        if (takes_over) {
            sms_take_over(&c.request, kept);
        }
        code_end(&c);
        assert_int_equal(sent(r), takes_over);
    }
    sms_unsend(&r->gl, str_from(kept));
    assert_int_equal(sent(r), 0);
    /* Redis keeps its answer until the client has hung up */
    assert_int_equal(code_asked(r, &c, STR("")), LIMITS_PASS);
    redis_server_signal(&r->server, SIGSTOP);
    sms_guard(&c.request, prefix, on_guarded, r);
    code_end(&c);
    redis_server_signal(&r->server, SIGCONT);
    for (int i = 0; i < 30000 && sent(r) != 0; i++) {
    }
    assert_int_equal(sent(r), 0);
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
        cmocka_unit_test(who_hangs_up_costs_nothing_that_many_share),
        cmocka_unit_test(who_hangs_up_is_no_code_to_the_guard),
        cmocka_unit_test(at_the_end_a_question_may_go_on_to_the_ledger),
    };
    return cmocka_run_group_tests(tests, rig_open, rig_close);
}
