/* What the parts of base cost that every request touches, in nanoseconds of processor time a call (all threads
 * of the process); build it with the preset release. Usage: base_bench [NAME...] runs all, or those named. Not a test: it cannot fail. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "base/jws.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "base/token_cache.h"

struct bench {
    const char *name;
    unsigned calls; /* of one round */
    void (*run)(unsigned calls);
};

static volatile uint64_t sink;

static void arena_request(unsigned calls)
{
    struct arena a;
    arena_init(&a);
    for (unsigned i = 0; i < calls; i++) {
        for (int k = 0; k < 20; k++) {
            sink += (uintptr_t)arena_alloc(&a, 96);
        }
        arena_clear(&a);
    }
}

static struct metric counter = METRIC_COUNTER("bench_total", "A counter.");
static struct metric histogram = METRIC_HISTOGRAM("bench_seconds", "A histogram.");

static void metric_count(unsigned calls)
{
    for (unsigned i = 0; i < calls; i++) {
        metric_add(&counter, 1);
    }
}

static void metric_observe(unsigned calls)
{
    for (unsigned i = 0; i < calls; i++) {
        metric_observe_us(&histogram, 1500);
    }
}

static void request_id(unsigned calls)
{
    char id[ID_REQUEST_TEXT + 1];
    for (unsigned i = 0; i < calls; i++) {
        id_request(id);
        sink += (uint8_t)id[31];
    }
}

static char chat[4096];

static void make_chat(void)
{
    size_t n = (size_t)snprintf(chat, sizeof(chat), "{\"model\":\"m\",\"stream\":true,\"messages\":[");
    for (int i = 0; i < 8; i++) {
        n += (size_t)snprintf(chat + n, sizeof(chat) - n, "%s{\"role\":\"user\",\"content\":\"%s\"}",
                              i ? "," : "",
                              "The quick brown fox jumps over the lazy dog, again and again and again, "
                              "\\n and then \xe4\xbd\xa0\xe5\xa5\xbd, until the evening comes and it rests.");
    }
    snprintf(chat + n, sizeof(chat) - n, "],\"temperature\":0.7,\"max_tokens\":256}");
}

static void json_scan_chat(unsigned calls)
{
    struct arena a;
    struct json_doc doc;
    arena_init(&a);
    struct str text = str_from(chat);
    for (unsigned i = 0; i < calls; i++) {
        BUG_ON(json_scan(&a, text, NULL, &doc, NULL) != 0);
        sink += doc.member_count;
        arena_clear(&a);
    }
}

static void json_escape_chat(unsigned calls)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    for (unsigned i = 0; i < calls; i++) {
        buf_truncate(&b);
        json_escape(&b, str_from(chat));
    }
    sink += b.n;
    buf_clear(&b);
}

static struct jws_issuer issuer = {.iss = "https://a", .aud = "app"};
static struct buf token;

static void make_token(void)
{
    char folder[] = "/tmp/tide-bench-XXXXXX", kid[JWS_KID_MAX + 1], path[256], payload[256];
    BUG_ON(!mkdtemp(folder) || jws_key_generate(folder, kid, NULL) != 0);
    BUG_ON(jws_keys_load(folder, &issuer.keys, NULL) != 0);
    snprintf(path, sizeof(path), "%s/%s.pem", folder, kid);
    unlink(path);
    rmdir(folder);
    snprintf(payload, sizeof(payload),
             "{\"iss\":\"https://a\",\"aud\":\"app\",\"sub\":\"0192f3a4-0000-7000-8000-00000000000f\","
             "\"session_id\":\"0192f3a4-0000-7000-8000-00000000000e\",\"exp\":%lld}",
             (long long)clock_wall_s() + 3600);
    buf_init(&token, JWS_TOKEN_MAX);
    BUG_ON(jws_sign(&issuer.keys.items[0], "JWT", str_from(payload), &token, NULL) != 0);
}

static void token_verify(unsigned calls)
{
    struct jws_verifier v = {.issuers = &issuer, .n = 1};
    struct jws_claims claims;
    struct arena a;
    arena_init(&a);
    for (unsigned i = 0; i < calls; i++) {
        BUG_ON(jws_verify(&v, buf_str(&token), clock_wall_s(), 0, &a, &claims, NULL, NULL) != 0);
        arena_clear(&a);
    }
}

static void token_cached(unsigned calls)
{
    struct token_cache *c = token_cache_new(TOKEN_CACHE_ENTRIES);
    struct jws_claims claims = {.exp = INT64_MAX / 2};
    const struct jws_claims *hit = NULL;
    token_cache_add(c, buf_str(&token), &claims);
    for (unsigned i = 0; i < calls; i++) {
        BUG_ON(token_cache_find(c, buf_str(&token), 1, 0, &hit) != TOKEN_CACHE_HIT);
    }
    token_cache_free(c);
}

static void access_line(unsigned calls)
{
    static char line[300];
    struct log_file *f = log_file_open("/dev/null", NULL);
    memset(line, 'x', sizeof(line));
    for (unsigned i = 0; i < calls; i++) {
        log_file_line(f, str_of(line, sizeof(line)));
    }
    log_file_close(f);
}

static void nothing(void *arg)
{
}

/* 10,000 connections, one of which has a request: its timer moves to a later time. */
static void timer_move(unsigned calls)
{
    enum { OTHERS = 10000 };
    struct loop *l = loop_new("bench", 0);
    struct loop_timer *t = calloc(OTHERS, sizeof(*t));
    for (unsigned i = 0; i < OTHERS; i++) {
        loop_timer_init(l, &t[i], nothing, NULL);
        loop_timer_arm(&t[i], 60000 + i);
    }
    for (unsigned i = 0; i < calls; i++) {
        loop_timer_arm(&t[i % OTHERS], 70000);
    }
    loop_free(l);
    free(t);
}

struct ping {
    struct loop *here, *there;
    unsigned left;
};

static void ping_back(void *arg);

static void ping_here(void *arg)
{
    struct ping *p = arg;
    if (p->left-- == 0) {
        loop_stop(p->there);
        loop_stop(p->here);
        return;
    }
    loop_call(p->there, ping_back, p);
}

static void ping_back(void *arg)
{
    struct ping *p = arg;
    loop_call(p->here, ping_here, p);
}

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void inbox_round_trip(unsigned calls)
{
    pthread_t thread;
    struct ping p = {loop_new("here", 0), loop_new("there", 1), calls};
    pthread_create(&thread, NULL, run_loop, p.there);
    loop_call(p.here, ping_here, &p);
    loop_run(p.here);
    pthread_join(thread, NULL);
    loop_free(p.here);
    loop_free(p.there);
}

struct spin {
    struct loop *loop;
    struct loop_task task;
    unsigned left;
};

static void spin_task(void *arg)
{
    struct spin *s = arg;
    if (s->left-- == 0) {
        loop_stop(s->loop);
        return;
    }
    loop_at_turn_end(s->loop, &s->task);
}

static void empty_turn(unsigned calls)
{
    struct spin s = {.loop = loop_new("spin", 0), .left = calls};
    s.task = (struct loop_task){.fn = spin_task, .arg = &s};
    loop_at_turn_end(s.loop, &s.task);
    loop_run(s.loop);
    loop_free(s.loop);
}

static const struct bench benches[] = {
    {"arena_request", 200000, arena_request},      {"metric_count", 5000000, metric_count},
    {"metric_observe", 5000000, metric_observe},   {"request_id", 5000000, request_id},
    {"json_scan_chat", 50000, json_scan_chat},     {"json_escape_chat", 50000, json_escape_chat},
    {"token_verify", 1000, token_verify},          {"token_cached", 1000000, token_cached},
    {"access_line", 500000, access_line},          {"timer_move", 2000000, timer_move},
    {"inbox_round_trip", 20000, inbox_round_trip}, {"empty_turn", 500000, empty_turn},
};

static bool wanted(const char *name, int argc, char **argv)
{
    bool any = argc < 2;
    for (int i = 1; i < argc; i++) {
        any = any || strcmp(argv[i], name) == 0;
    }
    return any;
}

static uint64_t cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static uint64_t best_of_five(const struct bench *b)
{
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < 5; round++) {
        uint64_t start = cpu_ns();
        b->run(b->calls);
        uint64_t took = cpu_ns() - start;
        best = took < best ? took : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    make_chat();
    make_token();
    for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
        const struct bench *b = &benches[i];
        if (wanted(b->name, argc, argv)) {
            printf("%-18s %10.1f ns\n", b->name, (double)best_of_five(b) / b->calls);
        }
    }
    jws_keys_clear(&issuer.keys);
    buf_clear(&token);
    log_close();
    return 0;
}
