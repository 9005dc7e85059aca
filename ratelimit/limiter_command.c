#include "ratelimit/limiter_command.h"

#include <stdio.h>

#include "ratelimit/limiter_key.h"
#include "ratelimit/scripts.h"

/* Bytes of a command: its fixed part, each key with its length, a number. */
enum { HEAD_MAX = 128, KEY_MAX = LIMIT_KEY_TEXT + 8, NUMBER_MAX = 32 };

static char *put(char *p, const void *bytes, size_t n)
{
    memcpy(p, bytes, n);
    return p + n;
}

#define PUT(p, literal) put((p), (literal), sizeof(literal) - 1)

_Static_assert(LIMIT_AT_MAX < 100, "a count of keys has at most two digits");

static char *put_small(char *p, unsigned v)
{
    p = v >= 10 ? PUT(p, "$2\r\n") : PUT(p, "$1\r\n");
    return PUT(str_put_u64(p, v), "\r\n");
}

static char *put_number(char *p, int64_t v)
{
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%lld", (long long)v);
    return p + snprintf(p, NUMBER_MAX, "$%d\r\n%s\r\n", n, digits);
}

static char *put_key(char *p, const struct limit_key_state *k)
{
    char text[LIMIT_KEY_TEXT];
    size_t n = limiter_key_text(k, text);
    p = PUT(str_put_u64(PUT(p, "$"), n), "\r\n");
    return PUT(put(p, text, n), "\r\n");
}

static char *put_args(char *p, const struct limit_key_state *k)
{
    const struct limit_rule *rule = k->rule;
    if (k->tau_us != rule->gcra.tau_us) {
        p = put_number(p, k->inc_us);
        p = put_number(p, k->tau_us);
        return put_number(p, rule->gcra.cap_us);
    }
    if (k->inc_us == rule->inc_us) {
        return put(p, rule->args, rule->args_n);
    }
    p = put_number(p, k->inc_us);
    return put(p, rule->args + rule->args_inc_n, rule->args_n - rule->args_inc_n);
}

struct str limiter_command_take(const struct limit_call *call, struct arena *arena)
{
    const struct limit_key_state *keys = call->check->keys;
    size_t room = HEAD_MAX;
    unsigned enforced = 0;
    for (unsigned i = 0; i < call->count; i++) {
        const struct limit_rule *rule = keys[call->keys[i]].rule;
        room += KEY_MAX + 3 * NUMBER_MAX + rule->args_n;
        enforced += !rule->shadow;
    }
    char *start = arena_alloc(arena, room);
    char *p = PUT(start, "*");
    p = PUT(str_put_u64(p, 4 + 4 * call->count), "\r\n$7\r\nEVALSHA\r\n$40\r\n");
    p = PUT(put(p, limit_script_take.sha, 40), "\r\n");
    p = put_small(p, call->count);
    for (unsigned i = 0; i < call->count; i++) {
        p = put_key(p, &keys[call->keys[i]]);
    }
    p = put_small(p, enforced);
    for (unsigned i = 0; i < call->count; i++) {
        p = put_args(p, &keys[call->keys[i]]);
    }
    BUG_ON((size_t)(p - start) > room);
    return str_of(start, (size_t)(p - start));
}

void limiter_command_settle(struct redis *redis, const struct limit_key_state *k, int64_t inc_us)
{
    char key[LIMIT_KEY_TEXT];
    char inc[24];
    char cap[24];
    size_t key_n = limiter_key_text(k, key);
    snprintf(inc, sizeof(inc), "%lld", (long long)inc_us);
    snprintf(cap, sizeof(cap), "%lld", (long long)k->rule->gcra.cap_us);
    struct str argv[] = {str_of(key, key_n), str_from(inc), str_from(cap)};
    int rc = redis_post(redis, &limit_script_settle, 1, 3, argv);
    (void)rc; /* away: the key ends by itself */
}
