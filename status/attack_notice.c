#include "status/attack_notice.h"

#include "base/json.h"
#include "status/notice.h"
#include "status/phrases.h"

enum { LOG_IN_TOO = 4 }; /* the level that asks more of those who have an account as well */

int attack_notice_parse(int64_t id, int64_t at_ms, struct str body, struct attack_notice *out,
                        struct err *err)
{
    cJSON *root = NULL;
    *out = (struct attack_notice){.id = id, .at_ms = at_ms};
    int rc = json_parse(body, &json_limits_default, &root, err);
    if (rc < 0) {
        return rc;
    }
    struct str level = str_from(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "level")));
    if (level.n == 2 && level.p[0] == 'A' && level.p[1] >= '0' && level.p[1] < '0' + ATTACK_NOTICE_LEVELS) {
        out->level = level.p[1] - '0';
    } else {
        rc = err_set(err, ERR_INVALID, "notice %lld: level is not one of A0 to A4", (long long)id);
    }
    cJSON_Delete(root);
    return rc;
}

static struct incident *open_attack(const struct board *b)
{
    for (unsigned k = 0; k < b->book.count; k++) {
        struct incident *i = b->book.items[k];
        if (i->origin == INCIDENT_FROM_ATTACK && incident_is_open(i)) {
            return i;
        }
    }
    return NULL;
}

static void touch(struct board *b, struct incident *i, enum component_kind kind, int64_t now_ms)
{
    const struct component *c = board_component(b, kind, STR(""), now_ms);
    if (c) {
        incident_touch_component(i, c->code);
    }
}

static void tell(struct board *b, const struct attack_notice *n, const char *update, int64_t now_ms)
{
    static const enum phrase bodies[ATTACK_NOTICE_LEVELS] = {
        PHRASE_ATTACK_OVER, PHRASE_ATTACK_A1, PHRASE_ATTACK_A2, PHRASE_ATTACK_A3, PHRASE_ATTACK_A4};
    struct incident *i = open_attack(b);
    struct incident_text name = {{0}}, body = {{0}};
    phrase_fill(&name, PHRASE_NAME_ATTACK, NULL, (unsigned)n->level);
    phrase_fill(&body, bodies[n->level], NULL, 0);
    if (!i) {
        i = incident_new(update, INCIDENT_FROM_ATTACK, &name, n->at_ms);
        incident_book_add(&b->book, i);
    }
    incident_rename(i, &name);
    touch(b, i, COMPONENT_SIGNUP, now_ms);
    if (n->level >= LOG_IN_TOO) {
        touch(b, i, COMPONENT_LOGIN, now_ms);
    }
    i->impact = IMPACT_MINOR;
    incident_post(i, update, INCIDENT_IDENTIFIED, &body, NULL, 0, n->at_ms);
    incident_text_clear(&name);
    incident_text_clear(&body);
}

static bool end(struct board *b, const struct attack_notice *n, const char *update)
{
    struct incident *i = open_attack(b);
    struct incident_text body = {{0}};
    if (!i) {
        return false;
    }
    phrase_fill(&body, PHRASE_ATTACK_OVER, NULL, 0);
    incident_post(i, update, INCIDENT_RESOLVED, &body, NULL, 0, n->at_ms);
    incident_text_clear(&body);
    return true;
}

bool attack_notice_apply(struct board *b, const struct attack_notice *n, int64_t now_ms)
{
    char update[SHORT_CODE_LEN + 1];
    notice_code(n->id, update);
    if (notice_is_told(b, update)) {
        return false;
    }
    if (n->level == 0) {
        return end(b, n, update);
    }
    tell(b, n, update, now_ms);
    return true;
}
