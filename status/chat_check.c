/* The list of models, and a word from each. */
#include "base/clock.h"
#include "status/checks_inner.h"

static void on_models(void *arg, const struct prober_result *r)
{
    struct check *k = arg;
    struct checks *c = k->owner;
    cJSON *models;
    enum verdict v = verdict_of_models(r, c->conf->slow_ms, &models);
    uint64_t mono_ms = clock_mono_ms();
    check_note(k, v, r);
    check_observe(c, COMPONENT_CHAT, "", v);
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(models, "data"))
    {
        struct str id = str_from(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "id")));
        if (id.n && c->conf->models.n == 0) {
            checks_list_model(c, id, mono_ms);
        }
    }
    if (models && c->conf->models.n == 0) {
        checks_mark_gone(c, mono_ms);
    }
    cJSON_Delete(models);
    check_run_again(k);
}

void chat_check_list(struct check *k)
{
    struct prober_request request = {.deadline_ms = k->owner->conf->deadline_ms};
    check_fetch(k, &request, "/v1/models", true, on_models);
}

static void on_chat(void *arg, const struct prober_result *r)
{
    struct check *k = arg;
    enum verdict v = verdict_of_chat(r, k->owner->conf->chat_slow_ms);
    check_note(k, v, r);
    check_observe(k->owner, COMPONENT_MODEL, k->model, v);
    check_run_again(k);
}

void chat_check_run(struct check *k)
{
    struct buf body;
    buf_init(&body, 2048);
    struct json_writer w = {.out = &body};
    json_open(&w, '{');
    json_str_at(&w, "model", str_from(k->model));
    json_raw_at(&w, "messages", STR("[{\"role\":\"user\",\"content\":\"Hi\"}]"));
    json_i64_at(&w, "max_tokens", 1);
    json_bool_at(&w, "stream", false);
    json_close(&w, '}');
    struct prober_request request = {.body = body.p, .deadline_ms = k->owner->conf->chat_deadline_ms};
    check_fetch(k, &request, "/v1/chat/completions", true, on_chat);
    buf_clear(&body);
}
