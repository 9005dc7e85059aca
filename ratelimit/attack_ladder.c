#include "ratelimit/attack_ladder.h"

enum { TRIED_LEAST = 5 }; /* codes a minute below which their success says nothing */

static double most(double a, double b)
{
    return a > b ? a : b;
}

/* Attempts a minute that are too many for the level below `level`. */
static double threshold(const struct ladder_signals *s, const struct ladder_conf *conf, int level)
{
    double factor = conf->factors[level - 1];
    return most(factor * s->baseline, conf->floor_per_min * factor / conf->factors[0]);
}

static bool looks_bad(const struct ladder_signals *s, const struct ladder_conf *conf)
{
    bool refused = s->refused * 100 > s->attempts * conf->refused_percent;
    bool failed = s->failed * 100 > s->attempts * conf->failed_percent;
    bool unverified = s->tried >= TRIED_LEAST && s->verified * 100 < s->tried * conf->verified_percent;
    return refused || failed || unverified;
}

static void lasts(double *s, bool is_so, double passed_s)
{
    *s = is_so ? *s + passed_s : 0;
}

static bool goes_up(const struct ladder_state *st, const struct ladder_signals *s,
                    const struct ladder_conf *conf)
{
    double hot_ms = st->hot_s * 1000;
    if (st->level >= LADDER_HIGHEST_BY_ITSELF) {
        return false;
    }
    if (st->level > 0 && st->very_hot_s * 1000 >= (double)conf->hold_ms) {
        return true;
    }
    switch (st->level) {
    case 0:
        return hot_ms >= (double)conf->hold_ms;
    case 1:
        return hot_ms >= (double)conf->worse_ms;
    default:
        return hot_ms >= (double)conf->halve_ms && s->attempts > st->rate_at_entry / 2;
    }
}

int ladder_decide(struct ladder_state *st, const struct ladder_signals *s, const struct ladder_conf *conf,
                  double passed_s)
{
    passed_s = passed_s < 0 ? 0 : passed_s > LADDER_STEP_MAX_S ? LADDER_STEP_MAX_S : passed_s;
    bool is_many = s->attempts > threshold(s, conf, 1);
    int next = st->level < LADDER_HIGHEST_BY_ITSELF ? st->level + 1 : LADDER_HIGHEST_BY_ITSELF;
    lasts(&st->hot_s, is_many && looks_bad(s, conf), passed_s);
    lasts(&st->very_hot_s, s->attempts > threshold(s, conf, next), passed_s);
    lasts(&st->calm_s, s->attempts <= 0.7 * threshold(s, conf, 1), passed_s);
    st->level_s += passed_s;
    st->moves = most(0, st->moves - passed_s * conf->moves_per_h / 3600);
    if (goes_up(st, s, conf)) {
        return st->level + 1;
    }
    bool has_budget = st->moves + 1 <= conf->moves_per_h;
    bool is_calm = st->level > 0 && st->calm_s * 1000 >= (double)conf->calm_ms;
    return is_calm && has_budget ? st->level - 1 : st->level;
}

void ladder_moved(struct ladder_state *st, int level, double attempts, bool by_itself)
{
    st->level = level;
    st->hot_s = st->very_hot_s = st->calm_s = st->level_s = 0;
    st->rate_at_entry = attempts;
    st->moves += by_itself;
}
