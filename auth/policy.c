/* Questions to a policy. A decision walks the rules in order; a condition is true, false or unknown, and unknown
 * never opens the door: it counts as false for allow and as true for deny. */
#include "auth/policy.h"

#include <stdlib.h>

#include "auth/policy_inner.h"
#include "base/http/problem.h"
#include "base/json.h"

enum match { MATCH_NO = 0, MATCH_UNKNOWN = 1, MATCH_YES = 2 };

static enum match match_of(bool yes)
{
    return yes ? MATCH_YES : MATCH_NO;
}

static enum match match_country(const struct policy_list *list, const struct phone *phone)
{
    if (!phone || phone->country[0] == 0) {
        return MATCH_UNKNOWN;
    }
    for (unsigned i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], phone->country) == 0) {
            return MATCH_YES;
        }
    }
    return MATCH_NO;
}

/* Canonical numbers only: there "+86" at the front is country code 86 and nothing else. */
static enum match match_prefix(const struct policy_list *list, const struct phone *phone)
{
    if (!phone) {
        return MATCH_UNKNOWN;
    }
    for (unsigned i = 0; i < list->count; i++) {
        if (str_starts(str_from(phone->e164), str_from(list->items[i]))) {
            return MATCH_YES;
        }
    }
    return MATCH_NO;
}

static enum match match_least(enum match a, enum match b)
{
    return a < b ? a : b;
}

static bool rule_matches(const struct policy_rule *r, const struct policy_facts *f)
{
    enum match m = MATCH_YES;
    if (r->methods) {
        m = match_least(m, match_of(r->methods & (1u << f->method)));
    }
    if (r->country.is_set) {
        m = match_least(m, match_country(&r->country, f->phone));
    }
    if (r->prefix.is_set) {
        m = match_least(m, match_prefix(&r->prefix, f->phone));
    }
    if (r->types) {
        m = match_least(m, f->phone ? match_of(r->types & (1u << f->phone->type)) : MATCH_UNKNOWN);
    }
    if (r->is_virtual >= 0) {
        m = match_least(m, f->phone ? match_of(f->phone->is_virtual == (r->is_virtual == 1)) : MATCH_UNKNOWN);
    }
    return m == MATCH_YES || (m == MATCH_UNKNOWN && r->effect == POLICY_EFFECT_DENY);
}

void policy_decide(const struct policy *p, const struct policy_facts *facts, struct policy_decision *out)
{
    const struct policy_rule *rule = &p->fallback;
    for (unsigned i = 0; i < p->rule_count; i++) {
        if (rule_matches(&p->rules[i], facts)) {
            rule = &p->rules[i];
            break;
        }
    }
    *out = (struct policy_decision){rule->effect, p->version, rule->id, rule->reason};
}

struct str policy_message(const struct policy *p, const char *reason, unsigned lang)
{
    for (unsigned i = 0; i < p->words_count; i++) {
        const struct policy_words *w = &p->words[i];
        if (strcmp(w->reason, reason) == 0) {
            return str_from(w->text[lang] ? w->text[lang] : w->text[PROBLEM_LANG_EN]);
        }
    }
    return (struct str){"", 0};
}

int64_t policy_version(const struct policy *p)
{
    return p->version;
}

const char *policy_name(const struct policy *p)
{
    return p->name;
}

int64_t policy_edited_from(const struct policy *p)
{
    return p->edited_from;
}

struct str policy_document(const struct policy *p)
{
    return str_from(p->document);
}

const char *policy_state_name(enum policy_state s)
{
    static const char *const names[] = {"open", "restricted", "closed"};
    return names[s];
}

const char *policy_method_name(enum policy_method m)
{
    static const char *const names[] = {"phone", "email", "apple", "google"};
    return names[m];
}

enum policy_state policy_state(const struct policy *p)
{
    bool allows = p->fallback.effect == POLICY_EFFECT_ALLOW;
    bool denies = p->fallback.effect == POLICY_EFFECT_DENY;
    for (unsigned i = 0; i < p->rule_count; i++) {
        allows |= p->rules[i].effect == POLICY_EFFECT_ALLOW;
        denies |= p->rules[i].effect == POLICY_EFFECT_DENY;
    }
    return !denies ? POLICY_STATE_OPEN : allows ? POLICY_STATE_RESTRICTED : POLICY_STATE_CLOSED;
}

static bool rule_is_about(const struct policy_rule *r, enum policy_method m)
{
    return r->methods == 0 || (r->methods & (1u << m));
}

static bool rule_has_only_methods(const struct policy_rule *r)
{
    return !r->country.is_set && !r->prefix.is_set && !r->types && r->is_virtual < 0;
}

bool policy_allows_method(const struct policy *p, enum policy_method m)
{
    for (unsigned i = 0; i < p->rule_count; i++) {
        const struct policy_rule *r = &p->rules[i];
        if (!rule_is_about(r, m)) {
            continue;
        }
        if (r->effect == POLICY_EFFECT_ALLOW || rule_has_only_methods(r)) {
            return r->effect == POLICY_EFFECT_ALLOW;
        }
    }
    return p->fallback.effect == POLICY_EFFECT_ALLOW;
}

/* Countries that allow rules name, while all others are refused. */
static void policy_write_countries(const struct policy *p, struct json_writer *w)
{
    json_open_at(w, "countries", '[');
    for (unsigned i = 0; i < p->rule_count; i++) {
        const struct policy_rule *r = &p->rules[i];
        for (unsigned k = 0; r->effect == POLICY_EFFECT_ALLOW && k < r->country.count; k++) {
            json_str(w, str_from(r->country.items[k]));
        }
    }
    json_close(w, ']');
}

/* The reason that most people meet: of the first deny rule, else of the default. */
static const char *policy_main_reason(const struct policy *p)
{
    for (unsigned i = 0; i < p->rule_count; i++) {
        if (p->rules[i].effect == POLICY_EFFECT_DENY) {
            return p->rules[i].reason;
        }
    }
    return p->fallback.reason;
}

struct str policy_main_message(const struct policy *p, unsigned lang)
{
    const char *reason = policy_main_reason(p);
    return reason ? policy_message(p, reason, lang) : (struct str){"", 0};
}

void policy_write_public(const struct policy *p, unsigned lang, struct buf *out)
{
    struct json_writer w = {.out = out};
    struct str message = policy_main_message(p, lang);
    json_open(&w, '{');
    json_str_at(&w, "state", str_from(policy_state_name(policy_state(p))));
    json_open_at(&w, "methods", '[');
    for (enum policy_method m = 0; m < POLICY_METHODS; m++) {
        if ((POLICY_METHODS_OFFERED & (1u << m)) && policy_allows_method(p, m)) {
            json_str(&w, str_from(policy_method_name(m)));
        }
    }
    json_close(&w, ']');
    policy_write_countries(p, &w);
    json_key(&w, "message");
    if (message.n > 0) {
        json_str(&w, message);
    } else {
        json_null(&w);
    }
    json_str_at(&w, "policy", str_from(p->name));
    json_i64_at(&w, "policy_version", p->version);
    json_close(&w, '}');
}

struct policy *policy_ref(struct policy *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

static void policy_list_clear(struct policy_list *list)
{
    for (unsigned i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list->items);
}

static void policy_rule_clear(struct policy_rule *r)
{
    policy_list_clear(&r->country);
    policy_list_clear(&r->prefix);
    free(r->id);
    free(r->reason);
}

void policy_unref(struct policy *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (unsigned i = 0; i < p->rule_count; i++) {
        policy_rule_clear(&p->rules[i]);
    }
    policy_rule_clear(&p->fallback);
    for (unsigned i = 0; i < p->words_count; i++) {
        free(p->words[i].reason);
        for (unsigned k = 0; k < POLICY_LANGS; k++) {
            free(p->words[i].text[k]);
        }
    }
    free(p->rules);
    free(p->name);
    free(p->document);
    free(p);
}
