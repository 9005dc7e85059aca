/* One loop and one real Redis, for what is kept in the ledger. Included by tests; everything is static. */
#ifndef TIDE_TESTS_LEDGER_RIG_H
#define TIDE_TESTS_LEDGER_RIG_H

#include "base/loop.h"
#include "base/redis.h"
#include "tests/unit/redis_server.h"

struct ledger_rig {
    struct redis_server server;
    struct loop *loop;
    struct redis *redis;
    struct loop_timer timer;
    unsigned answers; /* of commands and of what a test counts */
    int64_t integer;  /* of the last command */
    char text[128];
};

static inline void rig_on_timer(void *arg)
{
    loop_stop(((struct ledger_rig *)arg)->loop);
}

static inline void rig_turn(struct ledger_rig *rig)
{
    loop_timer_arm(&rig->timer, 1);
    loop_run(rig->loop);
}

static inline void rig_wait(struct ledger_rig *rig, unsigned answers)
{
    for (int i = 0; i < 30000 && rig->answers < answers; i++) {
        rig_turn(rig);
    }
    assert_int_equal(rig->answers, answers);
}

static inline void rig_wait_ready(struct ledger_rig *rig)
{
    for (int i = 0; i < 30000 && !redis_is_ready(rig->redis); i++) {
        rig_turn(rig);
    }
    assert_true(redis_is_ready(rig->redis));
}

static inline void rig_open(struct ledger_rig *rig, struct redis_script *const *scripts, unsigned count)
{
    struct redis_conf conf = redis_conf_default;
    *rig = (struct ledger_rig){.loop = loop_new("test", 0)};
    redis_server_open(&rig->server);
    loop_timer_init(rig->loop, &rig->timer, rig_on_timer, rig);
    conf.address = rig->server.address;
    conf.password_file = rig->server.password_file;
    conf.timeout_ms = 5000; /* a busy machine must not fail the test */
    conf.stall_ms = 20000;
    rig->redis = redis_new(rig->loop, &conf, "ledger", scripts, count, NULL);
    assert_non_null(rig->redis);
    rig_wait_ready(rig);
}

static inline void rig_close(struct ledger_rig *rig)
{
    redis_free(rig->redis);
    loop_timer_disarm(&rig->timer);
    loop_free(rig->loop);
    redis_server_close(&rig->server);
}

static inline void rig_on_reply(void *arg, int rc, const struct redis_reply *reply)
{
    struct ledger_rig *rig = arg;
    assert_int_equal(rc, 0);
    rig->answers++;
    rig->integer = reply->integer;
    snprintf(rig->text, sizeof rig->text, STR_FMT, STR_ARG(reply->text));
}

/* A command of at most 6 words; its answer is in rig->text or rig->integer. */
static inline void rig_command(struct ledger_rig *rig, const char *const *words, unsigned n)
{
    struct str argv[6];
    struct redis_op op;
    unsigned before = rig->answers;
    for (unsigned i = 0; i < n; i++) {
        argv[i] = str_from(words[i]);
    }
    assert_int_equal(redis_command(rig->redis, &op, n, argv, rig_on_reply, rig), 0);
    rig_wait(rig, before + 1);
}
#define RIG_COMMAND(rig, ...)                                                                                \
    rig_command((rig), (const char *const[]){__VA_ARGS__},                                                   \
                sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

#endif
