#include "inference/worker/openai_reply.h"

static struct json_writer begin(struct buf *out, const struct openai_answer *a, const char *chat_object,
                                const char *text_object)
{
    struct json_writer w = {.out = out};
    json_open(&w, '{');
    json_str_at(&w, "id", str_from(a->id));
    json_str_at(&w, "object", str_from(a->is_chat ? chat_object : text_object));
    json_i64_at(&w, "created", a->created);
    json_str_at(&w, "model", a->model);
    return w;
}

static struct json_writer begin_event(struct buf *out, const struct openai_answer *a)
{
    buf_add_cstr(out, "data: ");
    return begin(out, a, "chat.completion.chunk", "text_completion");
}

static void end_event(struct json_writer *w)
{
    json_close(w, '}');
    buf_add_cstr(w->out, "\n\n");
}

static void add_finish(struct json_writer *w, enum engine_finish finish)
{
    if (finish == ENGINE_FINISH_NONE) {
        json_null_at(w, "finish_reason");
    } else {
        json_str_at(w, "finish_reason", str_from(engine_finish_name(finish)));
    }
}

/* One choice with what is new: a delta in chats, the text itself in completions. */
static void add_choice(struct json_writer *w, const struct openai_answer *a, bool role,
                       const struct str *text, enum engine_finish finish)
{
    json_open_at(w, "choices", '[');
    json_open(w, '{');
    json_i64_at(w, "index", 0);
    if (a->is_chat) {
        json_open_at(w, "delta", '{');
        if (role) {
            json_str_at(w, "role", STR("assistant"));
        }
        if (text) {
            json_str_at(w, "content", *text);
        }
        json_close(w, '}');
    } else {
        json_str_at(w, "text", text ? *text : STR(""));
    }
    json_null_at(w, "logprobs");
    add_finish(w, finish);
    json_close(w, '}');
    json_close(w, ']');
}

static void add_usage(struct json_writer *w, const struct openai_answer *a)
{
    json_open_at(w, "usage", '{');
    json_i64_at(w, "prompt_tokens", a->prompt_tokens);
    json_i64_at(w, "completion_tokens", a->answer_tokens);
    json_i64_at(w, "total_tokens", (int64_t)a->prompt_tokens + a->answer_tokens);
    json_open_at(w, "prompt_tokens_details", '{');
    json_i64_at(w, "cached_tokens", a->cached_tokens);
    json_close(w, '}');
    json_close(w, '}');
}

void openai_write_first(struct buf *out, const struct openai_answer *a)
{
    struct json_writer w = begin_event(out, a);
    struct str nothing = STR("");
    add_choice(&w, a, true, &nothing, ENGINE_FINISH_NONE);
    end_event(&w);
}

void openai_write_piece(struct buf *out, const struct openai_answer *a, struct str text)
{
    struct json_writer w = begin_event(out, a);
    add_choice(&w, a, false, &text, ENGINE_FINISH_NONE);
    end_event(&w);
}

void openai_write_finish(struct buf *out, const struct openai_answer *a, enum engine_finish finish)
{
    struct json_writer w = begin_event(out, a);
    add_choice(&w, a, false, NULL, finish);
    end_event(&w);
}

void openai_write_usage(struct buf *out, const struct openai_answer *a)
{
    struct json_writer w = begin_event(out, a);
    json_open_at(&w, "choices", '[');
    json_close(&w, ']');
    add_usage(&w, a);
    end_event(&w);
}

void openai_write_done(struct buf *out)
{
    buf_add_cstr(out, "data: [DONE]\n\n");
}

void openai_write_whole(struct buf *out, const struct openai_answer *a, struct str text,
                        enum engine_finish finish)
{
    struct json_writer w = begin(out, a, "chat.completion", "text_completion");
    json_open_at(&w, "choices", '[');
    json_open(&w, '{');
    json_i64_at(&w, "index", 0);
    if (a->is_chat) {
        json_open_at(&w, "message", '{');
        json_str_at(&w, "role", STR("assistant"));
        json_str_at(&w, "content", text);
        json_close(&w, '}');
    } else {
        json_str_at(&w, "text", text);
    }
    json_null_at(&w, "logprobs");
    add_finish(&w, finish);
    json_close(&w, '}');
    json_close(&w, ']');
    add_usage(&w, a);
    json_close(&w, '}');
}

void openai_write_model(struct json_writer *w, struct str id, int64_t created, const struct engine *e)
{
    const struct model_sizes *s = &engine_model(e)->sizes;
    json_open(w, '{');
    json_str_at(w, "id", id);
    json_str_at(w, "object", STR("model"));
    json_i64_at(w, "created", created);
    json_str_at(w, "owned_by", STR("tidegate"));
    json_str_at(w, "root", id);
    json_null_at(w, "parent");
    json_i64_at(w, "max_model_len", engine_context(e));
    json_open_at(w, "meta", '{');
    json_str_at(w, "name", engine_model(e)->name);
    json_i64_at(w, "n_vocab", s->vocab);
    json_i64_at(w, "n_ctx_train", s->context);
    json_i64_at(w, "n_embd", s->width);
    json_i64_at(w, "n_layer", s->layers);
    json_i64_at(w, "size", (int64_t)gguf_file_bytes(engine_model(e)->file));
    json_bool_at(w, "chat", engine_template(e) != NULL);
    json_close(w, '}');
    json_close(w, '}');
}

void openai_write_models(struct buf *out, struct str id, int64_t created, const struct engine *e)
{
    struct json_writer w = {.out = out};
    json_open(&w, '{');
    json_str_at(&w, "object", STR("list"));
    json_open_at(&w, "data", '[');
    openai_write_model(&w, id, created, e);
    json_close(&w, ']');
    json_close(&w, '}');
}
