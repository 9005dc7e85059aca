#include "status/component.h"

#include <stdio.h>
#include <string.h>

static const char *const status_words[COMPONENT_STATUS_COUNT] = {
    [COMPONENT_OPERATIONAL] = "operational",       [COMPONENT_UNDER_MAINTENANCE] = "under_maintenance",
    [COMPONENT_DEGRADED] = "degraded_performance", [COMPONENT_PARTIAL_OUTAGE] = "partial_outage",
    [COMPONENT_MAJOR_OUTAGE] = "major_outage",
};

static const struct {
    const char *key;
    const char *name[3]; /* by enum problem_lang */
    const char *description[3];
} kinds[] = {
    [COMPONENT_SIGNUP] = {"signup",
                          {"Sign-up", "注册", "註冊"},
                          {"Making a new account", "创建新账号", "建立新帳號"}},
    [COMPONENT_LOGIN] = {"login",
                         {"Log-in", "登录", "登入"},
                         {"Signing in and staying signed in", "登录并保持登录状态", "登入並維持登入狀態"}},
    [COMPONENT_SMS] = {"sms",
                       {"SMS verification", "短信验证", "簡訊驗證"},
                       {"Codes sent by text message", "通过短信发送的验证码", "透過簡訊傳送的驗證碼"}},
    [COMPONENT_CHAT] = {"chat",
                        {"Chat API", "聊天 API", "聊天 API"},
                        {"Chat in the app and over the API", "应用内聊天与 API", "App 內聊天與 API"}},
    [COMPONENT_MODEL] = {"model",
                         {"Model", "模型", "模型"},
                         {"Answers by this model", "此模型的回答", "此模型的回答"}},
};

const char *component_status_word(enum component_status s)
{
    return status_words[s];
}

bool component_status_parse(struct str word, enum component_status *out)
{
    for (int i = 0; i < COMPONENT_STATUS_COUNT; i++) {
        if (str_is(word, status_words[i])) {
            *out = (enum component_status)i;
            return true;
        }
    }
    return false;
}

void component_init(struct component *c, enum component_kind kind, struct str label, int64_t now_ms)
{
    memset(c, 0, sizeof *c);
    c->kind = kind;
    snprintf(c->label, sizeof c->label, STR_FMT, STR_ARG(label));
    snprintf(c->key, sizeof c->key, "%s%s%s", kinds[kind].key, label.n ? ":" : "", c->label);
    short_code_of(str_from(c->key), c->code);
    c->is_stale = true;
    c->shown = COMPONENT_DEGRADED;
    c->created_ms = c->updated_ms = now_ms;
}

static enum component_status level_of(uint8_t outcome)
{
    static const enum component_status levels[] = {
        [PROBE_OK] = COMPONENT_OPERATIONAL,
        [PROBE_SLOW] = COMPONENT_DEGRADED,
        [PROBE_FAIL] = COMPONENT_MAJOR_OUTAGE,
    };
    return levels[outcome];
}

/* The worst state that at least COMPONENT_VOTES results of the window support. */
static enum component_status voted(const struct component *c)
{
    unsigned slow = 0, failed = 0;
    for (unsigned i = 0; i < c->outcome_count; i++) {
        slow += c->outcomes[i] >= PROBE_SLOW;
        failed += c->outcomes[i] == PROBE_FAIL;
    }
    if (failed >= COMPONENT_VOTES) {
        return COMPONENT_MAJOR_OUTAGE;
    }
    return slow >= COMPONENT_VOTES ? COMPONENT_DEGRADED : COMPONENT_OPERATIONAL;
}

/* The best state that the newest COMPONENT_VOTES results allow. */
static enum component_status recovered_to(const struct component *c)
{
    enum component_status worst = COMPONENT_OPERATIONAL;
    for (unsigned i = c->outcome_count; i > 0 && i + COMPONENT_VOTES > c->outcome_count; i--) {
        worst = component_status_worse(worst, level_of(c->outcomes[i - 1]));
    }
    return c->outcome_count < COMPONENT_VOTES ? c->measured : worst;
}

static void push(struct component *c, enum probe_outcome outcome)
{
    if (c->outcome_count == COMPONENT_WINDOW) {
        memmove(c->outcomes, c->outcomes + 1, COMPONENT_WINDOW - 1);
        c->outcome_count--;
    }
    c->outcomes[c->outcome_count++] = (uint8_t)outcome;
}

bool component_observe(struct component *c, enum probe_outcome outcome, int64_t now_ms, uint64_t mono_ms)
{
    enum component_status before = c->measured;
    push(c, outcome);
    c->seen_ms = now_ms;
    c->seen_mono_ms = mono_ms;
    enum component_status up = voted(c);
    enum component_status down = recovered_to(c);
    if (up > c->measured) {
        c->measured = up;
    } else if (down < c->measured) {
        c->measured = component_status_worse(up, down);
    }
    return c->measured != before;
}

bool component_is_in_doubt(const struct component *c)
{
    return c->outcome_count > 0 && level_of(c->outcomes[c->outcome_count - 1]) != c->measured;
}

bool component_refresh(struct component *c, uint64_t stale_after_ms, int64_t now_ms, uint64_t mono_ms)
{
    /* Before three results are in, one that contradicts what is assumed proves nothing, least of
     * all green. */
    bool unsettled = c->outcome_count < COMPONENT_VOTES && component_is_in_doubt(c);
    bool stale = unsettled || c->seen_mono_ms == 0 || mono_ms - c->seen_mono_ms > stale_after_ms;
    enum component_status shown = component_status_worse(component_fault(c), c->policy);
    if (stale && shown < COMPONENT_DEGRADED) {
        shown = COMPONENT_DEGRADED;
    }
    if (shown == c->shown && stale == c->is_stale) {
        return false;
    }
    c->shown = shown;
    c->is_stale = stale;
    c->updated_ms = now_ms;
    return true;
}

const char *component_name(const struct component *c, enum problem_lang lang)
{
    return c->label[0] ? c->label : kinds[c->kind].name[lang];
}

const char *component_description(const struct component *c, enum problem_lang lang)
{
    return kinds[c->kind].description[lang];
}
