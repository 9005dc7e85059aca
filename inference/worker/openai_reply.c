#include "inference/worker/openai_reply.h"

enum { NAMES_MAX = 1 << 20 }; /* bytes of the texts of one token's alternatives */

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

/* --- logprobs ---------------------------------------------------------------------------------------- */

/* The token's bytes as text; what is no UTF-8 by itself shows as U+FFFD. */
static void add_token_text(struct json_writer *w, const struct openai_answer *a, int32_t id, struct buf *text)
{
    struct stopper stopper;
    buf_truncate(text);
    stopper_init(&stopper, NULL, 0);
    stopper_push(&stopper, tokenizer_text(a->tokenizer, id), text);
    stopper_finish(&stopper, text);
    stopper_clear(&stopper);
}

static void add_chat_token(struct json_writer *w, const struct openai_answer *a, int32_t id, float logprob,
                           struct buf *text)
{
    struct str bytes = tokenizer_text(a->tokenizer, id);
    add_token_text(w, a, id, text);
    json_str_at(w, "token", buf_str(text));
    json_f64_at(w, "logprob", (double)logprob);
    json_open_at(w, "bytes", '[');
    for (size_t i = 0; i < bytes.n; i++) {
        json_i64(w, (uint8_t)bytes.p[i]);
    }
    json_close(w, ']');
}

static void add_chat_logprobs(struct json_writer *w, const struct openai_answer *a,
                              const struct openai_piece *piece, struct buf *text)
{
    json_open_at(w, "content", '[');
    for (size_t i = 0; i < piece->logprob_n; i++) {
        const struct token_logprob *l = &piece->logprobs[i];
        json_open(w, '{');
        add_chat_token(w, a, l->id, l->logprob, text);
        json_open_at(w, "top_logprobs", '[');
        for (uint32_t k = 0; k < l->top_n; k++) {
            json_open(w, '{');
            add_chat_token(w, a, l->top[k].id, l->top[k].logprob, text);
            json_close(w, '}');
        }
        json_close(w, ']');
        json_close(w, '}');
    }
    json_close(w, ']');
}

static uint32_t characters(struct str bytes) /* those that begin in it */
{
    uint32_t n = 0;
    for (size_t i = 0; i < bytes.n; i++) {
        n += ((uint8_t)bytes.p[i] & 0xC0) != 0x80;
    }
    return n;
}

/* Texts one behind the other, each with its end. */
static bool has_name(const struct buf *names, const char *name)
{
    for (size_t at = 0; at < names->n; at += strlen(names->p + at) + 1) {
        if (strcmp(names->p + at, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Tokens that show as the same text (parts of characters do) would be one name twice: the likeliest stays. */
static void add_top(struct json_writer *w, const struct openai_answer *a, const struct token_logprob *l,
                    struct buf *text)
{
    struct buf names;
    buf_init(&names, NAMES_MAX);
    json_open(w, '{');
    for (uint32_t k = 0; k < l->top_n; k++) {
        add_token_text(w, a, l->top[k].id, text);
        if (!has_name(&names, text->p)) {
            json_f64_at(w, text->p, (double)l->top[k].logprob);
            (void)buf_add(&names, text->p, strlen(text->p) + 1);
        }
    }
    json_close(w, '}');
    buf_clear(&names);
}

static void add_text_logprobs(struct json_writer *w, struct openai_answer *a,
                              const struct openai_piece *piece, struct buf *text)
{
    json_open_at(w, "tokens", '[');
    for (size_t i = 0; i < piece->logprob_n; i++) {
        add_token_text(w, a, piece->logprobs[i].id, text);
        json_str(w, buf_str(text));
    }
    json_close(w, ']');
    json_open_at(w, "token_logprobs", '[');
    for (size_t i = 0; i < piece->logprob_n; i++) {
        json_f64(w, (double)piece->logprobs[i].logprob);
    }
    json_close(w, ']');
    json_open_at(w, "top_logprobs", '[');
    for (size_t i = 0; i < piece->logprob_n; i++) {
        add_top(w, a, &piece->logprobs[i], text);
    }
    json_close(w, ']');
    json_open_at(w, "text_offset", '[');
    for (size_t i = 0; i < piece->logprob_n; i++) {
        json_i64(w, a->text_offset);
        a->text_offset += characters(tokenizer_bytes(a->tokenizer, piece->logprobs[i].id));
    }
    json_close(w, ']');
}

static void add_logprobs(struct json_writer *w, struct openai_answer *a, const struct openai_piece *piece)
{
    struct buf text;
    if (!a->logprobs || !piece) {
        json_null_at(w, "logprobs");
        return;
    }
    buf_init(&text, 1 << 20);
    json_open_at(w, "logprobs", '{');
    if (a->is_chat) {
        add_chat_logprobs(w, a, piece, &text);
    } else {
        add_text_logprobs(w, a, piece, &text);
    }
    json_close(w, '}');
    buf_clear(&text);
}

/* --- events ------------------------------------------------------------------------------------------ */

/* One choice with what is new: a delta in chats, the text itself in completions. */
static void add_choice(struct json_writer *w, struct openai_answer *a, bool role,
                       const struct openai_piece *piece, enum engine_finish finish)
{
    json_open_at(w, "choices", '[');
    json_open(w, '{');
    json_i64_at(w, "index", 0);
    if (a->is_chat) {
        json_open_at(w, "delta", '{');
        if (role) {
            json_str_at(w, "role", STR("assistant"));
        }
        if (piece && piece->reasoning.n) {
            json_str_at(w, "reasoning_content", piece->reasoning);
        }
        if (piece && (piece->text.n || !piece->reasoning.n)) {
            json_str_at(w, "content", piece->text);
        }
        json_close(w, '}');
    } else {
        json_str_at(w, "text", piece ? piece->text : STR(""));
    }
    add_logprobs(w, a, role ? NULL : piece);
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
    if (a->thinks) {
        json_open_at(w, "completion_tokens_details", '{');
        json_i64_at(w, "reasoning_tokens", a->reasoning_tokens);
        json_close(w, '}');
    }
    json_close(w, '}');
}

void openai_write_first(struct buf *out, struct openai_answer *a)
{
    struct json_writer w = begin_event(out, a);
    struct openai_piece nothing = {.text = STR("")};
    add_choice(&w, a, true, &nothing, ENGINE_FINISH_NONE);
    end_event(&w);
}

void openai_write_piece(struct buf *out, struct openai_answer *a, const struct openai_piece *piece)
{
    struct json_writer w = begin_event(out, a);
    add_choice(&w, a, false, piece, ENGINE_FINISH_NONE);
    end_event(&w);
}

void openai_write_finish(struct buf *out, struct openai_answer *a, enum engine_finish finish)
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

void openai_write_whole(struct buf *out, struct openai_answer *a, const struct openai_piece *all,
                        enum engine_finish finish)
{
    struct json_writer w = begin(out, a, "chat.completion", "text_completion");
    json_open_at(&w, "choices", '[');
    json_open(&w, '{');
    json_i64_at(&w, "index", 0);
    if (a->is_chat) {
        json_open_at(&w, "message", '{');
        json_str_at(&w, "role", STR("assistant"));
        if (all->reasoning.n) {
            json_str_at(&w, "reasoning_content", all->reasoning);
        }
        json_str_at(&w, "content", all->text);
        json_close(&w, '}');
    } else {
        json_str_at(&w, "text", all->text);
    }
    add_logprobs(&w, a, all);
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
