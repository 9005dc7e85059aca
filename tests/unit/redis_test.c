#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/loop.h"
#include "base/redis.h"
#include "tests/unit/redis_server.h"

struct rig {
    struct redis_server server;
    struct loop *loop;
    struct redis *redis;
    struct loop_timer timer;
    unsigned answers; /* callbacks so far */
    int rc;           /* of the last */
    int64_t integer;
    char text[256];
};

static struct redis_script script = {.source = STR_INIT("return {7, 'seven', redis.call('INCR', KEYS[1])}")};

static void on_timer(void *arg)
{
    loop_stop(((struct rig *)arg)->loop);
}

static void run_ms(struct rig *rig, uint64_t ms)
{
    loop_timer_arm(&rig->timer, ms);
    loop_run(rig->loop);
}

/* For tests that are not about time: a busy machine must not fail them. */
static struct redis_conf patient(void)
{
    struct redis_conf conf = redis_conf_default;
    conf.timeout_ms = 5000;
    conf.stall_ms = 20000;
    conf.connect_ms = 20000;
    return conf;
}

static void wait_ready(struct rig *rig)
{
    for (int i = 0; i < 4000 && !redis_is_ready(rig->redis); i++) {
        run_ms(rig, 5);
    }
    assert_true(redis_is_ready(rig->redis));
}

static void rig_open(struct rig *rig, struct redis_conf conf)
{
    *rig = (struct rig){.loop = loop_new("test", 0)};
    redis_server_open(&rig->server);
    loop_timer_init(rig->loop, &rig->timer, on_timer, rig);
    redis_script_init(&script);
    static struct redis_script *const scripts[] = {&script};
    conf.address = rig->server.address;
    conf.password_file = rig->server.password_file;
    rig->redis = redis_new(rig->loop, &conf, "limits", scripts, 1, NULL);
    wait_ready(rig);
}

static void rig_close(struct rig *rig)
{
    redis_free(rig->redis);
    loop_timer_disarm(&rig->timer);
    loop_free(rig->loop);
    redis_server_close(&rig->server);
}

static void on_answer(void *arg, int rc, const struct redis_reply *reply)
{
    struct rig *rig = arg;
    rig->answers++;
    rig->rc = rc;
    rig->text[0] = 0;
    if (reply) {
        rig->integer = reply->integer;
        snprintf(rig->text, sizeof(rig->text), STR_FMT, STR_ARG(reply->text));
    }
}

static int command(struct rig *rig, struct redis_op *op, const char *name, const char *a, const char *b)
{
    struct str argv[] = {str_from(name), str_from(a), str_from(b)};
    return redis_command(rig->redis, op, b ? 3 : a ? 2 : 1, argv, on_answer, rig);
}

static void wait_answers(struct rig *rig, unsigned n)
{
    for (int i = 0; i < 4000 && rig->answers < n; i++) {
        run_ms(rig, 5);
    }
    assert_int_equal(rig->answers, n);
}

static void answers_come_in_order_and_errors_are_told_apart(void **state)
{
    struct rig rig;
    struct redis_op op[4];
    rig_open(&rig, patient());
    assert_int_equal(command(&rig, &op[0], "SET", "k", "v\r\n1"), 0);
    assert_int_equal(command(&rig, &op[1], "GET", "k", NULL), 0);
    wait_answers(&rig, 2);
    assert_int_equal(rig.rc, 0);
    assert_string_equal(rig.text, "v\r\n1");
    assert_int_equal(command(&rig, &op[2], "LPUSH", "k", "x"), 0);
    wait_answers(&rig, 3);
    assert_int_equal(rig.rc, ERR_INVALID);
    assert_memory_equal(rig.text, "WRONGTYPE", 9);
    assert_int_equal(command(&rig, &op[3], "GET", "none", NULL), 0);
    wait_answers(&rig, 4);
    assert_int_equal(rig.rc, 0);
    assert_true(redis_is_ready(rig.redis));
    rig_close(&rig);
}

static void on_array(void *arg, int rc, const struct redis_reply *reply)
{
    struct rig *rig = arg;
    rig->answers++;
    rig->rc = rc;
    if (rc == 0) {
        assert_int_equal(reply->type, REDIS_TYPE_ARRAY);
        assert_int_equal(reply->count, 3);
        assert_int_equal(reply->items->integer, 7);
        assert_true(str_is(reply->items->next->text, "seven"));
        rig->integer = reply->items->next->next->integer;
        assert_null(reply->items->next->next->next);
    }
}

static struct str evalsha(char *room, size_t n)
{
    int len = snprintf(room, n, "*4\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n$1\r\n1\r\n$1\r\nc\r\n", script.sha);
    return str_of(room, (size_t)len);
}

/* Scripts are there from the start, and SCRIPT FLUSH between any two calls is never seen. */
static void a_forgotten_script_is_loaded_and_replayed_once(void **state)
{
    struct rig rig;
    struct redis_op ops[100];
    char room[128];
    struct str resp = evalsha(room, sizeof(room));
    rig_open(&rig, patient());
    for (unsigned i = 0; i < 100; i++) {
        if (i % 10 == 5) {
            struct str argv[] = {STR("SCRIPT"), STR("FLUSH")};
            assert_int_equal(redis_command(rig.redis, NULL, 2, argv, NULL, NULL), 0);
            run_ms(&rig, 2);
        }
        assert_int_equal(redis_send(rig.redis, &ops[i], resp, &script, on_array, &rig), 0);
    }
    wait_answers(&rig, 100);
    assert_int_equal(rig.rc, 0);
    assert_int_equal(rig.integer, 100); /* each ran exactly once */
    rig_close(&rig);
}

static void a_script_that_nobody_waits_for_is_replayed_too(void **state)
{
    struct rig rig;
    struct redis_op op;
    rig_open(&rig, patient());
    for (unsigned i = 0; i < 20; i++) {
        struct str key[] = {STR("c")};
        if (i % 5 == 2) {
            struct str argv[] = {STR("SCRIPT"), STR("FLUSH")};
            assert_int_equal(redis_command(rig.redis, NULL, 2, argv, NULL, NULL), 0);
            run_ms(&rig, 2);
        }
        assert_int_equal(redis_post(rig.redis, &script, 1, 1, key), 0);
    }
    do { /* replays come after what was sent before them */
        unsigned known = rig.answers;
        assert_int_equal(command(&rig, &op, "GET", "c", NULL), 0);
        wait_answers(&rig, known + 1);
        assert_true(rig.answers < 1000);
    } while (strcmp(rig.text, "20") != 0);
    struct str key[] = {STR("c")};
    assert_int_equal(redis_post(rig.redis, &script, 1, 1, key), 0); /* never answered: freed with the rest */
    rig_close(&rig);
}

static void canceled_is_never_called(void **state)
{
    struct rig rig;
    struct redis_op *gone = malloc(sizeof(*gone));
    struct redis_op op;
    rig_open(&rig, patient());
    assert_int_equal(command(&rig, gone, "INCR", "n", NULL), 0);
    redis_cancel(gone);
    redis_cancel(gone);
    free(gone);
    assert_int_equal(command(&rig, &op, "INCR", "n", NULL), 0);
    wait_answers(&rig, 1);
    assert_int_equal(rig.integer, 2); /* the first had its effect */
    assert_int_equal(command(&rig, &op, "INCR", "n", NULL), 0);
    redis_free(rig.redis);
    assert_int_equal(rig.rc, ERR_CANCELED);
    rig.redis = NULL;
    rig_close(&rig);
}

/* A stopped server: each waiter gets its time-out after 20 ms, five of them open the breaker, then refusals are
 * immediate; the probe closes it when the server goes on. */
static void a_hung_server_opens_the_breaker(void **state)
{
    struct rig rig;
    struct redis_op op[6];
    struct redis_conf conf = redis_conf_default;
    conf.stall_ms = 60000; /* keep the connection: here the probe has to find out */
    rig_open(&rig, conf);
    redis_server_signal(&rig.server, SIGSTOP);
    uint64_t began = clock_mono_ms();
    for (int i = 0; i < 5; i++) {
        assert_int_equal(command(&rig, &op[i], "INCR", "n", NULL), 0);
    }
    wait_answers(&rig, 5);
    assert_int_equal(rig.rc, ERR_TIMEOUT);
    assert_in_range(clock_mono_ms() - began, 20, 1000);
    assert_false(redis_is_ready(rig.redis));
    assert_int_equal(command(&rig, &op[5], "INCR", "n", NULL), ERR_UNAVAILABLE);
    run_ms(&rig, 300);
    assert_false(redis_is_ready(rig.redis));
    redis_server_signal(&rig.server, SIGCONT);
    began = clock_mono_ms();
    wait_ready(&rig);
    assert_in_range(clock_mono_ms() - began, 0, 2000);
    assert_int_equal(command(&rig, &op[5], "INCR", "n", NULL), 0);
    wait_answers(&rig, 6);
    assert_int_equal(rig.integer, 6); /* the late answers were passed over in order */
    rig_close(&rig);
}

/* Clients that leave before the time-out do not hide that nothing answers. */
static void canceled_commands_count_for_the_breaker(void **state)
{
    struct rig rig;
    struct redis_op op[5];
    struct redis_conf conf = redis_conf_default;
    conf.stall_ms = 60000;
    rig_open(&rig, conf);
    redis_server_signal(&rig.server, SIGSTOP);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(command(&rig, &op[i], "INCR", "n", NULL), 0);
        redis_cancel(&op[i]);
    }
    run_ms(&rig, 100);
    assert_int_equal(rig.answers, 0);
    assert_false(redis_is_ready(rig.redis));
    redis_server_signal(&rig.server, SIGCONT);
    wait_ready(&rig);
    rig_close(&rig);
}

static void a_stalled_connection_is_dropped(void **state)
{
    struct rig rig;
    struct redis_op op;
    struct redis_conf conf = redis_conf_default;
    conf.stall_ms = 100;
    rig_open(&rig, conf);
    redis_server_signal(&rig.server, SIGSTOP);
    assert_int_equal(command(&rig, &op, "INCR", "n", NULL), 0);
    wait_answers(&rig, 1);
    assert_int_equal(rig.rc, ERR_TIMEOUT);
    assert_true(redis_is_ready(rig.redis)); /* one failure is none */
    run_ms(&rig, 200);
    assert_false(redis_is_ready(rig.redis));
    redis_server_signal(&rig.server, SIGCONT);
    wait_ready(&rig);
    rig_close(&rig);
}

/* Killed under load: everybody hears within the time-out, then at once; after its return it serves within 2 s. */
static void a_killed_server_comes_back(void **state)
{
    struct rig rig;
    struct redis_op ops[200];
    rig_open(&rig, patient());
    for (int i = 0; i < 200; i++) {
        assert_int_equal(command(&rig, &ops[i], "INCR", "n", NULL), 0);
    }
    redis_server_signal(&rig.server, SIGKILL);
    wait_answers(&rig, 200);
    assert_int_equal(rig.rc, ERR_CLOSED);
    uint64_t began_us = clock_mono_us();
    for (int i = 0; i < 100; i++) {
        assert_int_equal(command(&rig, &ops[0], "INCR", "n", NULL), ERR_UNAVAILABLE);
    }
    assert_in_range(clock_mono_us() - began_us, 0,
                    20000); /* with sanitizers on a busy machine; 1 us each without */
    run_ms(&rig, 600);
    redis_server_start(&rig.server);
    uint64_t began = clock_mono_ms();
    wait_ready(&rig);
    assert_in_range(clock_mono_ms() - began, 0, 2000);
    char room[128];
    assert_int_equal(redis_send(rig.redis, &ops[0], evalsha(room, sizeof(room)), &script, on_array, &rig), 0);
    wait_answers(&rig, 201);
    assert_int_equal(rig.rc, 0);
    rig_close(&rig);
}

static void full_is_refused_and_half_nothing(void **state)
{
    struct rig rig;
    struct redis_op ops[17];
    struct redis_conf conf = patient();
    conf.max_pending = 16;
    rig_open(&rig, conf);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(command(&rig, &ops[i], "INCR", "n", NULL), 0);
    }
    assert_int_equal(command(&rig, &ops[16], "INCR", "n", NULL), ERR_AGAIN);
    wait_answers(&rig, 16);
    assert_int_equal(rig.integer, 16);
    char *big = malloc(1100 * 1024);
    memset(big, 'x', 1100 * 1024 - 1);
    big[1100 * 1024 - 1] = 0;
    assert_int_equal(command(&rig, &ops[0], "SET", "big", big), ERR_AGAIN);
    big[700 * 1024] = 0; /* more than a socket takes at once */
    assert_int_equal(command(&rig, &ops[0], "SET", "big", big), 0);
    wait_answers(&rig, 17);
    assert_int_equal(rig.rc, 0);
    free(big);
    rig_close(&rig);
}

static void a_reply_past_the_limits_drops_the_connection(void **state)
{
    struct rig rig;
    struct redis_op op;
    rig_open(&rig, patient());
    struct str argv[] = {STR("EVAL"), STR("local t = {} for i = 1, 20000 do t[i] = i end return t"),
                         STR("0")};
    assert_int_equal(redis_command(rig.redis, &op, 3, argv, on_answer, &rig), 0);
    wait_answers(&rig, 1);
    assert_int_equal(rig.rc, ERR_CLOSED);
    wait_ready(&rig);
    rig_close(&rig);
}

static void a_wrong_password_is_never_ready(void **state)
{
    struct rig rig;
    rig_open(&rig, patient());
    struct redis_conf conf = redis_conf_default;
    conf.address = rig.server.address;
    conf.password_file = rig.server.wrong_file;
    struct redis *other = redis_new(rig.loop, &conf, "ledger", NULL, 0, NULL);
    run_ms(&rig, 300);
    assert_false(redis_is_ready(other));
    redis_free(other);
    struct err err = {0};
    conf.password_file = "/nonexistent";
    assert_null(redis_new(rig.loop, &conf, "ledger", NULL, 0, &err));
    assert_int_equal(err.code, ERR_IO);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_in_order_and_errors_are_told_apart),
        cmocka_unit_test(a_forgotten_script_is_loaded_and_replayed_once),
        cmocka_unit_test(a_script_that_nobody_waits_for_is_replayed_too),
        cmocka_unit_test(canceled_is_never_called),
        cmocka_unit_test(a_hung_server_opens_the_breaker),
        cmocka_unit_test(canceled_commands_count_for_the_breaker),
        cmocka_unit_test(a_stalled_connection_is_dropped),
        cmocka_unit_test(a_killed_server_comes_back),
        cmocka_unit_test(full_is_refused_and_half_nothing),
        cmocka_unit_test(a_reply_past_the_limits_drops_the_connection),
        cmocka_unit_test(a_wrong_password_is_never_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
