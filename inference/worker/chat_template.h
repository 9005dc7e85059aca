/* A conversation as the tokens a model was trained on. Templates are recognised by their exact text in the
 * file (`tokenizer.chat_template`), never guessed; this is not a Jinja interpreter.
 *
 * Roles and contents are tokenized as plain text: what looks like a control token in them stays text.
 * Errors: ERR_INVALID: the file's template is not one of those known (the caller may print it);
 * ERR_NOT_FOUND: the file has none, so that it is no chat model.
 * Thread rule: const tables; rendering uses the tokenizer and follows its rule. */
#ifndef TIDE_WORKER_CHAT_TEMPLATE_H
#define TIDE_WORKER_CHAT_TEMPLATE_H

#include "inference/worker/tokenizer.h"

struct chat_message {
    struct str role;
    struct str content;
};

struct chat_template;

/* *text is the file's template whenever it has one. */
int chat_template_find(const struct gguf *file, const struct chat_template **out, struct str *text,
                       struct err *err) TIDE_CHECK;
const char *chat_template_name(const struct chat_template *t);
/* Appends the conversation, open for the assistant's answer. ERR_LIMIT: cannot be tokenized. */
int chat_template_render(const struct chat_template *t, struct tokenizer *tokenizer,
                         const struct chat_message *messages, size_t count, struct token_list *out,
                         struct err *err) TIDE_CHECK;

#endif
