#include "ratelimit/suspicion.h"

const char *suspicion_signal_name(enum suspicion_signal s)
{
    static const char *const names[SUSPICION_SIGNALS] = {
        [SUSPICION_JA4_ACCOUNTS] = "ja4_accounts",   [SUSPICION_PREFIX_HEAT] = "prefix_heat",
        [SUSPICION_FAILURE_RATIO] = "failure_ratio", [SUSPICION_ATTESTATION] = "attestation",
        [SUSPICION_VELOCITY] = "velocity",           [SUSPICION_DISPOSABLE_EMAIL] = "disposable_email",
        [SUSPICION_HOSTING_ASN] = "hosting_asn",     [SUSPICION_HONEYPOT] = "honeypot",
        [SUSPICION_RISK_HOOK] = "risk_hook",
    };
    return names[s];
}

const char *suspicion_verdict_name(enum suspicion_verdict v)
{
    static const char *const names[SUSPICION_VERDICTS] = {"allow", "challenge", "challenge_hard", "deny"};
    return names[v];
}

bool suspicion_is_hosting(const struct suspicion_conf *conf, uint32_t asn)
{
    uint64_t listed;
    for (unsigned i = 0; asn != 0 && i < conf->hosting_asns.n; i++) {
        if (str_u64(str_from(conf->hosting_asns.items[i]), &listed) && listed == asn) {
            return true;
        }
    }
    return false;
}

static void add(struct suspicion_score *s, enum suspicion_signal signal, uint32_t points, uint32_t seen,
                uint32_t limit)
{
    if (points > 0) {
        s->items[s->count++] = (struct suspicion_item){signal, points, seen, limit};
        s->total += points;
    }
}

static enum suspicion_verdict verdict_of(const struct suspicion_conf *conf, const struct suspicion_score *s)
{
    if (conf->deny_at > 0 && s->total >= conf->deny_at && !s->is_blind) {
        return SUSPICION_DENY;
    }
    return s->total >= conf->hard_at        ? SUSPICION_CHALLENGE_HARD
           : s->total >= conf->challenge_at ? SUSPICION_CHALLENGE
                                            : SUSPICION_ALLOW;
}

/* The request at hand is among those counted, and its code cannot have been used yet. */
static uint32_t used_percent(const struct suspicion_counts *c)
{
    uint32_t before = c->of_network > 0 ? c->of_network - 1 : 0;
    uint32_t percent = before > 0 ? (uint32_t)((uint64_t)c->verified * 100 / before) : 100;
    return percent > 100 ? 100 : percent;
}

void suspicion_judge(const struct suspicion_conf *conf, const struct suspicion_facts *f,
                     struct suspicion_score *out)
{
    const uint32_t *weights = conf->weights.of;
    const struct suspicion_counts *c = &f->counts;
    *out = (struct suspicion_score){.is_blind = !c->is_whole};
    if (c->ja4_numbers > conf->ja4_numbers) {
        add(out, SUSPICION_JA4_ACCOUNTS, weights[SUSPICION_JA4_ACCOUNTS], c->ja4_numbers, conf->ja4_numbers);
    }
    if (c->of_prefix > conf->prefix_requests) {
        add(out, SUSPICION_PREFIX_HEAT, weights[SUSPICION_PREFIX_HEAT], c->of_prefix, conf->prefix_requests);
    }
    if (c->of_network > conf->failure_requests && used_percent(c) < conf->failure_percent) {
        add(out, SUSPICION_FAILURE_RATIO, weights[SUSPICION_FAILURE_RATIO], used_percent(c),
            conf->failure_percent);
    }
    if (f->is_unattested) {
        add(out, SUSPICION_ATTESTATION, weights[SUSPICION_ATTESTATION], 1, 0);
    }
    if (c->of_address > conf->velocity_requests) {
        add(out, SUSPICION_VELOCITY, weights[SUSPICION_VELOCITY], c->of_address, conf->velocity_requests);
    }
    if (f->is_disposable) {
        add(out, SUSPICION_DISPOSABLE_EMAIL, weights[SUSPICION_DISPOSABLE_EMAIL], 1, 0);
    }
    if (suspicion_is_hosting(conf, f->asn)) {
        add(out, SUSPICION_HOSTING_ASN, weights[SUSPICION_HOSTING_ASN], f->asn, 0);
    }
    if (c->is_trapped || f->has_trap_field) {
        add(out, SUSPICION_HONEYPOT, weights[SUSPICION_HONEYPOT], 1, 0);
    }
    add(out, SUSPICION_RISK_HOOK, f->risk_points, f->risk_said, f->risk_most);
    out->verdict = verdict_of(conf, out);
}

void suspicion_write_items(const struct suspicion_score *s, struct json_writer *w)
{
    json_open(w, '[');
    for (unsigned i = 0; i < s->count; i++) {
        json_open(w, '{');
        json_str_at(w, "signal", str_from(suspicion_signal_name(s->items[i].signal)));
        json_i64_at(w, "points", s->items[i].points);
        json_i64_at(w, "seen", s->items[i].seen);
        if (s->items[i].limit > 0) {
            json_i64_at(w, "limit", s->items[i].limit);
        }
        json_close(w, '}');
    }
    json_close(w, ']');
}
