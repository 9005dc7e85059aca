#include "status/verdict.h"

const char *verdict_word(enum verdict v)
{
    static const char *const words[] = {"ok", "slow", "fail", "none"};
    return words[v];
}

static bool is_refused(unsigned status)
{
    return status == 401 || status == 403 || status == 429;
}

static cJSON *parse_object(struct str body)
{
    cJSON *root = NULL;
    if (json_parse(body, &json_limits_default, &root, NULL) < 0) {
        return NULL;
    }
    if (!cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return NULL;
    }
    return root;
}

static enum verdict by_time(const struct prober_result *r, uint64_t slow_ms)
{
    return r->elapsed_ms > slow_ms ? VERDICT_SLOW : VERDICT_OK;
}

/* The common part: the right status and an object. *object is NULL unless the verdict is OK or SLOW. */
static enum verdict of_object(const struct prober_result *r, unsigned wanted, uint64_t slow_ms,
                              cJSON **object)
{
    *object = NULL;
    if (r->rc < 0) {
        return VERDICT_FAIL;
    }
    if (is_refused(r->status)) {
        return VERDICT_NONE;
    }
    if (r->status != wanted) {
        return VERDICT_FAIL;
    }
    *object = parse_object(r->body);
    return *object ? by_time(r, slow_ms) : VERDICT_FAIL;
}

static enum verdict hand_over(enum verdict v, cJSON *object, cJSON **out)
{
    if (out) {
        *out = object;
    } else {
        cJSON_Delete(object);
    }
    return v;
}

enum verdict verdict_of_settings(const struct prober_result *r, uint64_t slow_ms, cJSON **settings)
{
    cJSON *object;
    enum verdict v = of_object(r, 200, slow_ms, &object);
    return hand_over(v, object, settings);
}

enum verdict verdict_of_token(const struct prober_result *r, uint64_t slow_ms)
{
    cJSON *object;
    enum verdict v = of_object(r, 400, slow_ms, &object);
    return hand_over(v, object, NULL);
}

enum verdict verdict_of_models(const struct prober_result *r, uint64_t slow_ms, cJSON **models)
{
    cJSON *object;
    enum verdict v = of_object(r, 200, slow_ms, &object);
    if (object && !cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(object, "data"))) {
        cJSON_Delete(object);
        object = NULL;
        v = VERDICT_FAIL;
    }
    return hand_over(v, object, models);
}

enum verdict verdict_of_chat(const struct prober_result *r, uint64_t slow_ms)
{
    cJSON *object;
    enum verdict v = of_object(r, 200, slow_ms, &object);
    if (object && cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(object, "choices")) < 1) {
        v = VERDICT_FAIL;
    }
    return hand_over(v, object, NULL);
}

enum verdict verdict_of_health(const struct prober_result *r, uint64_t slow_ms)
{
    return r->rc == 0 && r->status / 100 == 2 ? by_time(r, slow_ms) : VERDICT_FAIL;
}

enum verdict verdict_worse(enum verdict a, enum verdict b)
{
    if (a == VERDICT_NONE || b == VERDICT_NONE) {
        return a == VERDICT_NONE ? b : a;
    }
    return a > b ? a : b;
}

enum verdict verdict_of_sms(struct sms_history *h, double sent, double failed, uint64_t mono_ms)
{
    bool restarted = sent < h->sent || failed < h->failed;
    double new_sent = restarted ? sent : sent - h->sent;
    double new_failed = restarted ? failed : failed - h->failed;
    if (h->is_primed && new_sent + new_failed > 0) {
        h->is_bad = new_failed > new_sent;
        h->last_mono_ms = mono_ms;
    } else if (mono_ms - h->last_mono_ms > SMS_FORGET_MS) {
        h->is_bad = false;
    }
    h->is_primed = true;
    h->sent = sent;
    h->failed = failed;
    return h->is_bad ? VERDICT_FAIL : VERDICT_OK;
}
