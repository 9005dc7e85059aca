#include "auth/policy_lint.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/policy_inner.h"

/* What a sign-up tells today; the rest are conditions on facts that are missing. */
static const uint32_t facts_told =
    POLICY_BIT(POLICY_IF_METHOD) | POLICY_BIT(POLICY_IF_PHONE_TYPE) | POLICY_BIT(POLICY_IF_PHONE_VIRTUAL) |
    POLICY_BIT(POLICY_IF_PHONE_COUNTRY) | POLICY_BIT(POLICY_IF_PHONE_PREFIX) | POLICY_BIT(POLICY_IF_RAMP) |
    POLICY_BIT(POLICY_IF_TIME) | POLICY_BIT(POLICY_IF_INVITE) | POLICY_BIT(POLICY_IF_CAMPAIGN) |
    POLICY_BIT(POLICY_IF_IP_COUNTRY) | POLICY_BIT(POLICY_IF_ASN) | POLICY_BIT(POLICY_IF_SAME_COUNTRY) |
    POLICY_BIT(POLICY_IF_PLATFORM) | POLICY_BIT(POLICY_IF_APP_VERSION);
/* What is known of every attempt. */
static const uint32_t facts_certain = POLICY_BIT(POLICY_IF_METHOD) | POLICY_BIT(POLICY_IF_TIME);

struct lint {
    const struct policy *policy;
    struct policy_findings *out;
};

static void __attribute__((format(printf, 5, 6)))
find(struct lint *l, enum policy_severity severity, unsigned rule, const char *code, const char *fmt, ...)
{
    va_list ap;
    l->out->errors += severity == POLICY_SEVERITY_ERROR;
    if (l->out->count == POLICY_FINDINGS_MAX) {
        return;
    }
    struct policy_finding *f = &l->out->items[l->out->count++];
    f->severity = severity;
    f->code = code;
    if (rule < l->policy->rule_count) {
        snprintf(f->path, sizeof f->path, "$.rules[%u]", rule);
    } else {
        snprintf(f->path, sizeof f->path, "$");
    }
    va_start(ap, fmt);
    vsnprintf(f->message, sizeof f->message, fmt, ap);
    va_end(ap);
}

/* --- does one rule take everybody of another? -------------------------------------------------------- */

static bool countries_cover(const struct policy_countries *wide, const struct policy_countries *narrow)
{
    for (unsigned i = 0; i < sizeof wide->bits / sizeof wide->bits[0]; i++) {
        if (narrow->bits[i] & ~wide->bits[i]) {
            return false;
        }
    }
    return true;
}

static bool prefix_begins(uint64_t prefix, uint64_t longer)
{
    uint64_t digits = longer / 16;
    for (uint64_t n = longer % 16; n > prefix % 16; n--) {
        digits /= 10;
    }
    return longer % 16 >= prefix % 16 && digits == prefix / 16;
}

static bool prefixes_cover(const struct policy_numbers *wide, const struct policy_numbers *narrow)
{
    for (unsigned i = 0; i < narrow->count; i++) {
        unsigned k = 0;
        while (k < wide->count && !prefix_begins(wide->items[k], narrow->items[i])) {
            k++;
        }
        if (k == wide->count) {
            return false;
        }
    }
    return true;
}

static bool numbers_cover(const struct policy_numbers *wide, const struct policy_numbers *narrow)
{
    for (unsigned i = 0; i < narrow->count; i++) {
        unsigned k = 0;
        while (k < wide->count && wide->items[k] != narrow->items[i]) {
            k++;
        }
        if (k == wide->count) {
            return false;
        }
    }
    return true;
}

static bool texts_cover(const struct policy_texts *wide, const struct policy_texts *narrow)
{
    for (unsigned i = 0; i < narrow->count; i++) {
        unsigned k = 0;
        while (k < wide->count && strcmp(wide->items[k], narrow->items[i]) != 0) {
            k++;
        }
        if (k == wide->count) {
            return false;
        }
    }
    return true;
}

static bool domains_cover(const struct domain_set *wide, const struct domain_set *narrow)
{
    struct str domain;
    struct domain_key key;
    for (size_t at = 0; domain_set_next(narrow, &at, &domain);) {
        domain_key_init(&key, domain);
        if (!domain_set_has(wide, &key)) {
            return false;
        }
    }
    return true;
}

static bool times_cover(const struct policy_time *wide, const struct policy_time *narrow)
{
    bool same_week = wide->window_count == narrow->window_count && wide->offset_s == narrow->offset_s &&
                     memcmp(wide->windows, narrow->windows, sizeof wide->windows) == 0;
    return wide->from_s <= narrow->from_s && wide->until_s >= narrow->until_s &&
           (wide->window_count == 0 || same_week);
}

static bool app_versions_cover(const struct policy_rule *wide, const struct policy_rule *narrow)
{
    return memcmp(&wide->at_least, &narrow->at_least, sizeof wide->at_least) == 0 &&
           memcmp(&wide->below, &narrow->below, sizeof wide->below) == 0;
}

static bool condition_covers(enum policy_condition c, const struct policy_rule *wide,
                             const struct policy_rule *narrow)
{
    switch (c) {
    case POLICY_IF_METHOD:
        return (narrow->methods & ~wide->methods) == 0;
    case POLICY_IF_PHONE_TYPE:
        return (narrow->types & ~wide->types) == 0;
    case POLICY_IF_DEVICE:
        return (narrow->devices & ~wide->devices) == 0;
    case POLICY_IF_PLATFORM:
        return (narrow->platforms & ~wide->platforms) == 0;
    case POLICY_IF_PHONE_VIRTUAL:
        return narrow->is_virtual == wide->is_virtual;
    case POLICY_IF_EMAIL_DISPOSABLE:
        return narrow->is_disposable == wide->is_disposable;
    case POLICY_IF_SAME_COUNTRY:
        return narrow->is_same_country == wide->is_same_country;
    case POLICY_IF_INVITE:
        return narrow->is_invited == wide->is_invited;
    case POLICY_IF_PHONE_COUNTRY:
        return countries_cover(wide->phone_country, narrow->phone_country);
    case POLICY_IF_IP_COUNTRY:
        return countries_cover(wide->ip_country, narrow->ip_country);
    case POLICY_IF_APP_VERSION:
        return app_versions_cover(wide, narrow);
    case POLICY_IF_RAMP:
        return wide->ramp >= narrow->ramp;
    case POLICY_IF_TIME:
        return times_cover(wide->time, narrow->time);
    case POLICY_IF_ASN:
        return numbers_cover(&wide->asn, &narrow->asn);
    case POLICY_IF_PHONE_PREFIX:
        return prefixes_cover(&wide->prefix, &narrow->prefix);
    case POLICY_IF_CAMPAIGN:
        return texts_cover(&wide->campaign, &narrow->campaign);
    case POLICY_IF_EMAIL_DOMAIN:
        return domains_cover(wide->email_domain, narrow->email_domain);
    case POLICY_CONDITIONS:
        break;
    }
    return false;
}

/* Rules that do not allow also take those of whom something is not known, an allow rule does not: so an allow rule hides
 * a later one of theirs only by what is always known. */
static bool rule_hides(const struct policy_rule *early, const struct policy_rule *late)
{
    bool is_certain = early->effect != POLICY_EFFECT_ALLOW || late->effect == POLICY_EFFECT_ALLOW ||
                      (early->has & ~facts_certain) == 0;
    if (early->is_shadow || early->has_caps || !is_certain || (early->has & ~late->has) != 0) {
        return false;
    }
    for (uint32_t left = early->has; left; left &= left - 1) {
        if (!condition_covers((enum policy_condition)__builtin_ctz(left), early, late)) {
            return false;
        }
    }
    return true;
}

/* --- findings ---------------------------------------------------------------------------------------- */

static void lint_unreachable(struct lint *l, unsigned rule)
{
    for (unsigned i = 0; i < rule; i++) {
        if (rule_hides(&l->policy->rules[i], &l->policy->rules[rule])) {
            find(l, POLICY_SEVERITY_ERROR, rule, "unreachable_rule",
                 "rule %s is never asked: rule %s takes everybody before", l->policy->rules[rule].id,
                 l->policy->rules[i].id);
            return;
        }
    }
}

/* Does an earlier rule take the whole country from this one, which would let them in? */
static const char *who_takes(const struct policy *p, unsigned rule, int country)
{
    const uint32_t whole = POLICY_BIT(POLICY_IF_METHOD) | POLICY_BIT(POLICY_IF_PHONE_COUNTRY);
    const struct policy_rule *late = &p->rules[rule];
    for (unsigned i = 0; i < rule; i++) {
        const struct policy_rule *r = &p->rules[i];
        bool for_them = !(r->has & POLICY_BIT(POLICY_IF_METHOD)) ||
                        ((late->has & POLICY_BIT(POLICY_IF_METHOD)) && (late->methods & ~r->methods) == 0);
        if (!r->is_shadow && r->effect != POLICY_EFFECT_ALLOW && (r->has & ~whole) == 0 && for_them &&
            r->phone_country && policy_countries_has(r->phone_country, country)) {
            return r->id;
        }
    }
    return NULL;
}

static void lint_countries(struct lint *l, unsigned rule)
{
    const struct policy_rule *r = &l->policy->rules[rule];
    for (int c = 0; r->effect == POLICY_EFFECT_ALLOW && r->phone_country && c < POLICY_COUNTRIES; c++) {
        const char *who = policy_countries_has(r->phone_country, c) ? who_takes(l->policy, rule, c) : NULL;
        if (who) {
            find(l, POLICY_SEVERITY_ERROR, rule, "country_emptied",
                 "rule %s lets nobody of %c%c in: rule %s takes them before", r->id, 'A' + c / 26,
                 'A' + c % 26, who);
        }
    }
}

static void lint_facts(struct lint *l, unsigned rule)
{
    const struct policy_rule *r = &l->policy->rules[rule];
    bool is_offered = !(r->has & POLICY_BIT(POLICY_IF_METHOD)) || (r->methods & POLICY_METHODS_OFFERED) != 0;
    bool is_allow = r->effect == POLICY_EFFECT_ALLOW;
    for (uint32_t left = is_offered ? r->has & ~facts_told : 0; left; left &= left - 1) {
        find(l, is_allow || r->is_shadow ? POLICY_SEVERITY_WARNING : POLICY_SEVERITY_ERROR, rule,
             "unknown_fact", "sign-ups do not tell %s yet: rule %s %s",
             policy_condition_name((enum policy_condition)__builtin_ctz(left)), r->id,
             is_allow ? "lets nobody in" : "takes it as held");
    }
}

static void lint_caps(struct lint *l, unsigned rule)
{
    static const char *const names[POLICY_CAPS] = {"minute", "hour", "day"};
    static const uint64_t seconds[POLICY_CAPS] = {60, 3600, 86400};
    const struct policy_rule *r = &l->policy->rules[rule];
    for (unsigned i = 0; r->has_caps && i < POLICY_CAPS; i++) {
        if (r->caps[i] == 0) {
            find(l, POLICY_SEVERITY_ERROR, rule, "cap_zero", "rule %s lets nobody in: its cap per %s is 0",
                 r->id, names[i]);
        }
        for (unsigned k = 0; k < i && r->caps[i] != POLICY_CAP_NONE && r->caps[i] > 0; k++) {
            if (r->caps[k] != POLICY_CAP_NONE && r->caps[k] * (seconds[i] / seconds[k]) <= r->caps[i]) {
                find(l, POLICY_SEVERITY_WARNING, rule, "cap_without_effect",
                     "the cap per %s of rule %s is never reached: its cap per %s comes before", names[i],
                     r->id, names[k]);
            }
        }
    }
}

void policy_lint_list(const struct policy *p, int64_t now_s, struct policy_findings *out)
{
    struct lint l = {.policy = p, .out = out};
    *out = (struct policy_findings){.items = calloc(POLICY_FINDINGS_MAX, sizeof *out->items)};
    BUG_ON(!out->items);
    if (policy_state(p) == POLICY_STATE_CLOSED) {
        find(&l, POLICY_SEVERITY_WARNING, p->rule_count, "everybody_denied", "nobody can sign up");
    }
    for (unsigned i = 0; i < p->rule_count; i++) {
        lint_unreachable(&l, i);
        lint_countries(&l, i);
        lint_facts(&l, i);
        lint_caps(&l, i);
        if (p->rules[i].time && p->rules[i].time->until_s <= now_s) {
            find(&l, POLICY_SEVERITY_WARNING, i, "window_past", "the time of rule %s is over",
                 p->rules[i].id);
        }
    }
}

void policy_findings_clear(struct policy_findings *f)
{
    free(f->items);
    *f = (struct policy_findings){.items = NULL};
}

void policy_findings_write(const struct policy_findings *f, struct json_writer *w)
{
    static const char *const severities[] = {"warning", "error"};
    json_open_at(w, "findings", '[');
    for (unsigned i = 0; i < f->count; i++) {
        json_open(w, '{');
        json_str_at(w, "path", str_from(f->items[i].path));
        json_str_at(w, "code", str_from(f->items[i].code));
        json_str_at(w, "severity", str_from(severities[f->items[i].severity]));
        json_str_at(w, "message", str_from(f->items[i].message));
        json_close(w, '}');
    }
    json_close(w, ']');
}

void policy_lint(const struct policy *p, int64_t now_s, struct buf *out)
{
    struct policy_findings findings;
    struct json_writer w = {.out = out};
    policy_lint_list(p, now_s, &findings);
    json_open(&w, '{');
    json_str_at(&w, "name", str_from(policy_name(p)));
    json_str_at(&w, "state", str_from(policy_state_name(policy_state(p))));
    json_i64_at(&w, "rules", p->rule_count);
    policy_findings_write(&findings, &w);
    json_close(&w, '}');
    policy_findings_clear(&findings);
}
