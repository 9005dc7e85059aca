/* What limits cost: decisions by lease, a storm of refusals, a spray of addresses, and Redis' own time for four keys.
 *
 *     tests/with-redis build/release/tests/limits_bench [NAME...]      all, or those named; build it with release
 *
 * Prints processor time and counts; checks nothing. TIDE_BENCH_SOURCES: addresses of the spray (10,000,000). */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"
#include "ratelimit/limiter.h"

enum { IN_FLIGHT = 64, KEYS = 4 };

static const struct limit_row rows[] = {
    {.name = "a1", .by = "account", .at = "leased", .limit = "5000000/1s", .burst = "5000000"},
    {.name = "a2",
     .by = "device",
     .at = "leased",
     .limit = "5000000/1s",
     .burst = "5000000",
     .newcomers = "exact"},
    {.name = "a3", .by = "apikey", .at = "leased", .limit = "5000000/1s", .burst = "5000000"},
    {.name = "a4",
     .by = "address",
     .at = "leased",
     .limit = "5000000/1s",
     .burst = "5000000",
     .newcomers = "exact"},
    {.name = "deny", .by = "address", .at = "deny", .limit = "1/1h", .burst = "8"},
    {.name = "spray", .by = "address", .prefixes = "32 64", .at = "spray", .limit = "50/1s", .burst = "100"},
    {.name = "slow", .by = "address", .at = "spray", .limit = "60/1h", .burst = "30"},
    {.name = "r1", .by = "account", .at = "four", .limit = "1000/1m", .lease = "off"},
    {.name = "r2", .by = "account", .at = "four", .limit = "50/1s", .burst = "100", .lease = "off"},
    {.name = "r3", .by = "account+route", .at = "four", .limit = "10000/1h", .lease = "off"},
    {.name = "r4", .by = "account+apikey", .at = "four", .limit = "100000/1d", .lease = "off"},
};

struct bench {
    struct loop *loop;
    struct loop_timer timer;
    struct limiter_shared *shared;
    struct redis *redis;
    struct limiter *limiter;
    struct limit_rules *rules;
};

static void on_timer(void *arg)
{
    loop_stop(((struct bench *)arg)->loop);
}

static void run_ms(struct bench *b, uint64_t ms)
{
    loop_timer_arm(&b->timer, ms);
    loop_run(b->loop);
}

static void bench_open(struct bench *b)
{
    struct err err = {0};
    struct limiter_conf conf = limiter_conf_default;
    struct redis_conf redis = redis_conf_default;
    unsigned n = 0;
    struct redis_script *const *scripts = limiter_scripts(&n);
    redis.address = getenv("TIDE_TEST_REDIS");
    redis.timeout_ms = 2000;
    redis.stall_ms = 10000;
    if (!redis.address) {
        fputs("limits_bench: run it under tests/with-redis\n", stderr);
        exit(2);
    }
    *b = (struct bench){.loop = loop_new("bench", 0)};
    loop_timer_init(b->loop, &b->timer, on_timer, b);
    b->rules = limit_rules_new(rows, sizeof(rows) / sizeof(rows[0]), &err);
    BUG_ON(!b->rules);
    b->shared = limiter_shared_new(&conf, "bench");
    b->redis = redis_new(b->loop, &redis, "limits", scripts, n, &err);
    BUG_ON(!b->redis);
    struct redis *const roles[LIMIT_ROLES] = {b->redis, b->redis};
    b->limiter = limiter_new(b->loop, b->shared, roles, false);
    for (int i = 0; i < 1000 && !redis_is_ready(b->redis); i++) {
        run_ms(b, 2);
    }
    BUG_ON(!redis_is_ready(b->redis));
}

static void bench_close(struct bench *b)
{
    limiter_free(b->limiter);
    redis_free(b->redis);
    limiter_shared_free(b->shared);
    limit_rules_unref(b->rules);
    loop_timer_disarm(&b->timer);
    loop_free(b->loop);
}

/* --- measures --------------------------------------------------------------------------------------- */

static double cpu_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* Processor time of the Redis server so far. */
static double redis_cpu_us(void)
{
    const char *pid = getenv("TIDE_TEST_REDIS_PID");
    char path[64];
    unsigned long long ns = 0;
    snprintf(path, sizeof(path), "/proc/%s/schedstat", pid ? pid : "0");
    FILE *f = fopen(path, "r");
    if (f) {
        ns = fscanf(f, "%llu", &ns) == 1 ? ns : 0;
        fclose(f);
    }
    return (double)ns / 1e3;
}

static long rss_kb(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    BUG_ON(!f || fscanf(f, "%*s %ld", &pages) != 1);
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

struct text_answer {
    struct bench *b;
    char text[65536];
};

static void on_text(void *arg, int rc, const struct redis_reply *reply)
{
    struct text_answer *a = arg;
    snprintf(a->text, sizeof(a->text), STR_FMT, STR_ARG(reply->text));
    loop_stop(a->b->loop);
}

/* A number of Redis' INFO; the size of the database as "dbsize". */
static long long redis_info(struct bench *b, const char *name)
{
    static struct text_answer a;
    struct redis_op op;
    struct str argv[] = {STR("INFO"), STR("everything")};
    a.b = b;
    BUG_ON(redis_command(b->redis, &op, 2, argv, on_text, &a) != 0);
    loop_run(b->loop);
    const char *at = strstr(a.text, name);
    return at ? strtoll(at + strlen(name) + 1, NULL, 10) : 0;
}

/* --- checks, many in flight -------------------------------------------------------------------------- */

struct slot {
    struct limit_check c;
    struct arena arena;
    struct flight *flight;
    bool waits;
};

struct flight {
    struct bench *b;
    const struct limit_set *set;
    void (*subject)(struct limit_subject *s, uint64_t i, char *text);
    struct slot slots[IN_FLIGHT];
    uint64_t next, wanted, local, denied, answered;
};

static void slot_fill(struct slot *s);

static void on_decided(void *arg, struct limit_check *c)
{
    struct slot *s = arg;
    s->waits = false;
    s->flight->denied += c->denied;
    s->flight->answered++;
    slot_fill(s);
    if (s->flight->next == s->flight->wanted) {
        loop_stop(s->flight->b->loop);
    }
}

/* Decides until one has to wait for Redis. */
static void slot_fill(struct slot *s)
{
    struct flight *f = s->flight;
    char text[64];
    while (f->next < f->wanted) {
        struct limit_subject who = {0};
        f->subject(&who, f->next++, text);
        arena_clear(&s->arena);
        if (!limiter_check(f->b->limiter, &s->c, f->set, &who, &s->arena, on_decided, s)) {
            s->waits = true;
            return;
        }
        f->local++;
        f->denied += s->c.denied;
    }
}

static void fly(struct flight *f, struct bench *b, const char *point, uint64_t n,
                void (*subject)(struct limit_subject *s, uint64_t i, char *text))
{
    *f = (struct flight){
        .b = b, .set = limit_rules_at(b->rules, str_from(point)), .subject = subject, .wanted = n};
    for (int i = 0; i < IN_FLIGHT; i++) {
        f->slots[i].flight = f;
        arena_init(&f->slots[i].arena);
    }
    for (int i = 0; i < IN_FLIGHT; i++) {
        slot_fill(&f->slots[i]);
    }
    for (int i = 0; i < IN_FLIGHT; i++) {
        while (f->slots[i].waits) {
            run_ms(b, 1);
        }
        arena_clear(&f->slots[i].arena);
    }
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void set_address(struct limit_subject *s, uint64_t prefix)
{
    s->address.b[0] = 0x20;
    for (int i = 1; i < 8; i++) {
        s->address.b[i] = (uint8_t)(prefix >> (8 * i));
    }
    s->address.b[15] = 1;
}

/* --- decisions by lease ------------------------------------------------------------------------------ */

static void one_user(struct limit_subject *s, uint64_t i, char *text)
{
    s->by[LIMIT_BY_ACCOUNT] = STR("https://issuer.example/0192f3a4-0000-7000-8000-00000000000f");
    s->by[LIMIT_BY_DEVICE] = STR("4d1bb9c8-3f4e-4d2b-8a1c-2f7d3e6a9b10");
    s->by[LIMIT_BY_APIKEY] = STR("publishable-key-of-the-app");
    set_address(s, 77);
}

static void lease(struct bench *b)
{
    enum { N = 4000000 };
    static struct flight f;
    fly(&f, b, "leased", 10000, one_user);
    double before = cpu_us();
    double redis = redis_cpu_us();
    fly(&f, b, "leased", N, one_user);
    double us = (cpu_us() - before) / N;
    printf("lease: %d keys, %.3f us a decision, %.2f M decisions/s a core, %.4f %% by lease, Redis %.4f us\n",
           KEYS, us, 1 / us, 100.0 * (double)f.local / N, (redis_cpu_us() - redis) / N);
}

/* --- refusals ---------------------------------------------------------------------------------------- */

static void storm_source(struct limit_subject *s, uint64_t i, char *text)
{
    set_address(s, mix(i % 1000));
}

static void deny(struct bench *b)
{
    enum { SECONDS = 5, PER_S = 100000, SLICES = 100 };
    static struct flight f;
    fly(&f, b, "deny", 12 * 1000, storm_source); /* all are over their limit */
    uint64_t local = 0, denied = 0;
    double redis = redis_cpu_us(), before = cpu_us();
    uint64_t began = clock_mono_us();
    for (uint64_t slice = 0; slice < SECONDS * SLICES; slice++) {
        fly(&f, b, "deny", PER_S / SLICES, storm_source);
        local += f.local;
        denied += f.denied;
        while (clock_mono_us() < began + (slice + 1) * 1000000 / SLICES) {
            usleep(200);
        }
    }
    double n = (double)SECONDS * PER_S;
    printf("deny: %d/s from 1000 sources for %d s: %.2f %% refused, %.3f %% here, %.2f us each, Redis %.2f "
           "%% of a "
           "core\n",
           PER_S, SECONDS, 100.0 * (double)denied / n, 100.0 * (double)local / n, (cpu_us() - before) / n,
           (redis_cpu_us() - redis) / (SECONDS * 1e4));
}

/* --- spray ------------------------------------------------------------------------------------------- */

static void sprayed(struct limit_subject *s, uint64_t i, char *text)
{
    set_address(s, mix(i));
}

static void four_users(struct limit_subject *s, uint64_t i, char *text)
{
    snprintf(text, 64, "user-%llu", (unsigned long long)(mix(i) % 1000000));
    s->by[LIMIT_BY_ACCOUNT] = str_from(text);
    s->by[LIMIT_BY_ROUTE] = STR("chat");
    s->by[LIMIT_BY_APIKEY] = STR("publishable-key-of-the-app");
}

static void spray(struct bench *b)
{
    enum { USERS = 10000 };
    static struct flight f;
    const char *text = getenv("TIDE_BENCH_SOURCES");
    uint64_t n = text ? strtoull(text, NULL, 10) : 10000000;
    fly(&f, b, "four", USERS, four_users);
    long long evicted = redis_info(b, "evicted_keys"), memory = redis_info(b, "used_memory");
    long rss = rss_kb();
    double before = cpu_us();
    fly(&f, b, "spray", n, sprayed);
    double us = (cpu_us() - before) / (double)n;
    printf("spray: %llu addresses, 2 rules each: %.2f us each, %.4f %% asked Redis, here +%ld MB, Redis "
           "+%lld MB "
           "(%lld MB), %lld keys evicted\n",
           (unsigned long long)n, us, 100.0 * (double)f.answered / (double)n, (rss_kb() - rss) / 1024,
           (redis_info(b, "used_memory") - memory) / 1048576, redis_info(b, "used_memory") / 1048576,
           redis_info(b, "evicted_keys") - evicted);
}

/* --- four keys in Redis ------------------------------------------------------------------------------ */

static void four(struct bench *b)
{
    enum { N = 300000 };
    static struct flight f;
    double before = cpu_us(), redis = redis_cpu_us();
    fly(&f, b, "four", N, four_users);
    double us = (redis_cpu_us() - redis) / N;
    printf("four: %d keys, %d in flight: Redis %.1f us a decision, %.1f k decisions/s a Redis core; here "
           "%.2f us\n",
           KEYS, IN_FLIGHT, us, 1e3 / us, (cpu_us() - before) / N);
}

static const struct {
    const char *name;
    void (*run)(struct bench *b);
} benches[] = {{"lease", lease}, {"four", four}, {"deny", deny}, {"spray", spray}};

int main(int argc, char **argv)
{
    struct bench b;
    bench_open(&b);
    for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
        bool wanted = argc < 2;
        for (int k = 1; k < argc; k++) {
            wanted = wanted || strcmp(argv[k], benches[i].name) == 0;
        }
        if (wanted) {
            benches[i].run(&b);
        }
    }
    bench_close(&b);
    return 0;
}
