/* See redis.h. In time order: connect and greet, send, flush, answers, time-outs, loss.
 *
 *     ring of slots:   head ........ expired ........ unsent ........ tail
 *                      late answers  | being waited   | in the output buffer, not yet written
 *                      still to come | for            |
 */
#include "base/redis.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/redis_metrics.h"
#include "base/redis_reply.h"
#include "base/secret.h"

enum redis_state {
    REDIS_STATE_DOWN = 0,       /* waiting for the next attempt */
    REDIS_STATE_CONNECTING = 1, /* connect() is under way */
    REDIS_STATE_GREETING = 2,   /* AUTH, SELECT, SCRIPT LOAD are under way */
    REDIS_STATE_READY = 3,
};

enum slot_kind {
    SLOT_OP = 0,       /* a caller's command; op is NULL once it was canceled or timed out */
    SLOT_GREETING = 1, /* must succeed for READY */
    SLOT_LOAD = 2,     /* SCRIPT LOAD after a NOSCRIPT */
    SLOT_PROBE = 3,    /* PING while the breaker is open */
};

struct slot {
    struct redis_op *op;
    uint64_t sent_us;
    enum slot_kind kind;
    unsigned script; /* index, of SLOT_LOAD */
};

enum { BACKOFF_FIRST_MS = 10, HISTORY = 20, READ_BYTES = 16 * 1024, PASSWORD_MAX = 1024 };

struct redis {
    struct loop *loop;
    struct redis_conf conf;
    struct buf password; /* empty: no AUTH */
    const char *role;
    struct redis_script *scripts[REDIS_SCRIPTS_MAX];
    bool loading[REDIS_SCRIPTS_MAX]; /* a SCRIPT LOAD is under way */
    unsigned script_count;

    _Atomic enum redis_state state; /* written on the loop only; read by redis_is_ready anywhere */
    int fd;                         /* -1 when there is none */
    struct event read_event;
    struct event write_event;
    struct loop_task flush;  /* at the end of the turn */
    struct loop_timer timer; /* DOWN: next attempt; CONNECTING, GREETING: give up; READY: oldest slot */
    struct buf out;
    struct redis_reader *reader;
    uint32_t backoff_ms;
    unsigned greetings; /* answers still wanted */
    bool told_down;     /* the loss was logged */
    bool freeing;

    struct slot *ring;
    uint64_t head, expired, unsent, tail;

    atomic_bool open;  /* the breaker refuses; likewise */
    uint32_t failures; /* in a row */
    uint32_t history;  /* last HISTORY outcomes, 1 = failed */
    uint32_t history_n;
    bool probing;
    struct loop_timer probe_timer;
    struct redis_metrics metrics;
};

static void redis_attempt(struct redis *r);
static void redis_drop(struct redis *r, const char *why);
static void redis_flush(void *arg);

void redis_script_init(struct redis_script *s)
{
    uint8_t digest[20];
    unsigned n = sizeof(digest);
    BUG_ON(EVP_Digest(s->source.p, s->source.n, digest, &n, EVP_sha1(), NULL) != 1);
    str_hex_encode(digest, sizeof(digest), s->sha);
}

void redis_format(struct buf *out, unsigned argc, const struct str *argv)
{
    buf_addf(out, "*%u\r\n", argc);
    for (unsigned i = 0; i < argc; i++) {
        buf_addf(out, "$%zu\r\n", argv[i].n);
        buf_add_str(out, argv[i]);
        buf_add(out, "\r\n", 2);
    }
}

/* --- slots ---------------------------------------------------------------------------------------- */

static struct slot *slot_at(struct redis *r, uint64_t position)
{
    return &r->ring[position & (r->conf.max_pending - 1)];
}

/* Room for the command and its slot is checked here; nothing is half done on ERR_AGAIN. */
static int slot_push(struct redis *r, enum slot_kind kind, struct redis_op *op, struct str resp)
{
    bool full = r->tail - r->head >= r->conf.max_pending;
    if (full || resp.n > r->conf.max_output_bytes - r->out.n) {
        return ERR_AGAIN;
    }
    buf_add_str(&r->out, resp);
    *slot_at(r, r->tail) = (struct slot){.op = op, .kind = kind};
    if (op) {
        op->redis = r;
        op->slot = r->tail;
    }
    r->tail++;
    loop_at_turn_end(r->loop, &r->flush);
    return 0;
}

static int slot_push_argv(struct redis *r, enum slot_kind kind, unsigned argc, const struct str *argv)
{
    struct buf resp;
    buf_init(&resp, r->conf.max_output_bytes);
    redis_format(&resp, argc, argv);
    int rc = resp.overflowed ? ERR_AGAIN : slot_push(r, kind, NULL, buf_str(&resp));
    buf_clear(&resp);
    return rc;
}

static int slot_push_load(struct redis *r, enum slot_kind kind, unsigned script)
{
    struct str argv[] = {STR("SCRIPT"), STR("LOAD"), r->scripts[script]->source};
    int rc = slot_push_argv(r, kind, 3, argv);
    if (rc == 0) {
        slot_at(r, r->tail - 1)->script = script;
    }
    return rc;
}

/* Ends an op: the last thing done with it. */
static void op_end(struct redis_op *op, int rc, const struct redis_reply *reply)
{
    op->redis = NULL;
    op->cb(op->arg, rc, reply);
}

/* --- breaker -------------------------------------------------------------------------------------- */

static void on_probe_due(void *arg)
{
    struct redis *r = arg;
    if (r->open && r->state == REDIS_STATE_READY) {
        struct str ping[] = {STR("PING")};
        if (!r->probing && slot_push_argv(r, SLOT_PROBE, 1, ping) == 0) {
            r->probing = true;
        }
        loop_timer_arm(&r->probe_timer, r->conf.probe_ms);
    }
}

static void breaker_reset(struct redis *r)
{
    r->open = false;
    r->probing = false;
    r->failures = 0;
    r->history = 0;
    r->history_n = 0;
    loop_timer_disarm(&r->probe_timer);
}

static void breaker_record(struct redis *r, bool failed)
{
    r->failures = failed ? r->failures + 1 : 0;
    r->history = ((r->history << 1) | failed) & ((1u << HISTORY) - 1);
    r->history_n += r->history_n < HISTORY;
    bool often = r->history_n == HISTORY && __builtin_popcount(r->history) > HISTORY / 2;
    if (failed && !r->open && (r->failures >= r->conf.breaker_failures || often)) {
        r->open = true;
        metric_child_add(r->metrics.breaker_opened, 1);
        log_warn("redis role=%s breaker=open failures_in_row=%u", r->role, r->failures);
        loop_timer_arm(&r->probe_timer, r->conf.probe_ms);
    }
}

/* --- connect and greet ---------------------------------------------------------------------------- */

static void redis_greet(struct redis *r)
{
    r->state = REDIS_STATE_GREETING;
    int rc = 0;
    r->greetings = 0;
    if (r->password.n > 0) {
        struct str argv[] = {STR("AUTH"), buf_str(&r->password)};
        rc |= slot_push_argv(r, SLOT_GREETING, 2, argv);
        r->greetings++;
    }
    char db[12];
    snprintf(db, sizeof(db), "%u", r->conf.db);
    struct str argv[] = {STR("SELECT"), str_from(db)};
    rc |= slot_push_argv(r, SLOT_GREETING, 2, argv);
    r->greetings++;
    for (unsigned i = 0; i < r->script_count; i++) {
        rc |= slot_push_load(r, SLOT_GREETING, i);
        r->greetings++;
    }
    BUG_ON(rc != 0); /* the limits' least values hold a greeting */
}

static void redis_is_up(struct redis *r)
{
    r->state = REDIS_STATE_READY;
    r->backoff_ms = BACKOFF_FIRST_MS;
    breaker_reset(r);
    loop_timer_disarm(&r->timer);
    metric_child_add(r->metrics.connects, 1);
    metric_child_add(r->metrics.connections, 1);
    if (r->told_down) {
        log_info("redis role=%s state=ready loop=%u", r->role, loop_index(r->loop));
        r->told_down = false;
    }
}

static void redis_down(struct redis *r)
{
    r->state = REDIS_STATE_DOWN;
    uint32_t half = r->backoff_ms / 2;
    loop_timer_arm(&r->timer, half + id_random_below(half + 1));
    r->backoff_ms = r->backoff_ms * 2 < r->conf.backoff_max_ms ? r->backoff_ms * 2 : r->conf.backoff_max_ms;
}

static void on_readable(evutil_socket_t fd, short what, void *arg);

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct redis *r = arg;
    if (r->state == REDIS_STATE_CONNECTING) {
        int error = 0;
        socklen_t n = sizeof(error);
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0 || error != 0) {
            redis_drop(r, strerror(error ? error : errno));
            return;
        }
        redis_greet(r);
    }
    redis_flush(r);
}

static void redis_attempt(struct redis *r)
{
    const struct endpoint *e = &r->conf.endpoint;
    r->fd = socket(e->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (r->fd < 0) {
        redis_drop(r, strerror(errno));
        return;
    }
    if (e->sa.ss_family != AF_UNIX) {
        int on = 1;
        setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    struct event_base *base = loop_event_base(r->loop);
    event_assign(&r->read_event, base, r->fd, EV_READ | EV_PERSIST, on_readable, r);
    event_assign(&r->write_event, base, r->fd, EV_WRITE, on_writable, r);
    if (connect(r->fd, (const struct sockaddr *)&e->sa, e->sa_len) != 0 && errno != EINPROGRESS) {
        redis_drop(r, strerror(errno));
        return;
    }
    r->state = REDIS_STATE_CONNECTING;
    event_add(&r->write_event, NULL);
    event_add(&r->read_event, NULL);
    loop_timer_arm(&r->timer, r->conf.connect_ms);
}

/* --- send ----------------------------------------------------------------------------------------- */

int redis_send(struct redis *r, struct redis_op *op, struct str resp, struct redis_script *script,
               redis_cb cb, void *arg)
{
    int rc = ERR_UNAVAILABLE;
    if (op) {
        *op = (struct redis_op){.cb = cb, .arg = arg, .script = script, .command = resp};
    }
    if (redis_is_ready(r)) {
        rc = slot_push(r, SLOT_OP, op, resp);
    }
    if (rc != 0) {
        metric_child_add(r->metrics.results[REDIS_RESULT_REJECTED], 1);
    }
    return rc;
}

int redis_command(struct redis *r, struct redis_op *op, unsigned argc, const struct str *argv, redis_cb cb,
                  void *arg)
{
    struct buf resp;
    buf_init(&resp, r->conf.max_output_bytes);
    redis_format(&resp, argc, argv);
    int rc = resp.overflowed ? ERR_AGAIN : redis_send(r, op, buf_str(&resp), NULL, cb, arg);
    if (op) {
        op->command = (struct str){"", 0};
    }
    buf_clear(&resp);
    return rc;
}

void redis_cancel(struct redis_op *op)
{
    if (op->redis) {
        slot_at(op->redis, op->slot)->op = NULL;
        op->redis = NULL;
    }
}

/* --- flush ---------------------------------------------------------------------------------------- */

/* Time runs from here: a turn that took long is not Redis's fault. */
static void slots_mark_sent(struct redis *r)
{
    uint64_t now_us = clock_mono_us();
    for (; r->unsent != r->tail; r->unsent++) {
        slot_at(r, r->unsent)->sent_us = now_us;
    }
    if (r->state == REDIS_STATE_READY && !r->timer.armed) {
        loop_timer_arm(&r->timer, r->conf.timeout_ms);
    }
}

static void redis_flush(void *arg)
{
    struct redis *r = arg;
    if (r->fd < 0 || r->state == REDIS_STATE_CONNECTING) {
        return;
    }
    slots_mark_sent(r);
    if (r->out.n == 0) {
        return;
    }
    ssize_t n = send(r->fd, r->out.p, r->out.n, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        redis_drop(r, strerror(errno));
        return;
    }
    if (n == (ssize_t)r->out.n) {
        buf_truncate(&r->out);
        return;
    }
    buf_consume(&r->out, n > 0 ? (size_t)n : 0);
    event_add(&r->write_event, NULL);
}

/* --- answers -------------------------------------------------------------------------------------- */

/* How Redis says that it cannot serve now, as opposed to: this command is wrong. */
static bool reply_is_refusal(struct str error)
{
    static const struct str words[] = {
        STR_INIT("LOADING"),     STR_INIT("BUSY"),       STR_INIT("OOM"),
        STR_INIT("READONLY"),    STR_INIT("MISCONF"),    STR_INIT("MASTERDOWN"),
        STR_INIT("CLUSTERDOWN"), STR_INIT("NOREPLICAS"), STR_INIT("NOAUTH")};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (str_starts(error, words[i])) {
            return true;
        }
    }
    return false;
}

static bool op_replay(struct redis *r, struct redis_op *op)
{
    unsigned i = 0;
    while (i < r->script_count && r->scripts[i] != op->script) {
        i++;
    }
    if (i == r->script_count || op->replays == 2) {
        return false;
    }
    if (!r->loading[i]) {
        if (slot_push_load(r, SLOT_LOAD, i) != 0) {
            return false;
        }
        r->loading[i] = true;
        metric_child_add(r->metrics.script_loads, 1);
    }
    op->replays++;
    return slot_push(r, SLOT_OP, op, op->command) == 0;
}

static void on_op_reply(struct redis *r, const struct slot *s, bool in_time, const struct redis_reply *reply)
{
    int rc = 0;
    if (reply->type == REDIS_TYPE_ERROR) {
        if (s->op && s->op->script && str_starts(reply->text, STR("NOSCRIPT")) && op_replay(r, s->op)) {
            return;
        }
        rc = reply_is_refusal(reply->text) ? ERR_UNAVAILABLE : ERR_INVALID;
        log_warn("redis role=%s error=\"" STR_FMT "\"", r->role, STR_ARG(reply->text));
    }
    if (in_time) { /* a late one was counted when it timed out */
        breaker_record(r, rc == ERR_UNAVAILABLE);
    }
    if (!s->op) {
        return; /* canceled, timed out, or nobody asked for the answer */
    }
    metric_child_add(r->metrics.results[redis_result_of(rc)], 1);
    metric_child_observe_us(r->metrics.duration, clock_mono_us() - s->sent_us);
    op_end(s->op, rc, reply);
}

static void on_probe_reply(struct redis *r, const struct slot *s, const struct redis_reply *reply)
{
    bool in_time = clock_mono_us() - s->sent_us <= r->conf.timeout_ms * 1000ull;
    r->probing = false;
    if (r->open && in_time && reply->type != REDIS_TYPE_ERROR) {
        breaker_reset(r);
        log_info("redis role=%s breaker=closed", r->role);
    }
}

/* false: the connection was dropped. */
static bool on_reply(struct redis *r, const struct redis_reply *reply)
{
    if (r->head == r->unsent) {
        redis_drop(r, "an answer to no command");
        return false;
    }
    struct slot s = *slot_at(r, r->head);
    bool in_time = r->head >= r->expired;
    r->head++;
    r->expired = r->expired < r->head ? r->head : r->expired;
    switch (s.kind) {
    case SLOT_OP:
        on_op_reply(r, &s, in_time, reply);
        break;
    case SLOT_LOAD:
        r->loading[s.script] = false;
        break;
    case SLOT_PROBE:
        on_probe_reply(r, &s, reply);
        break;
    case SLOT_GREETING:
        if (reply->type == REDIS_TYPE_ERROR) {
            char why[96];
            snprintf(why, sizeof(why), STR_FMT, (int)(reply->text.n < 80 ? reply->text.n : 80),
                     reply->text.p);
            redis_drop(r, why);
            return false;
        }
        if (--r->greetings == 0) {
            redis_is_up(r);
        }
        break;
    }
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct redis *r = arg;
    if (r->state == REDIS_STATE_CONNECTING) {
        return; /* on_writable tells how the connect went */
    }
    char bytes[READ_BYTES];
    ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        redis_drop(r, n == 0 ? "closed by the server" : strerror(errno));
        return;
    }
    int rc = redis_reader_feed(r->reader, bytes, (size_t)n);
    const struct redis_reply *reply = NULL;
    while (rc == 0 && (rc = redis_reader_next(r->reader, &reply)) == 1) {
        if (!on_reply(r, reply)) {
            return;
        }
        rc = 0;
    }
    if (rc < 0) {
        redis_drop(r, redis_reader_trouble(r->reader));
    }
}

/* --- time-outs ------------------------------------------------------------------------------------ */

static void slots_expire(struct redis *r, uint64_t now_us)
{
    uint64_t timeout_us = r->conf.timeout_ms * 1000ull;
    while (r->expired != r->unsent && slot_at(r, r->expired)->sent_us + timeout_us <= now_us) {
        struct slot *s = slot_at(r, r->expired);
        struct redis_op *op = s->op;
        s->op = NULL;
        r->expired++;
        if (s->kind == SLOT_OP) {
            breaker_record(r, true); /* also for those whose client did not wait */
        }
        if (op) {
            metric_child_add(r->metrics.results[REDIS_RESULT_TIMEOUT], 1);
            op_end(op, ERR_TIMEOUT, NULL);
        }
    }
}

static void arm_for_oldest(struct redis *r, uint64_t now_us)
{
    if (r->head == r->unsent) {
        return; /* nothing awaited: the next flush arms it */
    }
    uint64_t at = slot_at(r, r->head)->sent_us + r->conf.stall_ms * 1000ull;
    if (r->expired != r->unsent) {
        uint64_t due = slot_at(r, r->expired)->sent_us + r->conf.timeout_ms * 1000ull;
        at = due < at ? due : at;
    }
    loop_timer_arm(&r->timer, at > now_us ? (at - now_us) / 1000 + 1 : 1);
}

static void on_timer(void *arg)
{
    struct redis *r = arg;
    if (r->state == REDIS_STATE_DOWN) {
        redis_attempt(r);
        return;
    }
    if (r->state != REDIS_STATE_READY) {
        redis_drop(r, "connect timed out");
        return;
    }
    uint64_t now_us = clock_mono_us();
    slots_expire(r, now_us);
    if (r->head != r->unsent && slot_at(r, r->head)->sent_us + r->conf.stall_ms * 1000ull <= now_us) {
        redis_drop(r, "no answer");
        return;
    }
    arm_for_oldest(r, now_us);
}

/* --- loss ----------------------------------------------------------------------------------------- */

static void slots_fail(struct redis *r, int rc)
{
    uint64_t end = r->tail;
    while (r->head != end) {
        struct redis_op *op = slot_at(r, r->head)->op;
        r->head++;
        if (op) {
            metric_child_add(r->metrics.results[REDIS_RESULT_CLOSED], 1);
            op_end(op, rc, NULL);
        }
    }
    r->expired = r->unsent = r->head;
}

static void redis_close(struct redis *r)
{
    if (r->state == REDIS_STATE_READY) {
        metric_child_add(r->metrics.connections, -1);
    }
    r->state = REDIS_STATE_DOWN;
    if (r->fd >= 0) {
        event_del(&r->read_event);
        event_del(&r->write_event);
        close(r->fd);
        r->fd = -1;
    }
    buf_truncate(&r->out);
    redis_reader_reset(r->reader);
    memset(r->loading, 0, sizeof(r->loading));
    breaker_reset(r);
}

/* From any state to DOWN. Callbacks run from here; their own redis_send is refused. */
static void redis_drop(struct redis *r, const char *why)
{
    if (!r->told_down) {
        log_warn("redis role=%s state=down loop=%u at=%s why=\"%s\"", r->role, loop_index(r->loop),
                 r->conf.endpoint.text, why);
        r->told_down = true;
    }
    redis_close(r);
    redis_down(r);
    slots_fail(r, ERR_CLOSED);
}

/* --- life ----------------------------------------------------------------------------------------- */

static uint32_t power_of_two(uint32_t n)
{
    uint32_t p = 16;
    while (p < n) {
        p *= 2;
    }
    return p;
}

struct redis *redis_new(struct loop *loop, const struct redis_conf *conf, const char *role,
                        struct redis_script *const *scripts, unsigned script_count, struct err *err)
{
    BUG_ON(script_count > REDIS_SCRIPTS_MAX);
    struct buf password;
    buf_init(&password, PASSWORD_MAX);
    if (conf->password_file && secret_file_read(conf->password_file, &password, err) != 0) {
        buf_clear(&password);
        return NULL;
    }
    struct redis *r = calloc(1, sizeof(*r));
    BUG_ON(!r);
    *r = (struct redis){.loop = loop, .conf = *conf, .password = password, .role = role, .fd = -1};
    r->conf.max_pending = power_of_two(conf->max_pending);
    r->ring = calloc(r->conf.max_pending, sizeof(*r->ring));
    BUG_ON(!r->ring);
    r->script_count = script_count;
    for (unsigned i = 0; i < script_count; i++) {
        r->scripts[i] = scripts[i];
    }
    r->reader = redis_reader_new();
    buf_init(&r->out, conf->max_output_bytes);
    redis_metrics_init(&r->metrics, role);
    r->flush = (struct loop_task){.fn = redis_flush, .arg = r};
    loop_timer_init(loop, &r->timer, on_timer, r);
    loop_timer_init(loop, &r->probe_timer, on_probe_due, r);
    r->backoff_ms = BACKOFF_FIRST_MS;
    redis_attempt(r);
    return r;
}

void redis_free(struct redis *r)
{
    if (!r) {
        return;
    }
    r->told_down = true;
    redis_close(r);
    slots_fail(r, ERR_CANCELED);
    loop_task_cancel(r->loop, &r->flush);
    loop_timer_disarm(&r->timer);
    loop_timer_disarm(&r->probe_timer);
    redis_reader_free(r->reader);
    buf_clear(&r->out);
    secret_cleanse(r->password.p, r->password.n);
    buf_clear(&r->password);
    free(r->ring);
    free(r);
}

bool redis_is_ready(const struct redis *r)
{
    return r->state == REDIS_STATE_READY && !r->open;
}
