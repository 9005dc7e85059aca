#include "auth/policy_replay.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/attempt_facts.h"
#include "auth/policy_inner.h"
#include "base/clock.h"
#include "base/pg.h"

enum { BATCH = 20000 };

struct sample {
    int64_t at_s;
    char *facts;
};

/* Attempts that went one way then and go another now. */
struct group {
    enum policy_effect was, now;
    char was_rule[POLICY_ID_MAX + 1];
    const char *now_rule; /* borrowed from the candidate */
    int64_t attempts, stands_for;
    struct sample samples[POLICY_REPLAY_SAMPLES];
    unsigned sample_count;
};

struct policy_replay {
    struct policy *candidate;
    int64_t left; /* rows to read at most */
    bool is_done;
    int64_t before_us; /* Unix microseconds: rows before (at, slot) come next; 0: from the newest */
    int64_t before_slot;
    struct arena arena; /* of one attempt */
    int64_t attempts, stands_for, same, uncertain, unreadable, others;
    struct group groups[POLICY_REPLAY_GROUPS];
    unsigned group_count;
};

struct policy_replay *policy_replay_new(struct policy *candidate, int64_t n)
{
    struct policy_replay *r = calloc(1, sizeof *r);
    BUG_ON(!r);
    r->candidate = policy_ref(candidate);
    r->left = n;
    arena_init(&r->arena);
    return r;
}

void policy_replay_free(struct policy_replay *r)
{
    if (!r) {
        return;
    }
    for (unsigned i = 0; i < r->group_count; i++) {
        for (unsigned k = 0; k < r->groups[i].sample_count; k++) {
            free(r->groups[i].samples[k].facts);
        }
    }
    arena_clear(&r->arena);
    policy_unref(r->candidate);
    free(r);
}

bool policy_replay_is_done(const struct policy_replay *r)
{
    return r->is_done;
}

/* --- one attempt ------------------------------------------------------------------------------------- */

static bool effect_read(struct str text, enum policy_effect *out)
{
    for (enum policy_effect e = POLICY_EFFECT_ALLOW; e <= POLICY_EFFECT_WAITLIST; e++) {
        if (str_is(text, policy_effect_name(e))) {
            *out = e;
            return true;
        }
    }
    return false;
}

/* A rule up to the one that decides asks for more digits than are kept, and nothing else of it fails. */
static bool is_uncertain(const struct policy *p, const struct policy_attempt *a, unsigned decides)
{
    for (unsigned i = 0; i <= decides && i < p->rule_count; i++) {
        const struct policy_rule *rule = &p->rules[i];
        if (rule->is_shadow || !(rule->has & POLICY_BIT(POLICY_IF_PHONE_PREFIX)) ||
            policy_condition_match(rule, POLICY_IF_PHONE_PREFIX, a) != POLICY_MATCH_UNKNOWN) {
            continue;
        }
        bool fails = false;
        for (uint32_t left = rule->has; left && !fails; left &= left - 1) {
            fails = policy_condition_match(rule, (enum policy_condition)__builtin_ctz(left), a) ==
                    POLICY_MATCH_NO;
        }
        if (!fails) {
            return true;
        }
    }
    return false;
}

/* NULL: there are as many kinds as may be. */
static struct group *group_of(struct policy_replay *r, enum policy_effect was, struct str was_rule,
                              const struct policy_rule *now)
{
    for (unsigned i = 0; i < r->group_count; i++) {
        struct group *g = &r->groups[i];
        if (g->now_rule == now->id && g->was == was && str_is(was_rule, g->was_rule)) {
            return g;
        }
    }
    if (r->group_count == POLICY_REPLAY_GROUPS) {
        return NULL;
    }
    struct group *g = &r->groups[r->group_count++];
    *g = (struct group){.was = was, .now = now->effect, .now_rule = now->id};
    snprintf(g->was_rule, sizeof g->was_rule, STR_FMT, STR_ARG(was_rule));
    return g;
}

static void group_add(struct group *g, int64_t stands_for, int64_t at_s, struct str facts)
{
    g->attempts++;
    g->stands_for += stands_for;
    if (g->sample_count < POLICY_REPLAY_SAMPLES) {
        g->samples[g->sample_count++] = (struct sample){at_s, strndup(facts.p, facts.n)};
    }
}

bool policy_replay_add(struct policy_replay *r, int64_t stands_for, int64_t at_s, struct str effect,
                       struct str rule, struct str facts)
{
    const struct policy *p = r->candidate;
    struct attempt_facts known;
    struct policy_attempt a;
    enum policy_effect was = POLICY_EFFECT_DENY;
    r->attempts++;
    r->stands_for += stands_for;
    arena_clear(&r->arena);
    if (!effect_read(effect, &was) || attempt_facts_read(&r->arena, facts, at_s, &known) < 0) {
        r->unreadable++;
        return false;
    }
    policy_attempt_init(&a, &known.facts);
    unsigned i = policy_find_rule(p, &a, 0, NULL);
    const struct policy_rule *now = i < p->rule_count ? &p->rules[i] : &p->fallback;
    if (known.facts.phone_is_prefix && is_uncertain(p, &a, i)) {
        r->uncertain++;
    } else if (now->effect == was) {
        r->same++;
    } else {
        struct group *g = group_of(r, was, rule, now);
        r->others += g == NULL;
        if (g) {
            group_add(g, stands_for, at_s, facts);
        }
    }
    return true;
}

/* --- from the database ------------------------------------------------------------------------------- */

int policy_replay_step(struct pg *pg, struct policy_replay *r)
{
    int64_t batch = r->left < BATCH ? r->left : BATCH;
    int rows = pg_query(pg,
                        "SELECT effect, policy_rule, facts::text, stands_for,"
                        " (extract(epoch FROM at) * 1000000)::bigint, slot FROM signup_attempts"
                        " WHERE (at, slot) < (CASE WHEN $1::bigint = 0 THEN 'infinity'"
                        " ELSE timestamptz 'epoch' + $1::bigint * interval '1 microsecond' END, $2::bigint)"
                        " ORDER BY at DESC, slot DESC LIMIT $3",
                        PG_I64(r->before_us), PG_I64(r->before_slot), PG_I64(batch));
    for (int i = 0; i < rows; i++) {
        r->before_us = pg_i64(pg, i, 4);
        r->before_slot = pg_i64(pg, i, 5);
        (void)policy_replay_add(r, pg_i64(pg, i, 3), r->before_us / 1000000, pg_value(pg, i, 0),
                                pg_value(pg, i, 1), pg_value(pg, i, 2));
    }
    if (rows >= 0) {
        r->left -= rows;
        r->is_done = rows < batch || r->left == 0;
    }
    return rows < 0 ? rows : 0;
}

/* --- the answer -------------------------------------------------------------------------------------- */

static int by_weight(const void *a, const void *b)
{
    const struct group *x = *(const struct group *const *)a, *y = *(const struct group *const *)b;
    return x->stands_for > y->stands_for ? -1 : x->stands_for < y->stands_for;
}

static void write_group(struct json_writer *w, const struct group *g)
{
    json_open(w, '{');
    json_str_at(w, "was", str_from(policy_effect_name(g->was)));
    json_str_at(w, "was_rule", str_from(g->was_rule));
    json_str_at(w, "now", str_from(policy_effect_name(g->now)));
    json_str_at(w, "now_rule", str_from(g->now_rule));
    json_i64_at(w, "attempts", g->attempts);
    json_i64_at(w, "stands_for", g->stands_for);
    json_open_at(w, "samples", '[');
    for (unsigned i = 0; i < g->sample_count; i++) {
        char at[CLOCK_ISO_LEN + 1];
        clock_format_iso(g->samples[i].at_s * 1000, at);
        json_open(w, '{');
        json_str_at(w, "at", str_from(at));
        json_raw_at(w, "facts", str_from(g->samples[i].facts));
        json_close(w, '}');
    }
    json_close(w, ']');
    json_close(w, '}');
}

void policy_replay_write(const struct policy_replay *r, struct buf *out)
{
    const struct group *sorted[POLICY_REPLAY_GROUPS];
    struct json_writer w = {.out = out};
    for (unsigned i = 0; i < r->group_count; i++) {
        sorted[i] = &r->groups[i];
    }
    qsort(sorted, r->group_count, sizeof *sorted, by_weight);
    json_open(&w, '{');
    json_str_at(&w, "policy", str_from(policy_name(r->candidate)));
    json_i64_at(&w, "attempts", r->attempts);
    json_i64_at(&w, "stands_for", r->stands_for);
    json_i64_at(&w, "same", r->same);
    json_i64_at(&w, "uncertain", r->uncertain);
    json_i64_at(&w, "unreadable", r->unreadable);
    json_i64_at(&w, "others", r->others);
    json_open_at(&w, "changes", '[');
    for (unsigned i = 0; i < r->group_count; i++) {
        write_group(&w, sorted[i]);
    }
    json_close(&w, ']');
    json_close(&w, '}');
}
