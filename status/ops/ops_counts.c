#include "status/ops/ops_counts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "status/prom_text.h"

struct number_row {
    const char *name;
    enum ops_count to;
    const char *label; /* NULL: all samples of that name are summed */
    const char *value; /* of the label */
};

static const struct number_row number_rows[] = {
    {"tidegate_requests_total", OPS_REQUESTS, NULL, NULL},
    {"tidegate_requests_total", OPS_ERRORS, "code", "5xx"},
    {"tidegate_limits_decisions_total", OPS_REFUSED, "decision", "denied"},
    {"tidegate_limits_decisions_total", OPS_REFUSED, "decision", "denied_cached"},
    {"tidegate_limits_decisions_total", OPS_REFUSED, "decision", "fallback_denied"},
    {"tidegate_auth_code_requests_total", OPS_CODES, NULL, NULL},
    {"tidegate_auth_code_requests_total", OPS_CODES_SENT, "result", "sent"},
    {"tidegate_auth_code_requests_total", OPS_CODES_DENIED, "result", "denied"},
    {"tidegate_auth_code_requests_total", OPS_CODES_DENIED, "result", "waitlisted"},
    {"tidegate_auth_code_requests_total", OPS_CODES_CHALLENGED, "result", "challenged"},
    {"tidegate_auth_code_requests_total", OPS_CODES_LIMITED, "result", "limited"},
    {"tidegate_auth_code_requests_total", OPS_CODES_LIMITED, "result", "too_soon"},
    {"tidegate_auth_code_requests_total", OPS_CODES_FAILED, "result", "failed"},
    {"tidegate_auth_code_requests_total", OPS_CODES_FAILED, "result", "send_failed"},
    {"tidegate_auth_code_requests_total", OPS_CODES_HELD, "result", "held"},
    {"tidegate_auth_logins_total", OPS_LOGINS_OK, "result", "ok"},
    {"tidegate_auth_logins_total", OPS_LOGINS_BAD, "result", "refused"},
    {"tidegate_auth_logins_total", OPS_LOGINS_BAD, "result", "failed"},
    {"tidegate_waitlist_events_total", OPS_WAITLISTED, "event", "joined"},
    {"tidegate_auth_verifications_total", OPS_SIGNED_UP, "result", "signed_up"},
    {"tidegate_auth_verifications_total", OPS_SIGNED_IN, "result", "signed_in"},
    {"tidegate_auth_verifications_total", OPS_WRONG_CODES, "result", "wrong"},
    {"tidegate_auth_verifications_total", OPS_WRONG_CODES, "result", "too_many"},
    {"tidegate_sms_messages_total", OPS_MESSAGES, NULL, NULL},
    {"tidegate_sms_guard_refusals_total", OPS_GUARDED, NULL, NULL},
    {"tidegate_bans_hits_total", OPS_BANNED, NULL, NULL},
    {"tidegate_suspicion_verdicts_total", OPS_VERDICTS_ALLOW, "verdict", "allow"},
    {"tidegate_suspicion_verdicts_total", OPS_VERDICTS_CHALLENGE, "verdict", "challenge"},
    {"tidegate_suspicion_verdicts_total", OPS_VERDICTS_DENY, "verdict", "deny"},
    {"tidegate_chat_queue_refused_total", OPS_CHAT_FULL, NULL, NULL},
    {"tidegate_chat_broken_streams_total", OPS_CHAT_BROKEN, NULL, NULL},
    {"tidegate_redis_commands_total", OPS_REDIS_COMMANDS, NULL, NULL},
    {"tidegate_redis_commands_total", OPS_REDIS_OK, "result", "ok"},
    {"tidegate_pg_jobs_total", OPS_PG_JOBS, NULL, NULL},
    {"tidegate_pg_jobs_total", OPS_PG_OK, "result", "ok"},
    {"tidegate_pg_jobs_total", OPS_PG_OK, "result", "invalid"},
    {"tidegate_pg_jobs_total", OPS_PG_OK, "result", "limit"},
    {"tidegate_pg_jobs_total", OPS_PG_OK, "result", "not_found"},
    {"tidegate_pg_jobs_total", OPS_PG_OK, "result", "denied"},
    {"tidegate_pg_jobs_total", OPS_PG_OK, "result", "conflict"},
    {"tidegate_requests_active", OPS_ACTIVE, NULL, NULL},
    {"tidegate_http_connections", OPS_CONNECTIONS, NULL, NULL},
    {"tidegate_policy_version", OPS_POLICY_VERSION, NULL, NULL},
    {"tidegate_policy_emergency", OPS_EMERGENCY, NULL, NULL},
    {"tidegate_policy_ramp_percent", OPS_RAMP_PERCENT, NULL, NULL},
    {"tidegate_policy_ramp_stands", OPS_RAMP_STANDS, NULL, NULL},
    {"tidegate_attack_level", OPS_ATTACK_LEVEL, NULL, NULL},
    {"tidegate_attack_frozen", OPS_ATTACK_FROZEN, NULL, NULL},
    {"tidegate_bans_entries", OPS_BAN_ENTRIES, NULL, NULL},
    {"tidegate_database_up", OPS_PG_UP, NULL, NULL},
    {"tidegate_pg_queue_jobs", OPS_PG_QUEUE, NULL, NULL},
    {"tidegate_redis_connections", OPS_REDIS_LIMITS, "role", "limits"},
    {"tidegate_redis_connections", OPS_REDIS_LEDGER, "role", "ledger"},
    {"tidegate_chat_queue_waiting", OPS_QUEUE, NULL, NULL},
    {"tidegate_memory_pressure", OPS_PRESSURE, NULL, NULL},
    {"tidegate_loops_stuck", OPS_STUCK, NULL, NULL},
    {"tidegate_waitlist_waiting", OPS_WAITING, NULL, NULL},
};

static const struct {
    const char *name;
    enum ops_histogram to;
    const char *label, *value;
} time_rows[] = {
    {"tidegate_request_phase_seconds_bucket", OPS_FIRST_BYTE, "phase", "first_byte"},
    {"tidegate_upstream_first_byte_seconds_bucket", OPS_TOKEN, NULL, NULL},
    {"tidegate_redis_command_duration_seconds_bucket", OPS_REDIS_TIME, NULL, NULL},
    {"tidegate_pg_job_seconds_bucket", OPS_PG_TIME, NULL, NULL},
};

static const struct {
    const char *name;
    enum ops_family family;
    const char *by;            /* label that names the tally */
    const char *label, *value; /* besides; NULL: any */
} tally_rows[] = {
    {"tidegate_limits_decisions_total", OPS_BY_RULE, "rule", "decision", "denied"},
    {"tidegate_limits_decisions_total", OPS_BY_RULE, "rule", "decision", "denied_cached"},
    {"tidegate_limits_decisions_total", OPS_BY_RULE, "rule", "decision", "fallback_denied"},
    {"tidegate_suspicion_signals_total", OPS_BY_SIGNAL, "signal", NULL, NULL},
    {"tidegate_bans_hits_total", OPS_BY_BAN, "kind", NULL, NULL},
};

#define ROWS(table_) (sizeof(table_) / sizeof(table_)[0])

static bool fits(const struct prom_sample *s, const char *name, const char *label, const char *value)
{
    struct str found;
    return str_is(s->name, name) &&
           (!label || (prom_label(s->labels, label, &found) && str_is(found, value)));
}

static void take_number(struct ops_counts *c, const struct prom_sample *s)
{
    for (size_t i = 0; i < ROWS(number_rows); i++) {
        const struct number_row *r = &number_rows[i];
        if (fits(s, r->name, r->label, r->value)) {
            c->of[r->to] += s->value;
            c->is_known[r->to] = true;
        }
    }
}

/* All histograms of a gateway have the same bounds. */
static unsigned bucket_of(struct ops_counts *c, double le)
{
    unsigned k = 0;
    while (k < c->buckets && c->le[k] < le) {
        k++;
    }
    if ((k < c->buckets && c->le[k] == le) || c->buckets == OPS_BUCKETS) {
        return k < c->buckets && c->le[k] == le ? k : OPS_BUCKETS;
    }
    if (k < c->buckets) {
        return OPS_BUCKETS; /* not ascending: none of ours */
    }
    c->le[c->buckets] = le;
    return c->buckets++;
}

static void take_time(struct ops_counts *c, const struct prom_sample *s)
{
    for (size_t i = 0; i < ROWS(time_rows); i++) {
        struct str bound;
        char text[32];
        if (!fits(s, time_rows[i].name, time_rows[i].label, time_rows[i].value) ||
            !prom_label(s->labels, "le", &bound) || bound.n >= sizeof text) {
            continue;
        }
        snprintf(text, sizeof text, STR_FMT, STR_ARG(bound));
        unsigned k = bucket_of(c, str_is(bound, "+Inf") ? INFINITY : strtod(text, NULL));
        if (k < OPS_BUCKETS) {
            c->times[time_rows[i].to][k] += s->value;
        }
    }
}

static struct ops_tally *tally_of(struct ops_counts *c, enum ops_family family, struct str name)
{
    char key[OPS_TALLY_NAME + 1];
    size_t n = name.n < OPS_TALLY_NAME ? name.n : OPS_TALLY_NAME;
    n = str_utf8_safe_len(str_of(name.p, n));
    snprintf(key, sizeof key, "%.*s", (int)n, name.p);
    for (unsigned k = 0; k < c->tally_count; k++) {
        if (c->tallies[k].family == family && strcmp(c->tallies[k].name, key) == 0) {
            return &c->tallies[k];
        }
    }
    if (c->tally_count == OPS_TALLIES) {
        return NULL;
    }
    struct ops_tally *t = &c->tallies[c->tally_count++];
    t->family = family;
    memcpy(t->name, key, sizeof key);
    return t;
}

static void take_tally(struct ops_counts *c, const struct prom_sample *s)
{
    for (size_t i = 0; i < ROWS(tally_rows); i++) {
        struct str name;
        if (fits(s, tally_rows[i].name, tally_rows[i].label, tally_rows[i].value) &&
            prom_label(s->labels, tally_rows[i].by, &name)) {
            struct ops_tally *t = tally_of(c, tally_rows[i].family, name);
            if (t) {
                t->total += s->value;
            }
        }
    }
}

bool ops_counts_read(struct str text, const struct ops_counts *before, struct ops_counts *out)
{
    struct prom_sample s;
    memset(out, 0, sizeof *out);
    if (before) {
        memcpy(out->tallies, before->tallies, sizeof out->tallies);
        out->tally_count = before->tally_count;
    }
    for (unsigned k = 0; k < out->tally_count; k++) {
        out->tallies[k].total = 0;
    }
    bool is_gateway = false;
    while (prom_text_next(&text, &s)) {
        if (!str_starts(s.name, STR("tidegate_"))) {
            continue;
        }
        is_gateway = true;
        take_number(out, &s);
        take_time(out, &s);
        take_tally(out, &s);
    }
    return is_gateway;
}
