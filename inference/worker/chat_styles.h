/* The renderings behind chat_template.h: one function for each family of templates, and the prompt they write.
 * Not the choice between them: chat_template.c.
 *
 * Text between two markers is tokenized as a whole, as the model saw it; markers become single tokens.
 * Ownership: everything is borrowed for the call.
 * Errors: the first failure stays in `rc` and later writes do nothing.
 * Thread rule: as tokenizer.h. */
#ifndef TIDE_WORKER_CHAT_STYLES_H
#define TIDE_WORKER_CHAT_STYLES_H

#include "inference/worker/chat_template.h"

struct chat_prompt {
    struct tokenizer *tokenizer;
    const struct chat_message *messages;
    size_t count;
    bool thinks;        /* asked to, or by default */
    const char *system; /* what stands in for a missing system message; NULL: nothing */
    struct buf text;    /* since the last marker */
    struct token_list *out;
    struct err *err;
    int rc;
};

typedef void (*chat_style_cb)(struct chat_prompt *p);

void chat_style_chatml(struct chat_prompt *p);
void chat_style_qwen25(struct chat_prompt *p); /* tool answers inside a user's turn */
void chat_style_qwq(struct chat_prompt *p);    /* and reasoning of earlier turns left out */
void chat_style_qwen3(struct chat_prompt *p);
void chat_style_llama3(struct chat_prompt *p);
void chat_style_llama31(struct chat_prompt *p); /* with a system turn that tells the dates */
void chat_style_deepseek_r1(struct chat_prompt *p);
void chat_style_deepseek_r1_unopened(struct chat_prompt *p); /* the model writes <think> itself */
void chat_style_deepseek_r1_switched(struct chat_prompt *p);
void chat_style_deepseek_v3(struct chat_prompt *p);
void chat_style_deepseek_v31(struct chat_prompt *p);
void chat_style_gemma2(struct chat_prompt *p);
void chat_style_gemma3(struct chat_prompt *p);

void chat_prompt_flush(struct chat_prompt *p); /* what was written since the last marker */

#endif
