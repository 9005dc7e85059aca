#include "gateway/chat_models.h"

#include "base/json.h"
#include "gateway/chat_call.h"
#include "gateway/config.h"

enum { MODELS_BYTES = 1 << 20 };

static const struct http_field json_type[] = {{STR_INIT("content-type"), STR_INIT("application/json")}};

static void write_model(struct json_writer *w, struct str id)
{
    json_open(w, '{');
    json_str_at(w, "id", id);
    json_str_at(w, "object", STR("model"));
    json_i64_at(w, "created", 0);
    json_str_at(w, "owned_by", STR("tidegate"));
    json_close(w, '}');
}

/* An alias is there while its model is. */
static const struct chat_alias_conf *live_alias(const struct request *r, unsigned i)
{
    const struct chat_alias_conf *alias = r->conf->set->chat.aliases.items;
    return worker_table_model(r->gl->chat->origins.table, str_from(alias[i].model)) ? &alias[i] : NULL;
}

static void reply_list(struct request *r)
{
    const struct worker_table *t = r->gl->chat->origins.table;
    struct buf out;
    buf_init(&out, MODELS_BYTES);
    struct json_writer w = {.out = &out};
    json_open(&w, '{');
    json_str_at(&w, "object", STR("list"));
    json_open_at(&w, "data", '[');
    for (unsigned i = 0; i < t->model_count; i++) {
        write_model(&w, str_from(t->models[i].name));
    }
    for (unsigned i = 0; i < r->conf->set->chat.aliases.n; i++) {
        const struct chat_alias_conf *alias = live_alias(r, i);
        if (alias) {
            write_model(&w, str_from(alias->name));
        }
    }
    json_close(&w, ']');
    json_close(&w, '}');
    http_reply(r->ex, 200, json_type, 1, buf_str(&out));
    buf_clear(&out);
}

static bool is_known(const struct request *r, struct str id)
{
    bool known = worker_table_model(r->gl->chat->origins.table, id) != NULL;
    for (unsigned i = 0; i < r->conf->set->chat.aliases.n && !known; i++) {
        const struct chat_alias_conf *alias = live_alias(r, i);
        known = alias && str_is(id, alias->name);
    }
    return known;
}

void chat_models_handle(struct request *r)
{
    struct str prefix = STR("/v1/models/");
    if (!str_starts(r->ex->path, prefix)) {
        reply_list(r);
        return;
    }
    /* Clients write the '/' of "org/model" as %2F. */
    struct str id = http_path_decode(r->ex, str_skip(r->ex->path, prefix.n));
    if (!is_known(r, id)) {
        http_reply_error(r->ex, "model_not_found", "there is no model \"" STR_FMT "\"", STR_ARG(id));
        return;
    }
    struct buf out;
    buf_init(&out, MODELS_BYTES);
    struct json_writer w = {.out = &out};
    write_model(&w, id);
    http_reply(r->ex, 200, json_type, 1, buf_str(&out));
    buf_clear(&out);
}
