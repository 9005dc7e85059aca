/* The policy language, read strictly: rules, default, messages. The conditions are in policy_when.c. */
#include <stdio.h>
#include <stdlib.h>

#include "auth/policy_inner.h"
#include "auth/policy_when.h"

const struct json_limits policy_json_limits = {
    .max_depth = 16, .max_members = POLICY_MEMBERS_MAX, .max_items = POLICY_ITEMS_MAX, .max_string = 4096};

static struct policy *subject(const struct policy_reader *r)
{
    return r->subject;
}

static const char *const effects[] = {"allow", "deny", "waitlist", NULL};  /* by enum policy_effect */
static const char *const challenges[] = {"none", "pow", "pow_hard", NULL}; /* by enum policy_challenge */
static const char waitlist_reason[] = "signup_waitlisted";

const char *policy_effect_name(enum policy_effect e)
{
    return effects[e];
}

const char *policy_challenge_name(enum policy_challenge c)
{
    return challenges[c];
}

static int rule_id(struct policy_reader *r, const cJSON *v, void *rule)
{
    return policy_read_word(r, v, &((struct policy_rule *)rule)->id);
}

static int rule_effect(struct policy_reader *r, const cJSON *v, void *rule)
{
    int i = policy_read_choice(r, v, effects);
    if (i >= 0) {
        ((struct policy_rule *)rule)->effect = (enum policy_effect)i;
    }
    return i;
}

static int rule_challenge(struct policy_reader *r, const cJSON *v, void *rule)
{
    int i = policy_read_choice(r, v, challenges);
    if (i >= 0) {
        ((struct policy_rule *)rule)->challenge = (enum policy_challenge)i;
    }
    return i;
}

static int rule_shadow(struct policy_reader *r, const cJSON *v, void *rule)
{
    return policy_read_bool(r, v, &((struct policy_rule *)rule)->is_shadow);
}

static int read_cap(struct policy_reader *r, const cJSON *v, uint32_t *out)
{
    double n = cJSON_IsNumber(v) ? v->valuedouble : -1;
    if (n < 0 || n > POLICY_CAP_MAX || n != (double)(uint32_t)n) {
        return REFUSE(r, "must be a whole number, 0 to %d", POLICY_CAP_MAX);
    }
    *out = (uint32_t)n;
    return 0;
}

static int cap_minute(struct policy_reader *r, const cJSON *v, void *rule)
{
    return read_cap(r, v, &((struct policy_rule *)rule)->caps[POLICY_CAP_MINUTE]);
}

static int cap_hour(struct policy_reader *r, const cJSON *v, void *rule)
{
    return read_cap(r, v, &((struct policy_rule *)rule)->caps[POLICY_CAP_HOUR]);
}

static int cap_day(struct policy_reader *r, const cJSON *v, void *rule)
{
    return read_cap(r, v, &((struct policy_rule *)rule)->caps[POLICY_CAP_DAY]);
}

static int rule_caps(struct policy_reader *r, const cJSON *v, void *into)
{
    static const struct policy_member members[] = {
        {"per_minute", cap_minute, false}, {"per_hour", cap_hour, false}, {"per_day", cap_day, false}, {0}};
    struct policy_rule *rule = into;
    rule->has_caps = true;
    for (unsigned i = 0; i < POLICY_CAPS; i++) {
        rule->caps[i] = POLICY_CAP_NONE;
    }
    if (cJSON_IsObject(v) && !v->child) {
        return REFUSE(r, "wants per_minute, per_hour or per_day");
    }
    return policy_read_object(r, v, members, rule);
}

static int rule_reason(struct policy_reader *r, const cJSON *v, void *rule)
{
    /* problem codes that clients know */
    static const char *const names[] = {"signup_region_not_allowed", "signup_closed",
                                        "signup_disabled",           "signup_busy",
                                        "invite_required",           NULL};
    int i = policy_read_choice(r, v, names);
    if (i >= 0) {
        ((struct policy_rule *)rule)->reason = strdup(names[i]);
    }
    return i;
}

static int rule_check(struct policy_reader *r, struct policy_rule *rule)
{
    if (rule->effect == POLICY_EFFECT_DENY && !rule->reason) {
        return REFUSE(r, "deny wants a reason");
    }
    if (rule->effect != POLICY_EFFECT_DENY && rule->reason) {
        return REFUSE(r, "%s has no reason", policy_effect_name(rule->effect));
    }
    if (rule->effect != POLICY_EFFECT_ALLOW && rule->has_caps) {
        return REFUSE(r, "caps are of rules that allow, not of %s", policy_effect_name(rule->effect));
    }
    if (rule->effect == POLICY_EFFECT_WAITLIST) {
        rule->reason = strdup(waitlist_reason);
    }
    return 0;
}

static int rule_is_new(struct policy_reader *r, const struct policy_rule *rule)
{
    if (strcmp(rule->id, "default") == 0) {
        return REFUSE(r, "id default is taken");
    }
    for (unsigned i = 0; &subject(r)->rules[i] != rule; i++) {
        if (strcmp(subject(r)->rules[i].id, rule->id) == 0) {
            return REFUSE(r, "id %s is there twice", rule->id);
        }
    }
    return 0;
}

static int top_rules(struct policy_reader *r, const cJSON *v, void *into)
{
    static const struct policy_member members[] = {
        {"id", rule_id, true},
        {"when", policy_read_when, true},
        {"effect", rule_effect, true},
        {"reason", rule_reason, false},
        {"challenge", rule_challenge, false},
        {"ramp_percent", policy_read_ramp, false},
        {"caps", rule_caps, false},
        {"shadow", rule_shadow, false},
        {0},
    };
    int count = cJSON_IsArray(v) ? cJSON_GetArraySize(v) : -1;
    if (count < 0 || count > POLICY_RULES_MAX) {
        return REFUSE(r, "must be a list of at most %d rules", POLICY_RULES_MAX);
    }
    subject(r)->rules = calloc((size_t)count + 1, sizeof *subject(r)->rules);
    BUG_ON(!subject(r)->rules);
    for (const cJSON *item = v->child; item; item = item->next) {
        struct policy_rule *rule = &subject(r)->rules[subject(r)->rule_count];
        size_t n = policy_enter_item(r, (int)subject(r)->rule_count++);
        int rc = policy_read_object(r, item, members, rule);
        rc = rc < 0 ? rc : rule_check(r, rule);
        rc = rc < 0 ? rc : rule_is_new(r, rule);
        if (rc < 0) {
            return rc;
        }
        policy_leave(r, n);
    }
    return 0;
}

static int top_default(struct policy_reader *r, const cJSON *v, void *into)
{
    static const struct policy_member members[] = {{"effect", rule_effect, true},
                                                   {"reason", rule_reason, false},
                                                   {"challenge", rule_challenge, false},
                                                   {0}};
    struct policy_rule *rule = &subject(r)->fallback;
    rule->id = strdup("default");
    int rc = policy_read_object(r, v, members, rule);
    return rc < 0 ? rc : rule_check(r, rule);
}

static int words_en(struct policy_reader *r, const cJSON *v, void *words)
{
    return policy_read_text(r, v, POLICY_TEXT_MAX, &((struct policy_words *)words)->text[0]);
}

static int words_zh_hans(struct policy_reader *r, const cJSON *v, void *words)
{
    return policy_read_text(r, v, POLICY_TEXT_MAX, &((struct policy_words *)words)->text[1]);
}

static int words_zh_hant(struct policy_reader *r, const cJSON *v, void *words)
{
    return policy_read_text(r, v, POLICY_TEXT_MAX, &((struct policy_words *)words)->text[2]);
}

static int top_messages(struct policy_reader *r, const cJSON *v, void *into)
{
    static const struct policy_member members[] = {
        {"en", words_en, true}, {"zh-Hans", words_zh_hans, false}, {"zh-Hant", words_zh_hant, false}, {0}};
    if (!cJSON_IsObject(v) || cJSON_GetArraySize(v) > POLICY_REASONS_MAX) {
        return REFUSE(r, "must be an object of at most %d reasons", POLICY_REASONS_MAX);
    }
    for (const cJSON *item = v->child; item; item = item->next) {
        struct policy_words *words = &subject(r)->words[subject(r)->words_count++];
        words->reason = strdup(item->string);
        size_t n = policy_enter(r, item->string);
        int rc = policy_read_object(r, item, members, words);
        if (rc < 0) {
            return rc;
        }
        policy_leave(r, n);
    }
    return 0;
}

static int top_name(struct policy_reader *r, const cJSON *v, void *into)
{
    return policy_read_word(r, v, &subject(r)->name);
}

static int top_version(struct policy_reader *r, const cJSON *v, void *into)
{
    double number = cJSON_IsNumber(v) ? v->valuedouble : -1;
    if (number < 1 || number > 9e15 || number != (double)(int64_t)number) {
        return REFUSE(r, "must be a version number");
    }
    subject(r)->edited_from = (int64_t)number;
    return 0;
}

static int top_existing(struct policy_reader *r, const cJSON *v, void *into)
{
    bool known = cJSON_IsString(v) && strcmp(v->valuestring, "unaffected") == 0;
    return known ? 0 : REFUSE(r, "must be unaffected: a policy never touches people who have an account");
}

/* A message for a reason that no rule gives is a slip of the pen. */
static int messages_are_used(struct policy_reader *r)
{
    const struct policy *p = subject(r);
    for (unsigned i = 0; i < p->words_count; i++) {
        bool used = p->fallback.reason && strcmp(p->fallback.reason, p->words[i].reason) == 0;
        for (unsigned k = 0; k < p->rule_count; k++) {
            used |= p->rules[k].has_caps && strcmp(p->words[i].reason, "signup_busy") == 0; /* no ledger */
            used |= p->rules[k].reason && strcmp(p->rules[k].reason, p->words[i].reason) == 0;
        }
        if (!used) {
            policy_enter(r, "messages");
            policy_enter(r, p->words[i].reason);
            return REFUSE(r, "no rule gives this reason");
        }
    }
    return 0;
}

int policy_parse(struct str document, int64_t version, struct policy **out, struct err *err)
{
    static const struct policy_member members[] = {
        {"name", top_name, true},
        {"version", top_version, false},
        {"rules", top_rules, true},
        {"default", top_default, true},
        {"messages", top_messages, false},
        {"existing_users", top_existing, true},
        {0},
    };
    cJSON *dom = NULL;
    if (document.n > POLICY_DOCUMENT_MAX) {
        return err_set(err, ERR_INVALID, "$: a policy has at most %d bytes", POLICY_DOCUMENT_MAX);
    }
    int rc = json_parse(document, &policy_json_limits, &dom, err);
    if (rc < 0) {
        return rc;
    }
    struct policy *p = calloc(1, sizeof *p);
    BUG_ON(!p);
    p->refs = 1;
    p->version = version;
    p->document = strndup(document.p, document.n);
    struct policy_reader r = {.subject = p, .err = err, .path = "$"};
    rc = policy_read_object(&r, dom, members, NULL);
    rc = rc < 0 ? rc : messages_are_used(&r);
    cJSON_Delete(dom);
    if (rc < 0) {
        policy_unref(p);
        return rc;
    }
    p->index = policy_index_new(p->rules, p->rule_count);
    policy_write_public_texts(p);
    *out = p;
    return 0;
}
