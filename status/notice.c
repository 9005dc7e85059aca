#include "status/notice.h"

#include <stdio.h>
#include <string.h>

#include "status/phrases.h"

static const char *const states[] = {
    [SIGNUP_OPEN] = "open",
    [SIGNUP_RESTRICTED] = "restricted",
    [SIGNUP_CLOSED] = "closed",
};

static const cJSON *member(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

bool notice_signup_state(const cJSON *object, enum signup_state *out)
{
    struct str word = str_from(cJSON_GetStringValue(member(object, "state")));
    for (int s = SIGNUP_OPEN; s <= SIGNUP_CLOSED; s++) {
        if (str_is(word, states[s])) {
            *out = (enum signup_state)s;
            return true;
        }
    }
    return false;
}

enum component_status notice_component_status(enum signup_state s)
{
    static const enum component_status shown[] = {
        [SIGNUP_OPEN] = COMPONENT_OPERATIONAL,
        [SIGNUP_RESTRICTED] = COMPONENT_DEGRADED,
        [SIGNUP_CLOSED] = COMPONENT_PARTIAL_OUTAGE,
    };
    return shown[s];
}

/* --- reading the row --------------------------------------------------------------------------- */

static void read_messages(const cJSON *messages, struct incident_text *out)
{
    for (int lang = 0; lang < STATUS_LANGS; lang++) {
        const char *text = cJSON_GetStringValue(member(messages, problem_lang_tag((enum problem_lang)lang)));
        if (text && text[0]) {
            incident_text_set(out, (enum problem_lang)lang, str_from(text));
        }
    }
}

/* The preset of that name, or any policy that names China as the one country. */
static bool is_mainland_only(const cJSON *signup)
{
    const cJSON *countries = member(signup, "countries");
    struct str only = str_from(cJSON_GetStringValue(cJSON_GetArrayItem(countries, 0)));
    struct str policy = str_from(cJSON_GetStringValue(member(signup, "policy")));
    return (cJSON_GetArraySize(countries) == 1 && str_is(only, "CN")) ||
           str_is(policy, "mainland-phone-only");
}

int notice_parse(int64_t id, int64_t at_ms, struct str body, struct notice *out, struct err *err)
{
    cJSON *root = NULL;
    *out = (struct notice){.id = id, .at_ms = at_ms};
    int rc = json_parse(body, &json_limits_default, &root, err);
    if (rc < 0) {
        return rc;
    }
    if (!notice_signup_state(root, &out->state)) {
        rc = err_set(err, ERR_INVALID, "notice %lld: state is not open, restricted or closed", (long long)id);
    } else {
        out->only_mainland = is_mainland_only(root);
        read_messages(member(root, "messages"), &out->body);
    }
    cJSON_Delete(root);
    return rc;
}

void notice_clear(struct notice *n)
{
    incident_text_clear(&n->body);
}

/* --- telling it -------------------------------------------------------------------------------- */

static enum phrase name_of(const struct notice *n)
{
    if (n->state == SIGNUP_CLOSED) {
        return PHRASE_NAME_SIGNUP_CLOSED;
    }
    return n->only_mainland ? PHRASE_NAME_SIGNUP_MAINLAND : PHRASE_NAME_SIGNUP_LIMITED;
}

static enum phrase body_of(const struct notice *n)
{
    if (n->state == SIGNUP_CLOSED) {
        return PHRASE_SIGNUP_CLOSED;
    }
    return n->only_mainland ? PHRASE_SIGNUP_MAINLAND : PHRASE_SIGNUP_LIMITED;
}

void notice_code(int64_t id, char out[SHORT_CODE_LEN + 1])
{
    char seed[40];
    snprintf(seed, sizeof seed, "notice:%lld", (long long)id);
    short_code_of(str_from(seed), out);
}

/* Has any incident told of this row already? */
bool notice_is_told(const struct board *b, const char *update)
{
    for (unsigned k = 0; k < b->book.count; k++) {
        const struct incident *i = b->book.items[k];
        for (unsigned u = 0; u < i->update_count; u++) {
            if (strcmp(i->updates[u].id, update) == 0) {
                return true;
            }
        }
    }
    return false;
}

static struct incident *open_notice(const struct board *b)
{
    for (unsigned k = 0; k < b->book.count; k++) {
        struct incident *i = b->book.items[k];
        if (i->origin == INCIDENT_FROM_POLICY && incident_is_open(i)) {
            return i;
        }
    }
    return NULL;
}

/* The policy's own words where it has any; ours for the preset that everybody will ask about. */
static void fill_body(const struct notice *n, struct incident_text *out)
{
    phrase_fill(out, body_of(n), NULL, 0);
    for (int lang = 0; lang < STATUS_LANGS && !n->only_mainland; lang++) {
        if (n->body.of[lang]) {
            incident_text_set(out, (enum problem_lang)lang, str_from(n->body.of[lang]));
        }
    }
}

static void tell(struct board *b, const struct notice *n, const char *update, const char *signup_code)
{
    struct incident *i = open_notice(b);
    struct incident_text name = {{0}}, body = {{0}};
    phrase_fill(&name, name_of(n), NULL, 0);
    fill_body(n, &body);
    if (!i) {
        i = incident_new(update, INCIDENT_FROM_POLICY, &name, n->at_ms);
        incident_book_add(&b->book, i);
    }
    incident_rename(i, &name);
    incident_touch_component(i, signup_code);
    i->impact = IMPACT_MINOR;
    incident_post(i, update, INCIDENT_IDENTIFIED, &body, NULL, 0, n->at_ms);
    incident_text_clear(&name);
    incident_text_clear(&body);
}

static bool end(struct board *b, const struct notice *n, const char *update)
{
    struct incident *i = open_notice(b);
    if (!i) {
        return false;
    }
    struct incident_text body = {{0}};
    phrase_fill(&body, PHRASE_SIGNUP_OPEN, NULL, 0);
    incident_post(i, update, INCIDENT_RESOLVED, &body, NULL, 0, n->at_ms);
    incident_text_clear(&body);
    return true;
}

bool notice_apply(struct board *b, const struct notice *n, int64_t now_ms)
{
    char update[SHORT_CODE_LEN + 1];
    struct component *signup = board_component(b, COMPONENT_SIGNUP, STR(""), now_ms);
    if (!signup) {
        return false;
    }
    bool changed = signup->policy != notice_component_status(n->state);
    signup->policy = notice_component_status(n->state);
    notice_code(n->id, update);
    if (notice_is_told(b, update)) {
        return changed;
    }
    if (n->state == SIGNUP_OPEN) {
        return end(b, n, update) || changed;
    }
    tell(b, n, update, signup->code);
    return true;
}
