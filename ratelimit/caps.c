#include "ratelimit/caps.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/metrics.h"

enum { COMMAND_MAX = 2048, TEXT = 24 };

static struct metric places = METRIC_COUNTER_L(
    "tidegate_signup_cap_places_total",
    "Places under caps of the sign-up policy: taken, given_back, full, or unavailable because the "
    "ledger did not answer.",
    "result");

/* KEYS: one hash of m, h, d: "number of the period, space, count". ARGV: take, peek or give; then for each period the
 * cap (take, peek) or the period of the place (give), negative: none. Answer: 1 or 0, seconds to wait, the periods.
 * A period that Redis has seen is never gone back from, so that a clock that steps back frees nothing. */
struct redis_script caps_script = {
    .source = STR_INIT("local now = tonumber(redis.call('TIME')[1])\n"
                       "local fields, widths = {'m', 'h', 'd'}, {60, 3600, 86400}\n"
                       "local stored = redis.call('HMGET', KEYS[1], 'm', 'h', 'd')\n"
                       "local answer, write = {1, 0, -1, -1, -1}, {}\n"
                       "for i = 1, 3 do\n"
                       "  local said = tonumber(ARGV[i + 1])\n"
                       "  local period, count = string.match(stored[i] or '', '^(%d+) (%d+)$')\n"
                       "  period, count = tonumber(period) or 0, tonumber(count) or 0\n"
                       "  if ARGV[1] == 'give' then\n"
                       "    if said == period and count > 0 then write[i] = {period, count - 1} end\n"
                       "  elseif said >= 0 then\n"
                       "    local current = math.floor(now / widths[i])\n"
                       "    if period < current then period, count = current, 0 end\n"
                       "    answer[i + 2] = period\n"
                       "    write[i] = {period, count + 1}\n"
                       "    if count >= said then\n"
                       "      answer[1] = 0\n"
                       "      answer[2] = math.max(answer[2], (period + 1) * widths[i] - now)\n"
                       "    end\n"
                       "  end\n"
                       "end\n"
                       "if answer[1] == 1 and ARGV[1] ~= 'peek' then\n"
                       "  for i, w in pairs(write) do\n"
                       "    redis.call('HSET', KEYS[1], fields[i], string.format('%d %d', w[1], w[2]))\n"
                       "    redis.call('EXPIRE', KEYS[1], 172800)\n"
                       "  end\n"
                       "end\n"
                       "return answer\n"),
};

struct caps_question {
    struct redis_op op;
    struct caps_place place;
    bool takes;
    struct buf command; /* lives as long as the op: it may be sent again */
    caps_cb done;
    void *arg;
};

static void count(const char *result)
{
    metric_child_add(metric_child(&places, result), 1);
}

static void command_write(struct buf *out, const char *verb, const struct caps_place *place,
                          const int64_t said[CAPS_PERIODS])
{
    char key[CAPS_NAME_MAX + 16], numbers[CAPS_PERIODS][TEXT];
    struct str argv[4 + CAPS_PERIODS + 1] = {STR("EVALSHA"), str_from(caps_script.sha), STR("1")};
    snprintf(key, sizeof key, "cap:{%s}", place->name);
    argv[3] = str_from(key);
    argv[4] = str_from(verb);
    for (unsigned i = 0; i < CAPS_PERIODS; i++) {
        snprintf(numbers[i], TEXT, "%lld", (long long)said[i]);
        argv[5 + i] = str_from(numbers[i]);
    }
    redis_format(out, 5 + CAPS_PERIODS, argv);
}

/* The script's answer as an error code. */
static int answer_read(const struct redis_reply *reply, struct caps_place *place, int64_t *wait_s)
{
    int64_t numbers[2 + CAPS_PERIODS];
    unsigned n = 0;
    if (reply->type != REDIS_TYPE_ARRAY || reply->count != 2 + CAPS_PERIODS) {
        return ERR_UNAVAILABLE;
    }
    for (const struct redis_reply *item = reply->items; item; item = item->next) {
        numbers[n++] = item->integer;
    }
    memcpy(place->periods, numbers + 2, sizeof place->periods);
    *wait_s = numbers[1];
    return numbers[0] == 1 ? 0 : ERR_LIMIT;
}

static void answer(struct caps_question *q, int rc, int64_t wait_s)
{
    if (q->takes || rc != 0) {
        count(rc == 0 ? "taken" : rc == ERR_LIMIT ? "full" : "unavailable");
    }
    q->done(q->arg, rc, wait_s, rc == 0 && q->takes ? &q->place : NULL);
    buf_clear(&q->command);
    free(q);
}

static void on_answer(void *arg, int rc, const struct redis_reply *reply)
{
    struct caps_question *q = arg;
    int64_t wait_s = 0;
    if (rc == 0) {
        rc = answer_read(reply, &q->place, &wait_s);
    } else if (rc != ERR_CANCELED) {
        rc = ERR_UNAVAILABLE; /* a place that was taken without our hearing of it stays taken */
    }
    answer(q, rc, wait_s);
}

void caps_ask(struct redis *ledger, struct str name, const uint32_t most[CAPS_PERIODS], bool takes,
              caps_cb done, void *arg)
{
    int64_t said[CAPS_PERIODS];
    struct caps_question *q = calloc(1, sizeof *q);
    BUG_ON(!q || name.n > CAPS_NAME_MAX);
    q->takes = takes;
    q->done = done;
    q->arg = arg;
    memcpy(q->place.name, name.p, name.n);
    for (unsigned i = 0; i < CAPS_PERIODS; i++) {
        said[i] = most[i] == CAPS_NONE ? -1 : (int64_t)most[i];
    }
    buf_init(&q->command, COMMAND_MAX);
    command_write(&q->command, takes ? "take" : "peek", &q->place, said);
    if (!ledger || redis_send(ledger, &q->op, buf_str(&q->command), &caps_script, on_answer, q) != 0) {
        answer(q, ERR_UNAVAILABLE, 0);
    }
}

void caps_give_back(struct redis *ledger, const struct caps_place *place)
{
    struct buf command;
    buf_init(&command, COMMAND_MAX);
    command_write(&command, "give", place, place->periods);
    /* one that cannot be sent stays taken until its period is over */
    bool is_sent = ledger && redis_send(ledger, NULL, buf_str(&command), NULL, NULL, NULL) == 0;
    count(is_sent ? "given_back" : "unavailable");
    buf_clear(&command);
}
