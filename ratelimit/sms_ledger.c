#include "ratelimit/sms_ledger.h"

#include <stdio.h>

#include "base/clock.h"

enum { COMMAND_MAX = 4096, ARGS_MAX = 16, NUMBER_MAX = 24, DAY_KEEP_MS = 3 * 86400000, TOP_NODES = 3 };

static const char *const kinds[TOP_NODES] = {"country", "prefix", "provider"};

/* KEYS: counts of the prefix, blocked. ARGV: prefix, window, grace, sends, percent, block (ms).
 * Answer: allowed, retry_ms, is_new, sent, used. */
struct redis_script sms_script_ask = {
    .source = STR_INIT("local time = redis.call('TIME')\n"
                       "local now = time[1] * 1000 + math.floor(time[2] / 1000)\n"
                       "local window, grace = tonumber(ARGV[2]), tonumber(ARGV[3])\n"
                       "local ends = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]))\n"
                       "if ends and ends > now then return {0, ends - now, 0, 0, 0} end\n"
                       "if ends then redis.call('ZREM', KEYS[2], ARGV[1]) end\n"
                       "local width = math.max(1, math.floor(window / 10))\n"
                       "local slot = math.floor(now / width)\n"
                       "local sent, used, old = 0, 0, {}\n"
                       "local fields = redis.call('HGETALL', KEYS[1])\n"
                       "for i = 1, #fields, 2 do\n"
                       "  local kind, at = string.match(fields[i], '^(%a)(%d+)$')\n"
                       "  local count = tonumber(fields[i + 1])\n"
                       "  at = tonumber(at)\n"
                       "  if not at or not count or at <= slot - 10 or at > slot then\n"
                       "    old[#old + 1] = fields[i]\n"
                       "  elseif kind == 'u' then\n"
                       "    used = used + count\n"
                       "  elseif (at + 1) * width <= now - grace then\n"
                       "    sent = sent + count\n"
                       "  end\n"
                       "end\n"
                       "local least = tonumber(ARGV[4])\n"
                       "if least > 0 and sent >= least and used * 100 < sent * tonumber(ARGV[5]) then\n"
                       "  redis.call('ZADD', KEYS[2], now + ARGV[6], ARGV[1])\n"
                       "  redis.call('DEL', KEYS[1])\n"
                       "  return {0, tonumber(ARGV[6]), 1, sent, used}\n"
                       "end\n"
                       "if old[1] then redis.call('HDEL', KEYS[1], unpack(old)) end\n"
                       "redis.call('HINCRBY', KEYS[1], 's' .. string.format('%d', slot), 1)\n"
                       "redis.call('PEXPIRE', KEYS[1], window + grace + width)\n"
                       "return {1, 0, 0, sent, used}\n"),
};

/* KEYS: counts of the prefix. ARGV: "s" or "u", change, window, grace. */
struct redis_script sms_script_count = {
    .source = STR_INIT("local time = redis.call('TIME')\n"
                       "local now = time[1] * 1000 + math.floor(time[2] / 1000)\n"
                       "local width = math.max(1, math.floor(ARGV[3] / 10))\n"
                       "local slot = math.floor(now / width)\n"
                       "redis.call('HINCRBY', KEYS[1], ARGV[1] .. string.format('%d', slot), ARGV[2])\n"
                       "redis.call('PEXPIRE', KEYS[1], ARGV[3] + ARGV[4] + width)\n"
                       "return 1\n"),
};

/* KEYS: for each kind its costs and its counts. ARGV: price, life of the keys, then a member for each kind. */
struct redis_script sms_script_account = {
    .source = STR_INIT("for i = 1, #KEYS / 2 do\n"
                       "  redis.call('ZINCRBY', KEYS[2 * i - 1], ARGV[1], ARGV[i + 2])\n"
                       "  redis.call('ZINCRBY', KEYS[2 * i], 1, ARGV[i + 2])\n"
                       "  redis.call('PEXPIRE', KEYS[2 * i - 1], ARGV[2])\n"
                       "  redis.call('PEXPIRE', KEYS[2 * i], ARGV[2])\n"
                       "end\n"
                       "return 1\n"),
};

/* KEYS: blocked, then as account. ARGV: most. */
struct redis_script sms_script_top = {
    .source = STR_INIT("local time = redis.call('TIME')\n"
                       "local now = time[1] * 1000 + math.floor(time[2] / 1000)\n"
                       "local most = tonumber(ARGV[1])\n"
                       "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)\n"
                       "local answer = {now, redis.call('ZRANGE', KEYS[1], 0, most - 1, 'WITHSCORES')}\n"
                       "for i = 2, #KEYS, 2 do\n"
                       "  local rows = {}\n"
                       "  local costs = redis.call('ZREVRANGE', KEYS[i], 0, most - 1, 'WITHSCORES')\n"
                       "  for j = 1, #costs, 2 do\n"
                       "    rows[#rows + 1] = costs[j]\n"
                       "    rows[#rows + 1] = costs[j + 1]\n"
                       "    rows[#rows + 1] = redis.call('ZSCORE', KEYS[i + 1], costs[j]) or '0'\n"
                       "  end\n"
                       "  answer[#answer + 1] = rows\n"
                       "end\n"
                       "return answer\n"),
};

/* KEYS: blocked. ARGV: prefix or "all", whether this is a trial. */
struct redis_script sms_script_unblock = {
    .source = STR_INIT("local time = redis.call('TIME')\n"
                       "local now = time[1] * 1000 + math.floor(time[2] / 1000)\n"
                       "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)\n"
                       "local blocks = redis.call('ZCARD', KEYS[1])\n"
                       "if ARGV[1] ~= 'all' then\n"
                       "  blocks = redis.call('ZSCORE', KEYS[1], ARGV[1]) and 1 or 0\n"
                       "end\n"
                       "if ARGV[2] == '1' then\n"
                       "  return blocks\n"
                       "end\n"
                       "if ARGV[1] == 'all' then\n"
                       "  redis.call('DEL', KEYS[1])\n"
                       "else\n"
                       "  redis.call('ZREM', KEYS[1], ARGV[1])\n"
                       "end\n"
                       "return blocks\n"),
};

void sms_scripts_init(void)
{
    redis_script_init(&sms_script_ask);
    redis_script_init(&sms_script_count);
    redis_script_init(&sms_script_account);
    redis_script_init(&sms_script_top);
    redis_script_init(&sms_script_unblock);
}

/* --- commands -------------------------------------------------------------------------------------- */

/* EVALSHA under construction: its texts are in `text`, which does not move while it is built. */
struct command {
    struct str argv[3 + ARGS_MAX];
    unsigned n;
    char text[COMMAND_MAX];
    size_t used;
};

static struct str keep(struct command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static struct str keep(struct command *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(c->text + c->used, sizeof c->text - c->used, fmt, ap);
    va_end(ap);
    BUG_ON(n < 0 || (size_t)n >= sizeof c->text - c->used);
    struct str s = str_of(c->text + c->used, (size_t)n);
    c->used += (size_t)n + 1;
    return s;
}

static void add(struct command *c, struct str s)
{
    BUG_ON(c->n == sizeof c->argv / sizeof c->argv[0]);
    c->argv[c->n++] = s;
}

static void add_number(struct command *c, uint64_t v)
{
    add(c, keep(c, "%llu", (unsigned long long)v));
}

static void begin(struct command *c, const struct redis_script *script, unsigned keys)
{
    c->n = 0;
    c->used = 0;
    add(c, STR("EVALSHA"));
    add(c, str_of(script->sha, 40));
    add_number(c, keys);
}

static void add_counts_key(struct command *c, struct str prefix)
{
    add(c, keep(c, "{sms}:counts:" STR_FMT, STR_ARG(prefix)));
}

static void add_blocked_key(struct command *c)
{
    add(c, STR("{sms}:blocked"));
}

static void add_day_keys(struct command *c)
{
    int64_t day = clock_wall_s() / 86400; /* UTC */
    for (unsigned i = 0; i < TOP_NODES; i++) {
        add(c, keep(c, "{sms}:day:%lld:%s:cost", (long long)day, kinds[i]));
        add(c, keep(c, "{sms}:day:%lld:%s:sent", (long long)day, kinds[i]));
    }
}

/* Nobody waits; without an op the script is not replayed, so it is sent whole: EVAL loads it as well. */
static void send_off(struct redis *redis, struct command *c, const struct redis_script *script)
{
    c->argv[0] = STR("EVAL");
    c->argv[1] = script->source;
    if (redis != NULL) {
        (void)!redis_command(redis, NULL, c->n, c->argv, NULL, NULL);
    }
}

static int send_asked(struct redis *redis, struct redis_op *op, struct command *c,
                      struct redis_script *script, struct arena *arena, redis_cb cb, void *arg)
{
    struct buf b;
    buf_init(&b, 2 * COMMAND_MAX);
    redis_format(&b, c->n, c->argv);
    struct str text = arena_dup(arena, buf_str(&b));
    buf_clear(&b);
    return redis_send(redis, op, text, script, cb, arg);
}

/* --- the guard -------------------------------------------------------------------------------------- */

static uint64_t number_at(const struct redis_reply *reply, unsigned i)
{
    const struct redis_reply *item = reply->items;
    while (item != NULL && i-- > 0) {
        item = item->next;
    }
    return item != NULL && item->type == REDIS_TYPE_INTEGER && item->integer > 0 ? (uint64_t)item->integer
                                                                                 : 0;
}

static void on_asked(void *arg, int rc, const struct redis_reply *reply)
{
    struct sms_ask *ask = arg;
    struct sms_verdict v = {.is_blocked = false};
    if (rc == 0 && reply->type == REDIS_TYPE_ARRAY && reply->count == 5) {
        v = (struct sms_verdict){.is_blocked = number_at(reply, 0) == 0,
                                 .retry_ms = number_at(reply, 1),
                                 .is_new = number_at(reply, 2) != 0,
                                 .sent = number_at(reply, 3),
                                 .used = number_at(reply, 4)};
    }
    ask->done(ask->arg, &v);
}

void sms_ledger_ask(struct redis *redis, struct sms_ask *ask, const struct sms_guard_conf *conf,
                    struct str prefix, struct arena *arena,
                    void (*done)(void *arg, const struct sms_verdict *v), void *arg)
{
    static const struct sms_verdict unknown;
    struct command c;
    *ask = (struct sms_ask){.done = done, .arg = arg};
    begin(&c, &sms_script_ask, 2);
    add_counts_key(&c, prefix);
    add_blocked_key(&c);
    add(&c, prefix);
    add_number(&c, conf->window_ms);
    add_number(&c, conf->grace_ms);
    add_number(&c, conf->sends);
    add_number(&c, conf->percent);
    add_number(&c, conf->block_ms);
    if (redis == NULL || send_asked(redis, &ask->op, &c, &sms_script_ask, arena, on_asked, ask) != 0) {
        done(arg, &unknown);
    }
}

static void count(struct redis *redis, const struct sms_guard_conf *conf, struct str prefix, struct str kind,
                  struct str change)
{
    struct command c;
    begin(&c, &sms_script_count, 1);
    add_counts_key(&c, prefix);
    add(&c, kind);
    add(&c, change);
    add_number(&c, conf->window_ms);
    add_number(&c, conf->grace_ms);
    send_off(redis, &c, &sms_script_count);
}

void sms_ledger_undo(struct redis *redis, const struct sms_guard_conf *conf, struct str prefix)
{
    count(redis, conf, prefix, STR("s"), STR("-1"));
}

void sms_ledger_used(struct redis *redis, const struct sms_guard_conf *conf, struct str prefix)
{
    count(redis, conf, prefix, STR("u"), STR("1"));
}

static void on_unblocked(void *arg, int rc, const struct redis_reply *reply)
{
    struct sms_lift *lift = arg;
    bool is_known = rc == 0 && reply->type == REDIS_TYPE_INTEGER;
    lift->done(lift->arg, rc != 0 || is_known ? rc : ERR_UNAVAILABLE, is_known ? reply->integer : 0);
}

int sms_ledger_unblock(struct redis *redis, struct sms_lift *lift, struct str prefix, bool is_trial,
                       struct arena *arena, void (*done)(void *arg, int rc, int64_t blocks), void *arg)
{
    struct command c;
    *lift = (struct sms_lift){.done = done, .arg = arg};
    begin(&c, &sms_script_unblock, 1);
    add_blocked_key(&c);
    add(&c, prefix);
    add_number(&c, is_trial);
    return redis != NULL ? send_asked(redis, &lift->op, &c, &sms_script_unblock, arena, on_unblocked, lift)
                         : ERR_UNAVAILABLE;
}

/* --- cost ------------------------------------------------------------------------------------------- */

void sms_ledger_account(struct redis *redis, const struct sms_sent *s)
{
    struct command c;
    begin(&c, &sms_script_account, 2 * TOP_NODES);
    add_day_keys(&c);
    add_number(&c, s->price);
    add_number(&c, DAY_KEEP_MS);
    add(&c, s->country.n > 0 ? s->country : STR("-"));
    add(&c, s->prefix);
    add(&c, s->provider);
    send_off(redis, &c, &sms_script_account);
}

static void on_top(void *arg, int rc, const struct redis_reply *reply)
{
    struct sms_top *top = arg;
    top->done(top->arg, rc, reply);
}

int sms_ledger_top(struct redis *redis, struct sms_top *top, unsigned most, struct arena *arena,
                   void (*done)(void *arg, int rc, const struct redis_reply *reply), void *arg)
{
    struct command c;
    *top = (struct sms_top){.done = done, .arg = arg};
    begin(&c, &sms_script_top, 1 + 2 * TOP_NODES);
    add_blocked_key(&c);
    add_day_keys(&c);
    add_number(&c, most);
    return redis != NULL ? send_asked(redis, &top->op, &c, &sms_script_top, arena, on_top, top)
                         : ERR_UNAVAILABLE;
}
