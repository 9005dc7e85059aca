/* See challenge.h. */
#include "gateway/attack.h"
#include "gateway/challenge.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "gateway/challenge_page.h"
#include "gateway/config.h"
#include "gateway/limits.h"
#include "gateway/routes.h"
#include "ratelimit/pow_spent.h"

enum { CHALLENGE_MAX = 1024, REFUSAL_MAX = 2048 };

static struct metric issued = METRIC_COUNTER_L(
    "tidegate_challenges_issued_total", "Challenges handed out, also with refusals, by level.", "level");
static struct metric checks =
    METRIC_COUNTER_L("tidegate_challenge_checks_total",
                     "Attempts that had to show proof of work, by what was wrong with it.", "result");
static struct metric factor =
    METRIC_GAUGE("tidegate_challenge_load_factor",
                 "By how much load makes challenges harder now; the last one handed out.");

/* Attempts in this second and in the one before. */
struct load {
    pthread_mutex_t lock;
    uint64_t second;
    uint32_t now, before;
};

struct challenge {
    struct pow_spent *spent;
    struct load load;
};

/* What a request showed. On its arena. */
struct challenge_wait {
    const char *purpose;
    enum pow_verdict verdict;
    struct pow_solved solved;
    struct pow_spend spend;
    void (*done)(void *arg);
    void *arg;
};

/* --- how hard ------------------------------------------------------------------------------------------ */

static void load_roll(struct load *l, uint64_t second)
{
    if (second != l->second) {
        l->before = second == l->second + 1 ? l->now : 0;
        l->now = 0;
        l->second = second;
    }
}

static void load_count(struct load *l)
{
    pthread_mutex_lock(&l->lock);
    load_roll(l, clock_mono_ms() / 1000);
    l->now++;
    pthread_mutex_unlock(&l->lock);
}

/* Attempts a second. */
static uint32_t load_rate(struct load *l)
{
    pthread_mutex_lock(&l->lock);
    load_roll(l, clock_mono_ms() / 1000);
    uint32_t rate = l->now > l->before ? l->now : l->before;
    pthread_mutex_unlock(&l->lock);
    return rate;
}

static uint32_t work_of(const struct request *r, enum pow_level level)
{
    const struct challenge_conf *conf = &r->conf->set->challenge;
    uint32_t times = load_rate(&r->gl->gateway->challenge->load) / conf->busy;
    times = times < 1 ? 1 : times > conf->busy_max ? conf->busy_max : times;
    metric_set(&factor, times);
    uint64_t work = (uint64_t)(level == POW_LEVEL_HARD ? conf->hard_work : conf->work) * times;
    return work > POW_WORK_MAX ? POW_WORK_MAX : (uint32_t)work;
}

enum pow_level challenge_level(const struct request *r, bool may_create, enum pow_level of_policy,
                               enum pow_level of_suspicion)
{
    enum pow_level level = of_suspicion;
    if (may_create) {
        const enum pow_level of_conf = r->conf->set->challenge.level;
        level = of_conf > level ? of_conf : level;
        level = of_policy > level ? of_policy : level;
    }
    bool is_under_attack = attack_level(r->gl->gateway) >= (may_create ? 1 : 4);
    return is_under_attack && level < POW_LEVEL_EASY ? POW_LEVEL_EASY : level;
}

/* --- handing out --------------------------------------------------------------------------------------- */

static struct pow_terms terms_of(const struct request *r, const char *purpose, enum pow_level level)
{
    const struct challenge_conf *conf = &r->conf->set->challenge;
    return (struct pow_terms){.purpose = purpose,
                              .level = level,
                              .client = r->client,
                              .ipv4_bits = conf->ipv4_bits,
                              .ipv6_bits = conf->ipv6_bits};
}

static void write_challenge(const struct request *r, const struct pow_terms *terms, struct buf *out)
{
    struct pow_keys keys;
    int64_t life_s = (int64_t)(r->conf->set->challenge.life_ms / 1000);
    pow_keys_derive(r->conf->secrets, &keys);
    pow_write(&keys, terms, work_of(r, terms->level), clock_wall_s() + life_s, out);
    secret_cleanse(&keys, sizeof keys);
    metric_child_add(metric_child(&issued, challenge_level_names[terms->level]), 1);
}

static bool read_question(struct request *r, enum pow_level *level)
{
    struct str purpose = STR("otp"), name = STR("pow");
    (void)http_query_get(r->ex, "for", &purpose);
    (void)http_query_get(r->ex, "level", &name);
    *level = str_is(name, challenge_level_names[POW_LEVEL_HARD]) ? POW_LEVEL_HARD : POW_LEVEL_EASY;
    if (!str_is(purpose, "otp")) {
        http_reply_error(r->ex, "validation_failed", "for: must be otp");
        return false;
    }
    if (!str_is(name, challenge_level_names[*level])) {
        http_reply_error(r->ex, "validation_failed", "level: must be pow or pow_hard");
        return false;
    }
    return true;
}

/* At least what everybody has to solve now; a client that was refused for less may ask for more. */
static void on_challenge(struct request *r)
{
    static const struct http_field fields[] = {
        {STR_INIT("content-type"), STR_INIT("application/json; charset=utf-8")},
        {STR_INIT("cache-control"), STR_INIT("no-store")},
    };
    enum pow_level asked;
    struct buf out;
    if (!read_question(r, &asked)) {
        return;
    }
    struct pow_terms terms = terms_of(r, "otp", challenge_level(r, true, asked, POW_LEVEL_NONE));
    buf_init(&out, CHALLENGE_MAX);
    write_challenge(r, &terms, &out);
    http_reply(r->ex, 200, fields, sizeof fields / sizeof *fields, buf_str(&out));
    buf_clear(&out);
}

/* --- checking ------------------------------------------------------------------------------------------ */

static void refuse(struct request *r, const struct pow_terms *terms, enum pow_verdict verdict)
{
    struct buf extra;
    buf_init(&extra, REFUSAL_MAX);
    buf_addf(&extra, "\"reason\":\"%s\",\"level\":\"%s\",\"challenge\":", pow_verdict_name(verdict),
             challenge_level_names[terms->level]);
    write_challenge(r, terms, &extra);
    http_reply_problem(r->ex, &(struct problem){.code = "captcha_failed",
                                                .detail = arena_printf(&r->ex->arena, "proof of work: %s",
                                                                       pow_verdict_name(verdict)),
                                                .param = STR("gotrue_meta_security.captcha_token"),
                                                .extra = buf_str(&extra)});
    buf_clear(&extra);
}

static void on_spent(void *arg, bool is_good)
{
    struct challenge_wait *w = arg;
    w->verdict = is_good ? POW_OK : POW_ALREADY_USED;
    w->done(w->arg);
}

void challenge_verify(struct request *r, const char *purpose, struct str payload, void (*done)(void *arg),
                      void *arg)
{
    struct challenge *c = r->gl->gateway->challenge;
    struct challenge_wait *w = ARENA_NEW(&r->ex->arena, struct challenge_wait);
    struct pow_terms terms = terms_of(r, purpose, POW_LEVEL_NONE); /* enough or not is said later */
    struct pow_keys keys;
    int64_t now_s = clock_wall_s();
    load_count(&c->load);
    *w = (struct challenge_wait){.purpose = purpose, .verdict = POW_MISSING, .done = done, .arg = arg};
    r->challenge = w;
    if (payload.n == 0) { /* as most do, unless they are asked for it */
        done(arg);
        return;
    }
    pow_keys_derive(r->conf->secrets, &keys);
    w->verdict = pow_check(&keys, &terms, payload, now_s, &r->ex->arena, &w->solved);
    secret_cleanse(&keys, sizeof keys);
    if (w->verdict == POW_OK) {
        pow_spend(c->spent, limits_ledger(r->gl), &w->spend, &w->solved, now_s, on_spent, w);
    } else {
        done(arg);
    }
}

bool challenge_conclude(struct request *r, enum pow_level level)
{
    const struct challenge_wait *w = r->challenge;
    if (level == POW_LEVEL_NONE) {
        return true;
    }
    enum pow_verdict verdict = w->verdict == POW_OK && w->solved.level < level ? POW_TOO_EASY : w->verdict;
    metric_child_add(metric_child(&checks, pow_verdict_name(verdict)), 1);
    if (verdict != POW_OK) {
        struct pow_terms terms = terms_of(r, w->purpose, level);
        refuse(r, &terms, verdict);
    }
    return verdict == POW_OK;
}

void challenge_forget(struct request *r)
{
    if (r->challenge) {
        pow_spend_forget(&r->challenge->spend);
    }
}

/* --- life ---------------------------------------------------------------------------------------------- */

void challenge_open(struct gateway *g)
{
    struct challenge *c = calloc(1, sizeof *c);
    BUG_ON(!c);
    c->spent = pow_spent_new(g->conf->set->challenge.spent_entries);
    pthread_mutex_init(&c->load.lock, NULL);
    g->challenge = c;
}

void challenge_close(struct gateway *g)
{
    struct challenge *c = g->challenge;
    if (c) {
        pow_spent_free(c->spent);
        pthread_mutex_destroy(&c->load.lock);
        free(c);
        g->challenge = NULL;
    }
}

const struct route challenge_routes[] = {
    {.name = "challenge",
     .methods = ROUTE_GET,
     .path = STR_INIT("/auth/v1/challenge"),
     .dialect = HTTP_DIALECT_GOTRUE,
     .handle = on_challenge},
    {.name = "challenge_page",
     .methods = ROUTE_GET,
     .path = STR_INIT("/auth/v1/challenge/"),
     .is_prefix = true,
     .dialect = HTTP_DIALECT_GOTRUE,
     .handle = challenge_page},
};
const unsigned challenge_route_count = sizeof challenge_routes / sizeof challenge_routes[0];
