/* A conversation as the tokens a model was trained on. A file's template (`tokenizer.chat_template`) is
 * recognised by its fingerprint, the SHA-256 of its text, never guessed; this is not a Jinja interpreter, each
 * known template has its rendering here (chat_styles.c), equal to what Jinja would make of it.
 *
 * Roles and contents are tokenized as plain text: what looks like a control token in them stays text.
 * Errors: ERR_INVALID: the file's template is not one of those known (the caller may print it), or the
 * conversation is one that the template refuses; ERR_NOT_FOUND: the file has none, so that it is no chat model.
 * Thread rule: const tables; rendering uses the tokenizer and follows its rule. */
#ifndef TIDE_WORKER_CHAT_TEMPLATE_H
#define TIDE_WORKER_CHAT_TEMPLATE_H

#include "inference/worker/tokenizer.h"

struct chat_message {
    struct str role;
    struct str content;
};

enum chat_thinking {
    CHAT_THINKING_DEFAULT = 0, /* as the template does by itself */
    CHAT_THINKING_ON = 1,
    CHAT_THINKING_OFF = 2,
};

struct chat_template;

/* *text is the file's template whenever it has one. */
int chat_template_find(const struct gguf *file, const struct chat_template **out, struct str *text,
                       struct err *err) TIDE_CHECK;
/* Are the control tokens that the template writes in the vocabulary? */
int chat_template_check(const struct chat_template *t, struct tokenizer *tokenizer,
                        struct err *err) TIDE_CHECK;
const char *chat_template_name(const struct chat_template *t);
/* Do answers hold reasoning between <think> and </think>, and may that be switched? */
bool chat_template_thinks(const struct chat_template *t, enum chat_thinking thinking);
bool chat_template_allows(const struct chat_template *t, enum chat_thinking thinking);
/* Does the prompt end inside <think>, so that the answer begins with reasoning? */
bool chat_template_opens_thinking(const struct chat_template *t, enum chat_thinking thinking);
/* Appends the conversation, open for the assistant's answer. ERR_LIMIT: cannot be tokenized. */
int chat_template_render(const struct chat_template *t, struct tokenizer *tokenizer,
                         const struct chat_message *messages, size_t count, enum chat_thinking thinking,
                         struct token_list *out, struct err *err) TIDE_CHECK;

#endif
