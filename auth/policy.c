/* Questions to a policy, and its end. Deciding is in policy_match.c. */
#include "auth/policy.h"

#include <stdlib.h>

#include "auth/policy_inner.h"
#include "base/http/problem.h"
#include "base/json.h"

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

const char *policy_device_name(enum policy_device d)
{
    static const char *const names[] = {"unknown", "none", "basic", "strong"};
    return names[d];
}

const char *policy_platform_name(enum policy_platform p)
{
    static const char *const names[] = {"unknown", "ios", "android", "web"};
    return names[p];
}

enum policy_state policy_state(const struct policy *p)
{
    bool allows = p->fallback.effect == POLICY_EFFECT_ALLOW;
    bool lists = p->fallback.effect == POLICY_EFFECT_WAITLIST;
    bool refuses = p->fallback.effect != POLICY_EFFECT_ALLOW;
    for (unsigned i = 0; i < p->rule_count; i++) {
        const struct policy_rule *r = &p->rules[i];
        if (!r->is_shadow) {
            allows |= r->effect == POLICY_EFFECT_ALLOW;
            lists |= r->effect == POLICY_EFFECT_WAITLIST;
            refuses |= r->effect != POLICY_EFFECT_ALLOW;
        }
    }
    return !refuses ? POLICY_STATE_OPEN : allows || lists ? POLICY_STATE_RESTRICTED : POLICY_STATE_CLOSED;
}

static bool rule_is_about(const struct policy_rule *r, enum policy_method m)
{
    return !r->is_shadow && (!(r->has & POLICY_BIT(POLICY_IF_METHOD)) || (r->methods & (1u << m)));
}

static bool rule_has_only_methods(const struct policy_rule *r)
{
    return (r->has & ~POLICY_BIT(POLICY_IF_METHOD)) == 0;
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
    struct policy_countries all = {{0}};
    for (unsigned i = 0; i < p->rule_count; i++) {
        const struct policy_countries *own = p->rules[i].phone_country;
        bool tells = own && !p->rules[i].is_shadow && p->rules[i].effect == POLICY_EFFECT_ALLOW;
        for (unsigned k = 0; tells && k < sizeof all.bits / 4; k++) {
            all.bits[k] |= own->bits[k];
        }
    }
    json_open_at(w, "countries", '[');
    for (int i = 0; i < POLICY_COUNTRIES; i++) {
        if (policy_countries_has(&all, i)) {
            json_str(w, str_of((const char[]){(char)('A' + i / 26), (char)('A' + i % 26)}, 2));
        }
    }
    json_close(w, ']');
}

/* The reason that most people meet: of the first rule that does not allow, else of the default. */
static const char *policy_main_reason(const struct policy *p)
{
    for (unsigned i = 0; i < p->rule_count; i++) {
        if (!p->rules[i].is_shadow && p->rules[i].effect != POLICY_EFFECT_ALLOW) {
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

static void write_public(const struct policy *p, unsigned lang, struct buf *out)
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

/* Each refusal says it. */
void policy_write_public_texts(struct policy *p)
{
    for (unsigned lang = 0; lang < POLICY_LANGS; lang++) {
        buf_init(&p->public_text[lang], SIZE_MAX);
        write_public(p, lang, &p->public_text[lang]);
    }
}

void policy_write_public(const struct policy *p, unsigned lang, struct buf *out)
{
    buf_add_str(out, buf_str(&p->public_text[lang]));
}

struct policy *policy_ref(struct policy *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

static void policy_rule_clear(struct policy_rule *r)
{
    for (unsigned i = 0; i < r->campaign.count; i++) {
        free(r->campaign.items[i]);
    }
    free(r->campaign.items);
    free(r->phone_country);
    free(r->ip_country);
    free(r->prefix.items);
    free(r->asn.items);
    free(r->time);
    domain_set_free(r->email_domain);
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
    for (unsigned lang = 0; lang < POLICY_LANGS; lang++) {
        buf_clear(&p->public_text[lang]);
    }
    policy_index_free(p->index);
    free(p->rules);
    free(p->name);
    free(p->document);
    free(p);
}
