/* Deciding. The first rule that matches decides: of those that the index finds, in order. A condition is true, false or
 * unknown, and unknown never opens the door: it counts as false for allow and as true for the other effects. */
#include <stdlib.h>

#include "auth/policy_inner.h"
#include "base/clock.h"
#include "base/secret.h"

enum { DAY_S = 86400, DAY_MIN = 1440, MINUTE_S = 60, EPOCH_WEEKDAY = 3 /* 1970-01-01 was a Thursday */ };

int policy_country_index(const char *c)
{
    bool is_country = c[0] >= 'A' && c[0] <= 'Z' && c[1] >= 'A' && c[1] <= 'Z' && c[2] == 0;
    return is_country ? (c[0] - 'A') * 26 + (c[1] - 'A') : -1;
}

/* --- facts ------------------------------------------------------------------------------------------- */

uint32_t policy_ramp_of(const struct secret_ring *r, enum policy_method m, struct str identifier)
{
    const struct str texts[] = {str_from(policy_method_name(m)), identifier};
    uint8_t mac[SECRET_HMAC_BYTES];
    uint64_t n = 0;
    secret_hmac_of(secret_active(r, SECRET_RAMP), texts, 2, mac);
    for (unsigned i = 0; i < sizeof n; i++) {
        n = n << 8 | mac[i];
    }
    return (uint32_t)(n % POLICY_RAMP_WHOLE);
}

void policy_facts_of_phone(const struct policy *p, const struct secret_ring *r, const struct phone *phone,
                           const struct policy_caller *caller, struct policy_facts *out)
{
    *out = (struct policy_facts){.method = POLICY_METHOD_PHONE,
                                 .phone = phone,
                                 .now_s = clock_wall_s(),
                                 .asn = caller->asn,
                                 .device = caller->device,
                                 .platform = caller->platform,
                                 .app_version = caller->app_version,
                                 .invite = caller->invite,
                                 .campaign = str_from(caller->campaign)};
    memcpy(out->ip_country, caller->ip_country, sizeof out->ip_country);
    if (!p || p->has_ramp) {
        out->has_ramp = true;
        out->ramp = policy_ramp_of(r, POLICY_METHOD_PHONE, str_from(phone->e164));
    }
}

bool policy_app_version_read(struct str text, struct policy_app_version *out)
{
    struct policy_app_version v = {.is_known = true};
    struct str part;
    unsigned parts = 0;
    bool ends_well = text.n > 0 && text.p[text.n - 1] != '.';
    while (str_cut(&text, '.', &part)) {
        uint64_t n;
        if (parts == POLICY_APP_PARTS || !str_u64(part, &n) || n > UINT32_MAX) {
            return false;
        }
        v.parts[parts++] = (uint32_t)n;
    }
    if (ends_well) {
        *out = v;
    }
    return ends_well;
}

enum policy_platform policy_platform_read(struct str text)
{
    for (enum policy_platform p = POLICY_PLATFORM_IOS; p <= POLICY_PLATFORM_WEB; p++) {
        if (str_eq_nocase(text, str_from(policy_platform_name(p)))) {
            return p;
        }
    }
    return POLICY_PLATFORM_UNKNOWN;
}

static void attempt_set_phone(struct policy_attempt *a, const struct phone *phone)
{
    uint64_t value = 0;
    a->phone_country = policy_country_index(phone->country);
    for (const char *d = phone->e164 + 1; *d && a->digits + 1 < PHONE_E164_MAX; d++) {
        value = value * 10 + (uint64_t)(*d - '0');
        a->digits++;
        a->prefix_keys[a->digits] = policy_prefix_key(value, a->digits);
    }
}

void policy_attempt_init(struct policy_attempt *a, const struct policy_facts *facts)
{
    a->facts = facts;
    a->phone_country = -1;
    a->digits = 0;
    a->domain.count = 0;
    a->ip_country = policy_country_index(facts->ip_country);
    if (facts->phone) {
        attempt_set_phone(a, facts->phone);
    }
    if (facts->email_domain.n > 0 && facts->email_domain.n <= DOMAIN_MAX) {
        for (size_t i = 0; i < facts->email_domain.n; i++) {
            char c = facts->email_domain.p[i];
            a->domain_text[i] = (char)(c >= 'A' && c <= 'Z' ? c | 32 : c);
        }
        domain_key_init(&a->domain, str_of(a->domain_text, facts->email_domain.n));
    }
}

/* --- conditions -------------------------------------------------------------------------------------- */

static enum policy_match match_of(bool yes)
{
    return yes ? POLICY_MATCH_YES : POLICY_MATCH_NO;
}

static enum policy_match match_country(const struct policy_countries *wanted, int country)
{
    return country < 0 ? POLICY_MATCH_UNKNOWN : match_of(policy_countries_has(wanted, country));
}

/* Does a longer prefix begin with what is known of the number? */
static bool may_go_on(uint64_t item, const struct policy_attempt *a)
{
    uint64_t digits = item / 16;
    for (unsigned n = (unsigned)(item % 16); n > a->digits; n--) {
        digits /= 10;
    }
    return policy_prefix_key(digits, a->digits) == a->prefix_keys[a->digits];
}

/* Canonical numbers only: there "+86" at the front is country code 86 and nothing else. */
static enum policy_match match_prefix(const struct policy_rule *r, const struct policy_attempt *a)
{
    enum policy_match result = POLICY_MATCH_NO;
    if (a->digits == 0) {
        return POLICY_MATCH_UNKNOWN;
    }
    for (unsigned i = 0; i < r->prefix.count; i++) {
        unsigned n = (unsigned)(r->prefix.items[i] % 16);
        if (n <= a->digits && a->prefix_keys[n] == r->prefix.items[i]) {
            return POLICY_MATCH_YES;
        }
        if (n > a->digits && a->facts->phone_is_prefix && may_go_on(r->prefix.items[i], a)) {
            result = POLICY_MATCH_UNKNOWN;
        }
    }
    return result;
}

static enum policy_match match_asn(const struct policy_rule *r, uint32_t asn)
{
    for (unsigned i = 0; asn && i < r->asn.count; i++) {
        if (r->asn.items[i] == asn) {
            return POLICY_MATCH_YES;
        }
    }
    return asn ? POLICY_MATCH_NO : POLICY_MATCH_UNKNOWN;
}

/* Who is known to have shown no invite belongs to no campaign. */
static enum policy_match match_campaign(const struct policy_rule *r, const struct policy_facts *f)
{
    struct str campaign = f->campaign;
    for (unsigned i = 0; campaign.n && i < r->campaign.count; i++) {
        if (str_is(campaign, r->campaign.items[i])) {
            return POLICY_MATCH_YES;
        }
    }
    return campaign.n || f->invite != POLICY_UNKNOWN ? POLICY_MATCH_NO : POLICY_MATCH_UNKNOWN;
}

static int app_version_compare(const struct policy_app_version *a, const struct policy_app_version *b)
{
    for (unsigned i = 0; i < POLICY_APP_PARTS; i++) {
        if (a->parts[i] != b->parts[i]) {
            return a->parts[i] < b->parts[i] ? -1 : 1;
        }
    }
    return 0;
}

static enum policy_match match_app_version(const struct policy_rule *r, const struct policy_app_version *v)
{
    if (!v->is_known) {
        return POLICY_MATCH_UNKNOWN;
    }
    return match_of((!r->at_least.is_known || app_version_compare(v, &r->at_least) >= 0) &&
                    (!r->below.is_known || app_version_compare(v, &r->below) < 0));
}

/* One that goes past midnight belongs to the day on which it began. */
static bool window_holds(const struct policy_window *w, unsigned weekday, unsigned minute)
{
    bool begins_today = w->days >> weekday & 1;
    bool began_yesterday = w->days >> ((weekday + 6) % 7) & 1;
    if (w->from_min < w->until_min) {
        return begins_today && minute >= w->from_min && minute < w->until_min;
    }
    return (begins_today && minute >= w->from_min) || (began_yesterday && minute < w->until_min);
}

bool policy_time_holds(const struct policy_time *t, int64_t now_s)
{
    if (now_s < t->from_s || now_s >= t->until_s) {
        return false;
    }
    int64_t local_s = now_s + t->offset_s;
    unsigned weekday = (unsigned)((local_s / DAY_S + EPOCH_WEEKDAY) % 7);
    unsigned minute = (unsigned)(local_s % DAY_S / MINUTE_S);
    bool holds = t->window_count == 0;
    for (unsigned i = 0; i < t->window_count && !holds; i++) {
        holds = window_holds(&t->windows[i], weekday, minute);
    }
    return holds;
}

static enum policy_answer answer_of(bool yes)
{
    return yes ? POLICY_YES : POLICY_NO;
}

unsigned policy_few_value(enum policy_condition c, const struct policy_attempt *a)
{
    const struct policy_facts *f = a->facts;
    switch (c) {
    case POLICY_IF_METHOD:
        return (unsigned)f->method + 1;
    case POLICY_IF_PHONE_TYPE:
        return f->phone ? (unsigned)f->phone->type + 1 : 0;
    case POLICY_IF_PHONE_VIRTUAL:
        return f->phone ? answer_of(f->phone->is_virtual) : POLICY_UNKNOWN;
    case POLICY_IF_EMAIL_DISPOSABLE:
        return f->email_disposable;
    case POLICY_IF_SAME_COUNTRY:
        return a->phone_country < 0 || a->ip_country < 0 ? POLICY_UNKNOWN
                                                         : answer_of(a->phone_country == a->ip_country);
    case POLICY_IF_DEVICE:
        return f->device;
    case POLICY_IF_PLATFORM:
        return f->platform;
    case POLICY_IF_INVITE:
        return f->invite;
    default:
        return 0;
    }
}

/* The values that a rule wants of a condition with few: bits of policy_few_value. */
static uint32_t few_wanted(const struct policy_rule *r, enum policy_condition c)
{
    switch (c) {
    case POLICY_IF_METHOD:
        return r->methods << 1;
    case POLICY_IF_PHONE_TYPE:
        return r->types << 1;
    case POLICY_IF_PHONE_VIRTUAL:
        return 1u << r->is_virtual;
    case POLICY_IF_EMAIL_DISPOSABLE:
        return 1u << r->is_disposable;
    case POLICY_IF_SAME_COUNTRY:
        return 1u << r->is_same_country;
    case POLICY_IF_DEVICE:
        return r->devices;
    case POLICY_IF_PLATFORM:
        return r->platforms;
    case POLICY_IF_INVITE:
        return 1u << r->is_invited;
    default:
        return 0;
    }
}

enum policy_match policy_few_match(const struct policy_rule *r, enum policy_condition c, unsigned value)
{
    return value == 0 ? POLICY_MATCH_UNKNOWN : match_of(few_wanted(r, c) >> value & 1);
}

enum policy_match policy_condition_match(const struct policy_rule *r, enum policy_condition c,
                                         const struct policy_attempt *a)
{
    const struct policy_facts *f = a->facts;
    switch (c) {
    case POLICY_IF_PHONE_COUNTRY:
        return match_country(r->phone_country, a->phone_country);
    case POLICY_IF_IP_COUNTRY:
        return match_country(r->ip_country, a->ip_country);
    case POLICY_IF_APP_VERSION:
        return match_app_version(r, &f->app_version);
    case POLICY_IF_RAMP:
        return f->has_ramp ? match_of(f->ramp < r->ramp) : POLICY_MATCH_UNKNOWN;
    case POLICY_IF_TIME:
        return match_of(policy_time_holds(r->time, f->now_s));
    case POLICY_IF_ASN:
        return match_asn(r, f->asn);
    case POLICY_IF_PHONE_PREFIX:
        return match_prefix(r, a);
    case POLICY_IF_CAMPAIGN:
        return match_campaign(r, f);
    case POLICY_IF_EMAIL_DOMAIN:
        return a->domain.count ? match_of(domain_set_has(r->email_domain, &a->domain)) : POLICY_MATCH_UNKNOWN;
    default:
        return policy_few_match(r, c, policy_few_value(c, a));
    }
}

/* --- rules ------------------------------------------------------------------------------------------- */

enum policy_match policy_match_wanted(const struct policy_rule *r)
{
    return r->effect == POLICY_EFFECT_ALLOW ? POLICY_MATCH_YES : POLICY_MATCH_UNKNOWN;
}

static bool conditions_hold(const struct policy_rule *r, uint32_t left, const struct policy_attempt *a)
{
    for (; left; left &= left - 1) {
        if (policy_condition_match(r, (enum policy_condition)__builtin_ctz(left), a) <
            policy_match_wanted(r)) {
            return false;
        }
    }
    return true;
}

bool policy_rule_matches(const struct policy_rule *r, const struct policy_attempt *a)
{
    return conditions_hold(r, r->has, a);
}

unsigned policy_find_rule(const struct policy *p, const struct policy_attempt *a, unsigned first,
                          unsigned *shadow)
{
    struct policy_set may_match;
    uint32_t left = policy_index_left(a);
    unsigned seen = p->rule_count;
    policy_index_find(p->index, a, &may_match);
    unsigned i = policy_set_next(&may_match, first, p->rule_count);
    for (; i < p->rule_count; i = policy_set_next(&may_match, i + 1, p->rule_count)) {
        const struct policy_rule *r = &p->rules[i];
        bool is_asked = !r->is_shadow || seen == p->rule_count;
        if (is_asked && conditions_hold(r, r->has & left, a)) {
            if (!r->is_shadow) {
                break;
            }
            seen = i;
        }
    }
    if (shadow) {
        *shadow = seen;
    }
    return i;
}

void policy_decide_from(const struct policy *p, const struct policy_facts *facts, unsigned first,
                        struct policy_decision *out)
{
    struct policy_attempt a;
    unsigned shadow;
    policy_attempt_init(&a, facts);
    unsigned i = policy_find_rule(p, &a, first, &shadow);
    const struct policy_rule *rule = i < p->rule_count ? &p->rules[i] : &p->fallback;
    *out = (struct policy_decision){.effect = rule->effect,
                                    .version = p->version,
                                    .rule = rule->id,
                                    .reason = rule->reason,
                                    .challenge = rule->challenge,
                                    .index = i,
                                    .has_caps = rule->has_caps};
    memcpy(out->caps, rule->caps, sizeof out->caps);
    if (shadow < p->rule_count) {
        out->shadow = p->rules[shadow].id;
        out->shadow_effect = p->rules[shadow].effect;
    }
}

void policy_decision_close(struct policy_decision *d)
{
    d->effect = POLICY_EFFECT_DENY;
    d->reason = "signup_busy";
    d->has_caps = false;
}

void policy_decide(const struct policy *p, const struct policy_facts *facts, struct policy_decision *out)
{
    policy_decide_from(p, facts, 0, out);
}
