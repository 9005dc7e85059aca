/* See redis_conn_inner.h. In time order: slots, breaker, send, flush, answers, time-outs, loss. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/redis_conn_inner.h"

enum { READ_BYTES = 16 * 1024 };

/* --- slots ---------------------------------------------------------------------------------------- */

static struct redis_slot *slot_at(struct redis_conn *c, uint64_t position)
{
    return &c->ring[position & (c->redis->conf.max_pending - 1)];
}

/* Room for the command and its slot is checked here; nothing is half done on ERR_AGAIN. */
int redis_pipeline_push(struct redis_conn *c, enum redis_slot_kind kind, struct redis_op *op, struct str resp)
{
    bool full = c->tail - c->head >= c->redis->conf.max_pending;
    if (full || resp.n > c->redis->conf.max_output_bytes - c->out.n) {
        return ERR_AGAIN;
    }
    buf_add_str(&c->out, resp);
    *slot_at(c, c->tail) = (struct redis_slot){.op = op, .kind = kind};
    if (op) {
        op->conn = c;
        op->slot = c->tail;
    }
    c->tail++;
    loop_at_turn_end(c->loop, &c->flush);
    return 0;
}

int redis_pipeline_push_argv(struct redis_conn *c, enum redis_slot_kind kind, struct redis_op *op,
                             unsigned argc, const struct str *argv)
{
    struct buf resp;
    buf_init(&resp, c->redis->conf.max_output_bytes);
    redis_format(&resp, argc, argv);
    int rc = resp.overflowed ? ERR_AGAIN : redis_pipeline_push(c, kind, op, buf_str(&resp));
    buf_clear(&resp);
    return rc;
}

int redis_pipeline_push_load(struct redis_conn *c, enum redis_slot_kind kind, unsigned script)
{
    struct str argv[] = {STR("SCRIPT"), STR("LOAD"), c->redis->scripts[script]->source};
    int rc = redis_pipeline_push_argv(c, kind, NULL, 3, argv);
    if (rc == 0) {
        slot_at(c, c->tail - 1)->script = script;
    }
    return rc;
}

/* Ends an op: the last thing done with it. */
static void op_end(struct redis_op *op, int rc, const struct redis_reply *reply)
{
    op->conn = NULL;
    op->cb(op->arg, rc, reply);
}

/* --- breaker -------------------------------------------------------------------------------------- */

void redis_pipeline_on_probe_due(void *arg)
{
    struct redis_conn *c = arg;
    if (c->breaker.open && c->state == REDIS_CONN_READY) {
        struct str ping[] = {STR("PING")};
        if (!c->probing && redis_pipeline_push_argv(c, REDIS_SLOT_PROBE, NULL, 1, ping) == 0) {
            c->probing = true;
        }
        loop_timer_arm(&c->probe_timer, c->redis->conf.probe_ms);
    }
}

void redis_pipeline_close_breaker(struct redis_conn *c)
{
    c->breaker = (struct redis_breaker){.open = false};
    c->probing = false;
    loop_timer_disarm(&c->probe_timer);
}

static void breaker_record(struct redis_conn *c, bool failed)
{
    if (failed) {
        metric_child_add(c->node.failures, 1);
    }
    if (redis_breaker_record(&c->breaker, failed, c->redis->conf.breaker_failures)) {
        metric_child_add(c->redis->metrics.breaker_opened, 1);
        log_warn("redis role=%s at=%s breaker=open failures_in_row=%u", c->redis->role, c->target,
                 c->breaker.failures);
        loop_timer_arm(&c->probe_timer, c->redis->conf.probe_ms);
        redis_conn_tell(c);
    }
}

/* --- send ----------------------------------------------------------------------------------------- */

int redis_conn_send(struct redis_conn *c, struct redis_op *op, struct str resp)
{
    return c->state == REDIS_CONN_READY ? redis_pipeline_push(c, REDIS_SLOT_OP, op, resp) : ERR_UNAVAILABLE;
}

int redis_conn_send_argv(struct redis_conn *c, struct redis_op *op, unsigned argc, const struct str *argv)
{
    return c->state == REDIS_CONN_READY ? redis_pipeline_push_argv(c, REDIS_SLOT_OP, op, argc, argv)
                                        : ERR_UNAVAILABLE;
}

void redis_conn_cancel(struct redis_op *op)
{
    slot_at(op->conn, op->slot)->op = NULL;
    op->conn = NULL;
}

/* --- flush ---------------------------------------------------------------------------------------- */

/* Time runs from here: a turn that took long is not Redis's fault. */
static void slots_mark_sent(struct redis_conn *c)
{
    uint64_t now_us = clock_mono_us();
    for (; c->unsent != c->tail; c->unsent++) {
        slot_at(c, c->unsent)->sent_us = now_us;
    }
    if (c->state == REDIS_CONN_READY && !c->timer.armed) {
        loop_timer_arm(&c->timer, c->redis->conf.timeout_ms);
    }
}

void redis_pipeline_flush(void *arg)
{
    struct redis_conn *c = arg;
    if (c->state < REDIS_CONN_GREETING) {
        return;
    }
    slots_mark_sent(c);
    const char *why = NULL;
    while (c->out.n > 0) {
        ssize_t n = redis_socket_send(&c->socket, c->out.p, c->out.n, &why);
        if (n == REDIS_SOCKET_ERROR) {
            redis_conn_drop(c, why);
            return;
        }
        if (n == REDIS_SOCKET_LATER) {
            event_add(&c->write_event, NULL);
            return;
        }
        buf_consume(&c->out, (size_t)n);
    }
}

/* --- answers -------------------------------------------------------------------------------------- */

static bool starts_with_one_of(struct str s, const struct str *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (str_starts(s, words[i])) {
            return true;
        }
    }
    return false;
}

/* How Redis says that it cannot serve now, as opposed to: this command is wrong. */
static bool reply_is_refusal(struct str error)
{
    static const struct str words[] = {
        STR_INIT("LOADING"),     STR_INIT("BUSY"),       STR_INIT("OOM"),
        STR_INIT("READONLY"),    STR_INIT("MISCONF"),    STR_INIT("MASTERDOWN"),
        STR_INIT("CLUSTERDOWN"), STR_INIT("NOREPLICAS"), STR_INIT("NOAUTH")};
    return starts_with_one_of(error, words, sizeof(words) / sizeof(words[0]));
}

/* How a node of a Cluster says that it is another's to answer. */
static bool reply_is_redirect(struct str error)
{
    static const struct str words[] = {STR_INIT("MOVED "), STR_INIT("ASK "), STR_INIT("TRYAGAIN")};
    return starts_with_one_of(error, words, sizeof(words) / sizeof(words[0]));
}

static bool op_replay(struct redis_conn *c, struct redis_op *op)
{
    unsigned i = 0;
    while (i < c->redis->script_count && c->redis->scripts[i] != op->script) {
        i++;
    }
    if (i == c->redis->script_count || op->replays == REDIS_REPLAYS_MAX) {
        return false;
    }
    if (!c->loading[i]) {
        if (redis_pipeline_push_load(c, REDIS_SLOT_LOAD, i) != 0) {
            return false;
        }
        c->loading[i] = true;
        metric_child_add(c->redis->metrics.script_loads, 1);
    }
    op->replays++;
    return redis_pipeline_push(c, REDIS_SLOT_OP, op, op->command) == 0;
}

/* true: the op goes on elsewhere, or once more. */
static bool op_goes_on(struct redis_conn *c, const struct redis_slot *s, struct str error)
{
    if (s->op && s->op->script && str_starts(error, STR("NOSCRIPT"))) {
        return op_replay(c, s->op);
    }
    if (!c->redis->cluster) {
        return false;
    }
    if (s->op && s->op->began_us == 0) {
        s->op->began_us = s->sent_us;
    }
    return redis_cluster_redirect(c->redis->cluster, c, s->op, error);
}

static void op_answered(struct redis_conn *c, const struct redis_slot *s, int rc,
                        const struct redis_reply *reply)
{
    if (s->op) { /* else canceled, timed out, or nobody asked for the answer */
        metric_child_add(c->redis->metrics.results[redis_result_of(rc)], 1);
        metric_child_observe_us(c->redis->metrics.duration, clock_mono_us() - s->sent_us);
        op_end(s->op, rc, reply);
    }
}

/* false: the connection was dropped. */
static bool on_op_reply(struct redis_conn *c, const struct redis_slot *s, bool in_time,
                        const struct redis_reply *reply)
{
    if (reply->type != REDIS_TYPE_ERROR) {
        if (in_time) { /* a late one was counted when it timed out */
            breaker_record(c, false);
        }
        op_answered(c, s, 0, reply);
        return true;
    }
    bool demoted = c->use == REDIS_CONN_PRIMARY && str_starts(reply->text, STR("READONLY"));
    bool redirect = reply_is_redirect(reply->text);
    bool refusal = reply_is_refusal(reply->text);
    if (in_time) {
        breaker_record(c, refusal);
    }
    if (op_goes_on(c, s, reply->text)) {
        return true;
    }
    if (!redirect) {
        log_warn("redis role=%s at=%s error=\"" STR_FMT "\"", c->redis->role, c->target,
                 STR_ARG(reply->text));
    }
    op_answered(c, s, refusal || redirect ? ERR_UNAVAILABLE : ERR_INVALID, reply);
    if (demoted) {
        redis_conn_drop(c, "it is a primary no more");
    }
    return !demoted;
}

static void on_probe_reply(struct redis_conn *c, const struct redis_slot *s, const struct redis_reply *reply)
{
    bool in_time = clock_mono_us() - s->sent_us <= c->redis->conf.timeout_ms * 1000ull;
    c->probing = false;
    if (c->breaker.open && in_time && reply->type != REDIS_TYPE_ERROR) {
        redis_pipeline_close_breaker(c);
        log_info("redis role=%s at=%s breaker=closed", c->redis->role, c->target);
        redis_conn_tell(c);
    }
}

/* false: the connection was dropped. */
static bool on_reply(struct redis_conn *c, const struct redis_reply *reply)
{
    if (c->head == c->unsent) {
        redis_conn_drop(c, "an answer to no command");
        return false;
    }
    struct redis_slot s = *slot_at(c, c->head);
    bool in_time = c->head >= c->expired;
    c->head++;
    c->expired = c->expired < c->head ? c->head : c->expired;
    switch (s.kind) {
    case REDIS_SLOT_OP:
        return on_op_reply(c, &s, in_time, reply);
    case REDIS_SLOT_LOAD:
        c->loading[s.script] = false;
        return true;
    case REDIS_SLOT_PROBE:
        on_probe_reply(c, &s, reply);
        return true;
    case REDIS_SLOT_GREETING:
    case REDIS_SLOT_ROLE:
        return redis_conn_greeted(c, &s, reply);
    }
    return true;
}

/* What has come. */
void redis_pipeline_read(struct redis_conn *c)
{
    char bytes[READ_BYTES];
    const char *why = "closed by the server";
    ssize_t n = redis_socket_recv(&c->socket, bytes, sizeof(bytes), &why);
    if (n == REDIS_SOCKET_LATER) {
        return;
    }
    if (n <= 0) {
        redis_conn_drop(c, why);
        return;
    }
    int rc = redis_reader_feed(c->reader, bytes, (size_t)n);
    const struct redis_reply *reply = NULL;
    while (rc == 0 && (rc = redis_reader_next(c->reader, &reply)) == 1) {
        if (!on_reply(c, reply)) {
            return;
        }
        rc = 0;
    }
    if (rc < 0) {
        redis_conn_drop(c, redis_reader_trouble(c->reader));
    }
}

/* --- time-outs ------------------------------------------------------------------------------------ */

static void slots_expire(struct redis_conn *c, uint64_t now_us)
{
    uint64_t timeout_us = c->redis->conf.timeout_ms * 1000ull;
    while (c->expired != c->unsent && slot_at(c, c->expired)->sent_us + timeout_us <= now_us) {
        struct redis_slot *s = slot_at(c, c->expired);
        struct redis_op *op = s->op;
        s->op = NULL;
        c->expired++;
        if (s->kind == REDIS_SLOT_OP) {
            breaker_record(c, true); /* also for those whose client did not wait */
        }
        if (op) {
            metric_child_add(c->redis->metrics.results[REDIS_RESULT_TIMEOUT], 1);
            op_end(op, ERR_TIMEOUT, NULL);
        }
    }
}

static void arm_for_oldest(struct redis_conn *c, uint64_t now_us)
{
    if (c->head == c->unsent) {
        return; /* nothing awaited: the next flush arms it */
    }
    uint64_t at = slot_at(c, c->head)->sent_us + c->redis->conf.stall_ms * 1000ull;
    if (c->expired != c->unsent) {
        uint64_t due = slot_at(c, c->expired)->sent_us + c->redis->conf.timeout_ms * 1000ull;
        at = due < at ? due : at;
    }
    loop_timer_arm(&c->timer, at > now_us ? (at - now_us) / 1000 + 1 : 1);
}

/* Ends what took too long; and the connection, once the oldest answer is overdue. */
void redis_pipeline_expire(struct redis_conn *c)
{
    uint64_t now_us = clock_mono_us();
    slots_expire(c, now_us);
    if (c->state != REDIS_CONN_READY) {
        return; /* a callback ended it */
    }
    if (c->head != c->unsent && slot_at(c, c->head)->sent_us + c->redis->conf.stall_ms * 1000ull <= now_us) {
        redis_conn_drop(c, "no answer");
        return;
    }
    arm_for_oldest(c, now_us);
}

/* --- loss ----------------------------------------------------------------------------------------- */

void redis_pipeline_fail(struct redis_conn *c, int rc)
{
    uint64_t end = c->tail;
    while (c->head != end) {
        struct redis_op *op = slot_at(c, c->head)->op;
        c->head++;
        if (op) {
            metric_child_add(c->redis->metrics.results[REDIS_RESULT_CLOSED], 1);
            op_end(op, rc, NULL);
        }
    }
    c->expired = c->unsent = c->head;
}
