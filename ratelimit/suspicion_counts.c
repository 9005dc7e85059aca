#include "ratelimit/suspicion_counts.h"

#include <sodium.h>
#include <string.h>

/* Keys: address, network's requests, codes used, trap and, when the kind of client is known, ja4. Arguments: "1" to
 * count or "0" to look; life of the address's key, of the others; the number. Answer: one number a key. */
struct redis_script suspicion_script_network = {
    .source =
        STR_INIT("local counts = ARGV[1] == '1'\n"
                 "local function requests(key, life)\n"
                 "  if not counts then return tonumber(redis.call('GET', key) or 0) end\n"
                 "  local n = redis.call('INCR', key)\n"
                 "  if n == 1 then redis.call('PEXPIRE', key, life) end\n"
                 "  return n\n"
                 "end\n"
                 "local answer = {requests(KEYS[1], ARGV[2]), requests(KEYS[2], ARGV[3]),\n"
                 "  tonumber(redis.call('GET', KEYS[3]) or 0), redis.call('EXISTS', KEYS[4]), 0}\n"
                 "if KEYS[5] then\n"
                 "  if counts then\n"
                 "    redis.call('PFADD', KEYS[5], ARGV[4])\n"
                 "    if redis.call('PTTL', KEYS[5]) < 0 then redis.call('PEXPIRE', KEYS[5], ARGV[3]) end\n"
                 "  end\n"
                 "  answer[5] = redis.call('PFCOUNT', KEYS[5])\n"
                 "end\n"
                 "return answer\n"),
};

/* One counter: "1" to count or "0" to look, its life. Answer: the count. */
struct redis_script suspicion_script_count = {
    .source = STR_INIT("if ARGV[1] == '0' then return tonumber(redis.call('GET', KEYS[1]) or 0) end\n"
                       "local n = redis.call('INCR', KEYS[1])\n"
                       "if n == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end\n"
                       "return n\n"),
};

void suspicion_scripts_init(void)
{
    redis_script_init(&suspicion_script_network);
    redis_script_init(&suspicion_script_count);
}

/* --- names ---------------------------------------------------------------------------------------- */

enum { NAME_MAX_BYTES = 64, COMMAND_MAX = 1024, HASH_TEXT = 17, DIGITS_MAX = 20 };

static void hash(const struct suspicion_store *s, struct str text, char out[HASH_TEXT])
{
    uint8_t digest[crypto_shorthash_BYTES];
    crypto_shorthash(digest, (const uint8_t *)text.p, text.n, s->key);
    str_hex_encode(digest, sizeof digest, out);
}

static void hash_address(const struct suspicion_store *s, const struct addr *a, unsigned bits4,
                         unsigned bits6, char out[HASH_TEXT])
{
    struct addr_prefix p = addr_mask(a, bits4, bits6);
    hash(s, str_of((const char *)p.addr.b, sizeof p.addr.b), out);
}

/* Without printf: each code request comes through here. */
static char *put(char *to, const char *text)
{
    size_t n = strlen(text);
    memcpy(to, text, n);
    return to + n;
}

/* part: of what is counted for the network; of an address besides, or of a JA4. */
static struct str name(char out[NAME_MAX_BYTES], const char *network, const char *part, const char *of)
{
    char *end = put(put(put(put(put(out, "su:{"), network), "}"), part), of);
    return str_of(out, (size_t)(end - out));
}

static struct str number(char out[DIGITS_MAX], uint64_t n)
{
    return str_of(out, (size_t)(str_put_u64(out, n) - out));
}

/* --- asking --------------------------------------------------------------------------------------- */

static void part_done(struct suspicion_query *q, int rc)
{
    q->is_failed = q->is_failed || rc != 0;
    if (--q->waiting == 0) {
        q->counts.is_whole = !q->is_failed;
        q->done(q->arg);
    }
}

static uint32_t small(int64_t v)
{
    return v < 0 ? 0 : v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

static void on_network(void *arg, int rc, const struct redis_reply *reply)
{
    struct suspicion_query *q = arg;
    uint32_t v[5] = {0};
    if (rc == 0 && (reply->type != REDIS_TYPE_ARRAY || reply->count != 5)) {
        rc = ERR_PROTOCOL;
    }
    const struct redis_reply *item = rc == 0 ? reply->items : NULL;
    for (unsigned i = 0; i < 5 && item; i++, item = item->next) {
        v[i] = small(item->integer);
    }
    q->counts.of_address = v[0];
    q->counts.of_network = v[1];
    q->counts.verified = v[2];
    q->counts.is_trapped = v[3] > 0;
    q->counts.ja4_numbers = v[4];
    part_done(q, rc);
}

static void on_prefix(void *arg, int rc, const struct redis_reply *reply)
{
    struct suspicion_query *q = arg;
    q->counts.of_prefix = rc == 0 && reply->type == REDIS_TYPE_INTEGER ? small(reply->integer) : 0;
    part_done(q, rc);
}

/* keys_n of argv's texts after the script's name are its keys. */
static int send_script(const struct suspicion_store *s, struct redis_script *script, struct redis_op *op,
                       unsigned keys_n, unsigned argc, struct str *argv, struct arena *arena, redis_cb cb,
                       void *arg)
{
    struct buf b;
    char count[DIGITS_MAX];
    argv[0] = STR("EVALSHA");
    argv[1] = str_of(script->sha, 40);
    argv[2] = number(count, keys_n);
    buf_init(&b, COMMAND_MAX);
    buf_reserve(&b, COMMAND_MAX); /* at once */
    redis_format(&b, argc, argv);
    struct str command = arena ? arena_dup(arena, buf_str(&b)) : buf_str(&b);
    int rc = redis_send(s->redis, op, command, op ? script : NULL, cb, arg);
    buf_clear(&b);
    return rc;
}

static void ask_network(const struct suspicion_store *s, const struct suspicion_who *who, const char *counts,
                        struct arena *arena, struct suspicion_query *q)
{
    char network[HASH_TEXT], address[HASH_TEXT], ja4[HASH_TEXT];
    char names[5][NAME_MAX_BYTES], velocity[DIGITS_MAX], window[DIGITS_MAX];
    hash_address(s, &who->client, 24, 48, network);
    hash_address(s, &who->client, 32, 64, address);
    hash(s, who->ja4, ja4);
    bool has_ja4 = who->ja4.n > 0;
    unsigned n = 3;
    struct str argv[12];
    argv[n++] = name(names[0], network, "a", address);
    argv[n++] = name(names[1], network, "n", "");
    argv[n++] = name(names[2], network, "v", "");
    argv[n++] = name(names[3], network, "t", address);
    if (has_ja4) {
        argv[n++] = name(names[4], network, "j", ja4);
    }
    argv[n++] = str_from(counts);
    argv[n++] = number(velocity, s->conf->velocity_window_ms);
    argv[n++] = number(window, s->conf->window_ms);
    argv[n++] = who->number;
    if (send_script(s, &suspicion_script_network, &q->network, has_ja4 ? 5 : 4, n, argv, arena, on_network,
                    q) != 0) {
        part_done(q, ERR_UNAVAILABLE);
    }
}

static void ask_prefix(const struct suspicion_store *s, const struct suspicion_who *who, const char *counts,
                       struct arena *arena, struct suspicion_query *q)
{
    char prefix[HASH_TEXT], key[NAME_MAX_BYTES], window[DIGITS_MAX];
    hash(s, who->prefix, prefix);
    struct str argv[6] = {[3] = name(key, prefix, "p", ""),
                          [4] = str_from(counts),
                          [5] = number(window, s->conf->prefix_window_ms)};
    if (send_script(s, &suspicion_script_count, &q->prefix, 1, 6, argv, arena, on_prefix, q) != 0) {
        part_done(q, ERR_UNAVAILABLE);
    }
}

static void ask(const struct suspicion_store *s, const struct suspicion_who *who, const char *counts,
                struct arena *arena, struct suspicion_query *q, void (*done)(void *arg), void *arg)
{
    *q = (struct suspicion_query){.waiting = 1, .done = done, .arg = arg};
    if (s->redis) {
        q->waiting += who->prefix.n > 0 ? 2 : 1;
        ask_network(s, who, counts, arena, q);
        if (who->prefix.n > 0) {
            ask_prefix(s, who, counts, arena, q);
        }
    }
    part_done(q, s->redis ? 0 : ERR_UNAVAILABLE); /* the one that kept done from coming meanwhile */
}

void suspicion_count(const struct suspicion_store *s, const struct suspicion_who *who, struct arena *arena,
                     struct suspicion_query *q, void (*done)(void *arg), void *arg)
{
    ask(s, who, "1", arena, q, done, arg);
}

void suspicion_peek(const struct suspicion_store *s, const struct suspicion_who *who, struct arena *arena,
                    struct suspicion_query *q, void (*done)(void *arg), void *arg)
{
    ask(s, who, "0", arena, q, done, arg);
}

void suspicion_forget(struct suspicion_query *q)
{
    if (q->waiting > 0) {
        q->waiting = 0;
        redis_cancel(&q->network);
        redis_cancel(&q->prefix);
    }
}

/* --- noting --------------------------------------------------------------------------------------- */

void suspicion_note_verified(const struct suspicion_store *s, const struct addr *client)
{
    char network[HASH_TEXT], key[NAME_MAX_BYTES], window[DIGITS_MAX];
    if (!s->redis) {
        return;
    }
    hash_address(s, client, 24, 48, network);
    struct str argv[6] = {
        [3] = name(key, network, "v", ""), [4] = STR("1"), [5] = number(window, s->conf->window_ms)};
    (void)!send_script(s, &suspicion_script_count, NULL, 1, 6, argv, NULL, NULL, NULL);
}

void suspicion_note_trap(const struct suspicion_store *s, const struct addr *client)
{
    char network[HASH_TEXT], address[HASH_TEXT], key[NAME_MAX_BYTES], life[DIGITS_MAX];
    if (!s->redis) {
        return;
    }
    hash_address(s, client, 24, 48, network);
    hash_address(s, client, 32, 64, address);
    const struct str argv[] = {STR("SET"), name(key, network, "t", address), STR("1"), STR("PX"),
                               number(life, s->conf->trap_ms)};
    (void)!redis_command(s->redis, NULL, 5, argv, NULL, NULL);
}
