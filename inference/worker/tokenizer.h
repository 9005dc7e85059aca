/* Text to token ids and back, for one model: byte-level BPE (GGUF's "gpt2") or SentencePiece ("llama").
 * Not the chat template: chat_template.h.
 *
 * A user's text never becomes a control token: only tokenizer_control and the template make those.
 * Ownership: the tokenizer keeps no pointer into the file.
 * Errors: ERR_INVALID: the file's tokenizer is one that this engine does not know (the text names it).
 * Thread rule: encoding uses scratch memory: one thread at a time. Reading the vocabulary: any thread. */
#ifndef TIDE_WORKER_TOKENIZER_H
#define TIDE_WORKER_TOKENIZER_H

#include "base/buf.h"
#include "inference/worker/bpe.h"

struct tokenizer;

int tokenizer_new(const struct gguf *file, struct tokenizer **out, struct err *err) TIDE_CHECK;
void tokenizer_free(struct tokenizer *t);

/* Appends the tokens of text (valid UTF-8). ERR_LIMIT: the text is beyond what the splitter can take. */
int tokenizer_encode(struct tokenizer *t, struct str text, struct token_list *out,
                     struct err *err) TIDE_CHECK;
/* Appends what stands before every prompt (a BOS token where the model wants one). */
void tokenizer_begin(const struct tokenizer *t, struct token_list *out);
token_id tokenizer_bos(const struct tokenizer *t); /* for templates that write it; TOKEN_NONE */
token_id tokenizer_control(const struct tokenizer *t, const char *text); /* "<|im_end|>"; TOKEN_NONE */

/* As tokenizer_control, or a user-defined token: a tag such as <think>. */
token_id tokenizer_tag(const struct tokenizer *t, const char *text);

uint32_t tokenizer_size(const struct tokenizer *t);
bool tokenizer_ends(const struct tokenizer *t, token_id id); /* end of sequence, turn or text */
/* Bytes of a token as they continue a text; nothing for control tokens. Borrowed from the tokenizer. */
struct str tokenizer_bytes(const struct tokenizer *t, token_id id);
struct str tokenizer_text(const struct tokenizer *t, token_id id); /* also of control tokens */

#endif
