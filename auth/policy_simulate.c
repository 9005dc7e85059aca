#include "auth/policy_simulate.h"

#include <math.h>
#include <stdlib.h>

#include "auth/policy_inner.h"
#include "auth/policy_read.h"
#include "base/clock.h"

/* One attempt, read. Texts are borrowed from its JSON. */
struct attempt {
    struct policy_facts facts;
    struct phone phone;
    const cJSON *caps_full; /* a list of texts; NULL: none */
    struct str identifier;  /* what the ramp is reckoned from; empty: not known */
    char email[DOMAIN_MAX + 66];
};

static const struct policy_simulation *simulation(const struct policy_reader *r)
{
    return r->subject;
}

/* --- reading ----------------------------------------------------------------------------------------- */

static int read_method(struct policy_reader *r, const cJSON *v, void *into)
{
    static const char *const names[] = {"phone", "email", "apple", "google", NULL};
    int i = policy_read_choice(r, v, names);
    ((struct attempt *)into)->facts.method = i < 0 ? POLICY_METHOD_PHONE : (enum policy_method)i;
    return i;
}

static int read_phone(struct policy_reader *r, const cJSON *v, void *into)
{
    struct attempt *a = into;
    struct err err = {0};
    if (!cJSON_IsString(v)) {
        return REFUSE(r, "must be a string");
    }
    if (phone_read(str_from(v->valuestring), simulation(r)->phone_mode, &a->phone, &err) < 0) {
        return REFUSE(r, "%s", err.msg);
    }
    a->facts.phone = &a->phone;
    return 0;
}

static int read_email(struct policy_reader *r, const cJSON *v, void *into)
{
    struct attempt *a = into;
    const char *text = cJSON_IsString(v) ? v->valuestring : "";
    size_t n = strlen(text);
    for (size_t i = 0; i <= n && n < sizeof a->email; i++) {
        a->email[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 32 : text[i]);
    }
    const char *at = n < sizeof a->email ? strrchr(a->email, '@') : NULL;
    if (!at || at == a->email || !domain_is_good(str_from(at + 1))) {
        return REFUSE(r, "is not an address as someone@mail.example");
    }
    a->facts.email_domain = str_from(at + 1);
    return 0;
}

static int read_country(struct policy_reader *r, const cJSON *v, void *into)
{
    if (!cJSON_IsString(v) || policy_country_index(v->valuestring) < 0) {
        return REFUSE(r, "is not a country of two capital letters");
    }
    memcpy(((struct attempt *)into)->facts.ip_country, v->valuestring, 3);
    return 0;
}

static int read_asn(struct policy_reader *r, const cJSON *v, void *into)
{
    double n = cJSON_IsNumber(v) ? v->valuedouble : 0;
    if (n < 1 || n > UINT32_MAX || n != floor(n)) {
        return REFUSE(r, "is not the number of an autonomous system");
    }
    ((struct attempt *)into)->facts.asn = (uint32_t)n;
    return 0;
}

static int read_device(struct policy_reader *r, const cJSON *v, void *into)
{
    static const char *const names[] = {"none", "basic", "strong", NULL};
    int i = policy_read_choice(r, v, names);
    ((struct attempt *)into)->facts.device = (enum policy_device)(i + 1);
    return i;
}

static int read_platform(struct policy_reader *r, const cJSON *v, void *into)
{
    static const char *const names[] = {"ios", "android", "web", NULL};
    int i = policy_read_choice(r, v, names);
    ((struct attempt *)into)->facts.platform = (enum policy_platform)(i + 1);
    return i;
}

static int read_app_version(struct policy_reader *r, const cJSON *v, void *into)
{
    bool is_good = cJSON_IsString(v) && policy_app_version_read(str_from(v->valuestring),
                                                                &((struct attempt *)into)->facts.app_version);
    return is_good ? 0 : REFUSE(r, "is not a version of 1 to %d numbers, as 2.10", POLICY_APP_PARTS);
}

static int read_disposable(struct policy_reader *r, const cJSON *v, void *into)
{
    bool yes;
    int rc = policy_read_bool(r, v, &yes);
    ((struct attempt *)into)->facts.email_disposable = yes ? POLICY_YES : POLICY_NO;
    return rc;
}

static int read_invite(struct policy_reader *r, const cJSON *v, void *into)
{
    bool yes;
    int rc = policy_read_bool(r, v, &yes);
    ((struct attempt *)into)->facts.invite = yes ? POLICY_YES : POLICY_NO;
    return rc;
}

static int read_campaign(struct policy_reader *r, const cJSON *v, void *into)
{
    if (!cJSON_IsString(v) || !v->valuestring[0]) {
        return REFUSE(r, "must be a name");
    }
    ((struct attempt *)into)->facts.campaign = str_from(v->valuestring);
    return 0;
}

static int read_caps_full_item(struct policy_reader *r, const cJSON *v, void *into)
{
    return cJSON_IsString(v) ? 0 : REFUSE(r, "must be the id of a rule");
}

static int read_caps_full(struct policy_reader *r, const cJSON *v, void *into)
{
    ((struct attempt *)into)->caps_full = v;
    return policy_read_list(r, v, POLICY_RULES_MAX, read_caps_full_item, into);
}

static int read_at(struct policy_reader *r, const cJSON *v, void *into)
{
    int64_t ms;
    if (!cJSON_IsString(v) || clock_parse_iso(v->valuestring, strlen(v->valuestring), &ms) < 0) {
        return REFUSE(r, "is not a time as 2026-12-01T09:00:00+08:00");
    }
    ((struct attempt *)into)->facts.now_s = ms / 1000;
    return 0;
}

static void find_ramp(const struct policy_simulation *s, struct attempt *a)
{
    struct policy_facts *f = &a->facts;
    a->identifier = f->method == POLICY_METHOD_PHONE && f->phone ? str_from(f->phone->e164)
                    : f->method == POLICY_METHOD_EMAIL           ? str_from(a->email)
                                                                 : STR("");
    f->has_ramp = a->identifier.n > 0;
    f->ramp = f->has_ramp ? policy_ramp_of(s->secrets, f->method, a->identifier) : 0;
}

static int read_attempt(struct policy_reader *r, const cJSON *v, struct attempt *a)
{
    static const struct policy_member members[] = {
        {"method", read_method, false},
        {"phone", read_phone, false},
        {"email", read_email, false},
        {"email_disposable", read_disposable, false},
        {"ip_country", read_country, false},
        {"asn", read_asn, false},
        {"device", read_device, false},
        {"platform", read_platform, false},
        {"app_version", read_app_version, false},
        {"invite", read_invite, false},
        {"campaign", read_campaign, false},
        {"caps_full", read_caps_full, false},
        {"at", read_at, false},
        {0},
    };
    *a = (struct attempt){.facts = {.now_s = clock_wall_s()}};
    int rc = policy_read_object(r, v, members, a);
    if (rc == 0) {
        find_ramp(simulation(r), a);
    }
    return rc;
}

/* --- the answer -------------------------------------------------------------------------------------- */

static bool is_full(const struct policy_rule *rule, const struct attempt *attempt)
{
    const cJSON *item = rule->has_caps && attempt->caps_full ? attempt->caps_full->child : NULL;
    while (item && strcmp(item->valuestring, rule->id) != 0) {
        item = item->next;
    }
    return item != NULL;
}

static void write_condition(struct json_writer *w, const char *name, enum policy_match match)
{
    static const char *const results[] = {"failed", "unknown", "held"}; /* by enum policy_match */
    json_open(w, '{');
    json_str_at(w, "condition", str_from(name));
    json_str_at(w, "result", str_from(results[match]));
    json_close(w, '}');
}

static void write_rule(struct json_writer *w, const struct policy_rule *rule, const struct attempt *attempt,
                       const struct policy_attempt *a)
{
    bool has_place = !is_full(rule, attempt);
    json_open(w, '{');
    json_str_at(w, "rule", str_from(rule->id));
    json_str_at(w, "effect", str_from(policy_effect_name(rule->effect)));
    json_bool_at(w, "matched", policy_rule_matches(rule, a) && has_place);
    json_bool_at(w, "shadow", rule->is_shadow);
    json_open_at(w, "conditions", '[');
    for (uint32_t left = rule->has; left; left &= left - 1) {
        enum policy_condition c = (enum policy_condition)__builtin_ctz(left);
        write_condition(w, policy_condition_name(c), policy_condition_match(rule, c, a));
    }
    if (rule->has_caps) {
        write_condition(w, "caps", has_place ? POLICY_MATCH_YES : POLICY_MATCH_NO);
    }
    json_close(w, ']');
    json_close(w, '}');
}

static void write_text_or_null(struct json_writer *w, const char *key, const char *text)
{
    if (text) {
        json_str_at(w, key, str_from(text));
    } else {
        json_null_at(w, key);
    }
}

/* As the gateway goes on when a rule has no place: from the rule behind it. */
static void decide(const struct policy *p, const struct attempt *attempt, struct policy_decision *d)
{
    policy_decide(p, &attempt->facts, d);
    const char *shadow = d->shadow;
    while (d->index < p->rule_count && is_full(&p->rules[d->index], attempt)) {
        policy_decide_from(p, &attempt->facts, d->index + 1, d);
        shadow = shadow ? shadow : d->shadow;
    }
    d->shadow = shadow;
}

static void write_result(struct json_writer *w, const struct policy_simulation *s,
                         const struct attempt *attempt)
{
    const struct policy *p = s->policy;
    struct policy_decision d;
    struct policy_attempt a;
    decide(p, attempt, &d);
    json_open(w, '{');
    json_str_at(w, "effect", str_from(policy_effect_name(d.effect)));
    json_str_at(w, "rule", str_from(d.rule));
    write_text_or_null(w, "reason", d.reason);
    json_str_at(w, "challenge", str_from(policy_challenge_name(d.challenge)));
    write_text_or_null(w, "shadow", d.shadow);
    if (attempt->facts.has_ramp) {
        json_i64_at(w, "ramp", attempt->facts.ramp);
    } else {
        json_null_at(w, "ramp");
    }
    if (s->has_trace) {
        policy_attempt_init(&a, &attempt->facts);
        json_open_at(w, "trace", '[');
        for (unsigned i = 0; i < d.index; i++) {
            write_rule(w, &p->rules[i], attempt, &a);
        }
        write_rule(w, d.index < p->rule_count ? &p->rules[d.index] : &p->fallback, attempt, &a);
        json_close(w, ']');
    }
    json_close(w, '}');
}

static int simulate_all(struct policy_reader *r, const cJSON *list, struct json_writer *w)
{
    int count = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    int i = 0;
    if (count < 1 || count > POLICY_ATTEMPTS_MAX) {
        return REFUSE(r, "must be a list of 1 to %d", POLICY_ATTEMPTS_MAX);
    }
    for (const cJSON *v = list->child; v; v = v->next) {
        struct attempt attempt;
        size_t n = policy_enter_item(r, i++);
        int rc = read_attempt(r, v, &attempt);
        if (rc < 0) {
            return rc;
        }
        write_result(w, simulation(r), &attempt);
        policy_leave(r, n);
    }
    return 0;
}

int policy_simulate(const struct policy_simulation *s, struct buf *out, struct err *err)
{
    cJSON *list = NULL;
    struct policy_simulation subject = *s;
    struct policy_reader r = {.subject = &subject, .err = err, .path = "$.attempts"};
    int rc = json_parse(s->attempts, &policy_json_limits, &list, err);
    if (rc < 0) {
        return rc;
    }
    struct json_writer w = {.out = out};
    json_open(&w, '{');
    json_str_at(&w, "policy", str_from(policy_name(s->policy)));
    json_i64_at(&w, "version", policy_version(s->policy));
    json_open_at(&w, "results", '[');
    rc = simulate_all(&r, list, &w);
    json_close(&w, ']');
    json_close(&w, '}');
    cJSON_Delete(list);
    return rc;
}
