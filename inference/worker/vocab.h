/* The vocabulary of a tokenizer: tokens as raw bytes, and which two of them merge.
 * Not the algorithm (bpe.h) and not the splitting before it (presplit.h).
 *
 *     BPE family   tokens in GPT-2's printable alphabet (byte_alphabet.h); a list of merges, best first
 *     SPM family   SentencePiece: tokens as text, a space written U+2581; two pieces merge when the whole is
 *                  a token, the highest score first; byte tokens "<0x0A>" for what has none
 *
 * Ownership: vocab_new copies all it needs; the file may be closed afterwards.
 * Errors: ERR_INVALID names the key or token that is wrong.
 * Thread rule: read-only after vocab_new. */
#ifndef TIDE_WORKER_VOCAB_H
#define TIDE_WORKER_VOCAB_H

#include "inference/worker/gguf.h"

typedef int32_t token_id;
enum { TOKEN_NONE = -1, VOCAB_MAX_TOKENS = 1 << 22, VOCAB_MAX_LITERAL = 64 }; /* bytes of a literal */
#define VOCAB_SPM_SPACE STR("\xE2\x96\x81")                                   /* U+2581 */

enum vocab_family { VOCAB_BPE = 0, VOCAB_SPM = 1 };

enum token_kind { /* the numbers are GGUF's */
                  TOKEN_NORMAL = 1,
                  TOKEN_UNKNOWN = 2,
                  TOKEN_CONTROL = 3,      /* never made from a user's text; prints as nothing */
                  TOKEN_USER_DEFINED = 4, /* taken literally wherever it occurs in text */
                  TOKEN_UNUSED = 5,
                  TOKEN_BYTE = 6,
};

struct vocab_merge {
    uint32_t rank;  /* lower merges first */
    token_id whole; /* the token that both halves make */
};

struct vocab;

int vocab_new(const struct gguf *file, enum vocab_family family, struct vocab **out,
              struct err *err) TIDE_CHECK;
void vocab_free(struct vocab *v);

enum vocab_family vocab_family_of(const struct vocab *v);
uint32_t vocab_size(const struct vocab *v);
struct str vocab_bytes(const struct vocab *v, token_id id); /* id in 0..size-1; text of a control token too */
enum token_kind vocab_kind(const struct vocab *v, token_id id);
token_id vocab_find(const struct vocab *v, struct str bytes);         /* normal tokens; TOKEN_NONE */
token_id vocab_find_control(const struct vocab *v, const char *text); /* control tokens; TOKEN_NONE */
token_id vocab_byte(const struct vocab *v, uint8_t byte); /* SPM: or the unknown token; TOKEN_NONE: none */
/* BPE family: do these two neighbours merge? */
bool vocab_find_merge(const struct vocab *v, token_id left, token_id right, struct vocab_merge *out);
/* SPM family: is the text of two neighbours a token? */
bool vocab_find_joined(const struct vocab *v, struct str both, struct vocab_merge *out);
/* The longest user-defined token that text starts with; TOKEN_NONE. */
token_id vocab_literal_at(const struct vocab *v, struct str text);

#endif
