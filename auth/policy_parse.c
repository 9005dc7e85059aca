/* The policy language, read strictly. Each member has its reader; whatever has none refuses the document, and
 * every error begins with the JSON path of the offender. */
#include <stdio.h>
#include <stdlib.h>

#include "auth/policy.h"
#include "auth/policy_inner.h"
#include "base/json.h"

/* Where the reader is: a path for errors and the policy under construction. */
struct reader {
    struct policy *policy;
    struct err *err;
    char path[96];
};

typedef int (*member_cb)(struct reader *r, const cJSON *value, void *into);

struct member {
    const char *name;
    member_cb read;
    bool required;
};

#define REFUSE(r, ...) reader_refuse((r), __VA_ARGS__)

static int __attribute__((format(printf, 2, 3))) reader_refuse(struct reader *r, const char *fmt, ...)
{
    char what[96];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return err_set(r->err, ERR_INVALID, "%s: %s", r->path, what);
}

/* Lengthens the path for the time of one member; returns the length to cut back to. */
static size_t reader_enter(struct reader *r, const char *fmt, const char *name, int index)
{
    size_t n = strlen(r->path);
    snprintf(r->path + n, sizeof r->path - n, fmt, name, index);
    return n;
}

static void reader_leave(struct reader *r, size_t n)
{
    r->path[n] = 0;
}

static int read_object(struct reader *r, const cJSON *object, const struct member *members, void *into)
{
    if (!cJSON_IsObject(object)) {
        return REFUSE(r, "must be an object");
    }
    for (const cJSON *v = object->child; v; v = v->next) {
        const struct member *m = members;
        while (m->name && strcmp(m->name, v->string) != 0) {
            m++;
        }
        size_t n = reader_enter(r, ".%s", v->string, 0);
        int rc = m->name ? m->read(r, v, into) : REFUSE(r, "unknown member");
        if (rc < 0) {
            return rc;
        }
        reader_leave(r, n);
    }
    for (const struct member *m = members; m->name; m++) {
        if (m->required && !cJSON_GetObjectItemCaseSensitive(object, m->name)) {
            return REFUSE(r, "member %s is missing", m->name);
        }
    }
    return 0;
}

static int read_text(struct reader *r, const cJSON *value, size_t max, char **out)
{
    if (!cJSON_IsString(value)) {
        return REFUSE(r, "must be a string");
    }
    size_t n = strlen(value->valuestring);
    if (n == 0 || n > max) {
        return REFUSE(r, "must have 1 to %zu bytes", max);
    }
    *out = strdup(value->valuestring);
    return 0;
}

static bool is_word(const char *s)
{
    return s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")] == 0;
}

static int read_word(struct reader *r, const cJSON *value, char **out)
{
    int rc = read_text(r, value, POLICY_ID_MAX, out);
    return rc < 0 || is_word(*out) ? rc : REFUSE(r, "may hold letters, digits, hyphen, underscore and dot");
}

/* Calls item for each element of a list of 1 to POLICY_VALUES_MAX strings. */
static int read_list(struct reader *r, const cJSON *value, void *into,
                     int (*item)(struct reader *, const char *, void *))
{
    int count = cJSON_IsArray(value) ? cJSON_GetArraySize(value) : 0;
    if (count < 1 || count > POLICY_VALUES_MAX) {
        return REFUSE(r, "must be a list of 1 to %d strings", POLICY_VALUES_MAX);
    }
    int i = 0;
    for (const cJSON *v = value->child; v; v = v->next) {
        size_t n = reader_enter(r, "%s[%d]", "", i++);
        int rc = cJSON_IsString(v) ? item(r, v->valuestring, into) : REFUSE(r, "must be a string");
        if (rc < 0) {
            return rc;
        }
        reader_leave(r, n);
    }
    return 0;
}

static void list_add(struct policy_list *list, const char *text)
{
    list->items = realloc(list->items, (list->count + 1) * sizeof *list->items);
    BUG_ON(!list->items);
    list->items[list->count++] = strdup(text);
    list->is_set = true;
}

static int item_method(struct reader *r, const char *text, void *into)
{
    for (enum policy_method m = 0; m < POLICY_METHODS; m++) {
        if (strcmp(text, policy_method_name(m)) == 0) {
            *(uint32_t *)into |= 1u << m;
            return 0;
        }
    }
    return REFUSE(r, "is not one of phone, email, apple, google");
}

static int item_type(struct reader *r, const char *text, void *into)
{
    for (enum phone_type t = PHONE_TYPE_MOBILE; t <= PHONE_TYPE_VOIP; t++) {
        if (strcmp(text, phone_type_name(t)) == 0) {
            *(uint32_t *)into |= 1u << t;
            return 0;
        }
    }
    return REFUSE(r, "is not one of mobile, fixed_or_mobile, voip");
}

static int item_country(struct reader *r, const char *text, void *into)
{
    if (strlen(text) != 2 || text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")] != 0) {
        return REFUSE(r, "is not a country of two capital letters");
    }
    list_add(into, text);
    return 0;
}

static int item_prefix(struct reader *r, const char *text, void *into)
{
    size_t n = strlen(text);
    if (text[0] != '+' || n < 2 || n > PHONE_E164_MAX || text[1] == '0' ||
        text[1 + strspn(text + 1, "0123456789")] != 0) {
        return REFUSE(r, "is not + and the first digits of a number");
    }
    list_add(into, text);
    return 0;
}

static int when_method(struct reader *r, const cJSON *v, void *rule)
{
    return read_list(r, v, &((struct policy_rule *)rule)->methods, item_method);
}

static int when_country(struct reader *r, const cJSON *v, void *rule)
{
    return read_list(r, v, &((struct policy_rule *)rule)->country, item_country);
}

static int when_prefix(struct reader *r, const cJSON *v, void *rule)
{
    return read_list(r, v, &((struct policy_rule *)rule)->prefix, item_prefix);
}

static int when_type(struct reader *r, const cJSON *v, void *rule)
{
    return read_list(r, v, &((struct policy_rule *)rule)->types, item_type);
}

static int when_virtual(struct reader *r, const cJSON *v, void *rule)
{
    if (!cJSON_IsBool(v)) {
        return REFUSE(r, "must be true or false");
    }
    ((struct policy_rule *)rule)->is_virtual = cJSON_IsTrue(v) ? 1 : 0;
    return 0;
}

static int rule_when(struct reader *r, const cJSON *v, void *rule)
{
    static const struct member members[] = {
        {"method", when_method, false},         {"phone_country", when_country, false},
        {"phone_prefix", when_prefix, false},   {"phone_type", when_type, false},
        {"phone_virtual", when_virtual, false}, {0},
    };
    return read_object(r, v, members, rule);
}

static int rule_id(struct reader *r, const cJSON *v, void *rule)
{
    return read_word(r, v, &((struct policy_rule *)rule)->id);
}

static int rule_effect(struct reader *r, const cJSON *v, void *rule)
{
    if (cJSON_IsString(v) && strcmp(v->valuestring, "allow") == 0) {
        ((struct policy_rule *)rule)->effect = POLICY_EFFECT_ALLOW;
    } else if (cJSON_IsString(v) && strcmp(v->valuestring, "deny") == 0) {
        ((struct policy_rule *)rule)->effect = POLICY_EFFECT_DENY;
    } else {
        return REFUSE(r, "must be allow or deny");
    }
    return 0;
}

/* Reasons are problem codes that clients know. */
static int rule_reason(struct reader *r, const cJSON *v, void *rule)
{
    static const char *const reasons[] = {"signup_region_not_allowed", "signup_closed", "signup_disabled"};
    for (size_t i = 0; cJSON_IsString(v) && i < sizeof reasons / sizeof *reasons; i++) {
        if (strcmp(v->valuestring, reasons[i]) == 0) {
            ((struct policy_rule *)rule)->reason = strdup(reasons[i]);
            return 0;
        }
    }
    return REFUSE(r, "must be signup_region_not_allowed, signup_closed or signup_disabled");
}

static int rule_check(struct reader *r, const struct policy_rule *rule)
{
    if (rule->effect == POLICY_EFFECT_DENY && !rule->reason) {
        return REFUSE(r, "deny wants a reason");
    }
    if (rule->effect == POLICY_EFFECT_ALLOW && rule->reason) {
        return REFUSE(r, "allow has no reason");
    }
    return 0;
}

static int rule_is_new(struct reader *r, const struct policy_rule *rule)
{
    if (strcmp(rule->id, "default") == 0) {
        return REFUSE(r, "id default is taken");
    }
    for (unsigned i = 0; &r->policy->rules[i] != rule; i++) {
        if (strcmp(r->policy->rules[i].id, rule->id) == 0) {
            return REFUSE(r, "id %s is there twice", rule->id);
        }
    }
    return 0;
}

static int top_rules(struct reader *r, const cJSON *v, void *into)
{
    static const struct member members[] = {
        {"id", rule_id, true},
        {"when", rule_when, true},
        {"effect", rule_effect, true},
        {"reason", rule_reason, false},
        {0},
    };
    int count = cJSON_IsArray(v) ? cJSON_GetArraySize(v) : -1;
    if (count < 0 || count > POLICY_RULES_MAX) {
        return REFUSE(r, "must be a list of at most %d rules", POLICY_RULES_MAX);
    }
    r->policy->rules = calloc((size_t)count + 1, sizeof *r->policy->rules);
    BUG_ON(!r->policy->rules);
    for (const cJSON *item = v->child; item; item = item->next) {
        struct policy_rule *rule = &r->policy->rules[r->policy->rule_count];
        rule->is_virtual = -1;
        size_t n = reader_enter(r, "%s[%d]", "", (int)r->policy->rule_count++);
        int rc = read_object(r, item, members, rule);
        rc = rc < 0 ? rc : rule_check(r, rule);
        rc = rc < 0 ? rc : rule_is_new(r, rule);
        if (rc < 0) {
            return rc;
        }
        reader_leave(r, n);
    }
    return 0;
}

static int top_default(struct reader *r, const cJSON *v, void *into)
{
    static const struct member members[] = {
        {"effect", rule_effect, true}, {"reason", rule_reason, false}, {0}};
    struct policy_rule *rule = &r->policy->fallback;
    rule->is_virtual = -1;
    rule->id = strdup("default");
    int rc = read_object(r, v, members, rule);
    return rc < 0 ? rc : rule_check(r, rule);
}

static int words_en(struct reader *r, const cJSON *v, void *words)
{
    return read_text(r, v, POLICY_TEXT_MAX, &((struct policy_words *)words)->text[0]);
}

static int words_zh_hans(struct reader *r, const cJSON *v, void *words)
{
    return read_text(r, v, POLICY_TEXT_MAX, &((struct policy_words *)words)->text[1]);
}

static int words_zh_hant(struct reader *r, const cJSON *v, void *words)
{
    return read_text(r, v, POLICY_TEXT_MAX, &((struct policy_words *)words)->text[2]);
}

static int top_messages(struct reader *r, const cJSON *v, void *into)
{
    static const struct member members[] = {
        {"en", words_en, true}, {"zh-Hans", words_zh_hans, false}, {"zh-Hant", words_zh_hant, false}, {0}};
    if (!cJSON_IsObject(v) || cJSON_GetArraySize(v) > POLICY_REASONS_MAX) {
        return REFUSE(r, "must be an object of at most %d reasons", POLICY_REASONS_MAX);
    }
    for (const cJSON *item = v->child; item; item = item->next) {
        struct policy_words *words = &r->policy->words[r->policy->words_count++];
        words->reason = strdup(item->string);
        size_t n = reader_enter(r, ".%s", item->string, 0);
        int rc = read_object(r, item, members, words);
        if (rc < 0) {
            return rc;
        }
        reader_leave(r, n);
    }
    return 0;
}

static int top_name(struct reader *r, const cJSON *v, void *into)
{
    return read_word(r, v, &r->policy->name);
}

static int top_version(struct reader *r, const cJSON *v, void *into)
{
    double number = cJSON_IsNumber(v) ? v->valuedouble : -1;
    if (number < 1 || number > 9e15 || number != (double)(int64_t)number) {
        return REFUSE(r, "must be a version number");
    }
    r->policy->edited_from = (int64_t)number;
    return 0;
}

static int top_existing(struct reader *r, const cJSON *v, void *into)
{
    bool known = cJSON_IsString(v) && strcmp(v->valuestring, "unaffected") == 0;
    return known ? 0 : REFUSE(r, "must be unaffected: a policy never touches people who have an account");
}

/* A message for a reason that no rule gives is a slip of the pen. */
static int messages_are_used(struct reader *r)
{
    const struct policy *p = r->policy;
    for (unsigned i = 0; i < p->words_count; i++) {
        bool used = p->fallback.reason && strcmp(p->fallback.reason, p->words[i].reason) == 0;
        for (unsigned k = 0; k < p->rule_count; k++) {
            used |= p->rules[k].reason && strcmp(p->rules[k].reason, p->words[i].reason) == 0;
        }
        if (!used) {
            reader_enter(r, ".messages.%s", p->words[i].reason, 0);
            return REFUSE(r, "no rule gives this reason");
        }
    }
    return 0;
}

int policy_parse(struct str document, int64_t version, struct policy **out, struct err *err)
{
    static const struct member members[] = {
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
    int rc = json_parse(document, &json_limits_default, &dom, err);
    if (rc < 0) {
        return rc;
    }
    struct policy *p = calloc(1, sizeof *p);
    BUG_ON(!p);
    p->refs = 1;
    p->version = version;
    p->document = strndup(document.p, document.n);
    struct reader r = {.policy = p, .err = err, .path = "$"};
    rc = read_object(&r, dom, members, NULL);
    rc = rc < 0 ? rc : messages_are_used(&r);
    cJSON_Delete(dom);
    if (rc < 0) {
        policy_unref(p);
        return rc;
    }
    *out = p;
    return 0;
}
