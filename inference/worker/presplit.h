/* Cuts text into the pieces that byte-level BPE merges within: words with their leading space, digits,
 * punctuation, runs of white space. The rules are those of the model's `tokenizer.ggml.pre`.
 * Not the merging itself: bpe.h.
 *
 * A rule set is a list of passes; each pass is a regular expression (PCRE2, Unicode properties) that cuts
 * the pieces of the pass before; what lies between two matches is a piece too.
 * Ownership: a presplit belongs to who made it; pieces point into the text.
 * Errors: ERR_INVALID: the rule set's name is unknown.
 * Thread rule: a struct presplit is used by one thread at a time. */
#ifndef TIDE_WORKER_PRESPLIT_H
#define TIDE_WORKER_PRESPLIT_H

#include "base/err.h"
#include "base/str.h"

struct presplit;

int presplit_new(struct str pre, struct presplit **out, struct err *err) TIDE_CHECK;
void presplit_free(struct presplit *p);
/* Do these tokenizers take a piece that is a token as that token, whatever the merges would make of it? */
bool presplit_takes_whole(const struct presplit *p);

/* Calls on_piece for each piece, in order; text must be valid UTF-8. Stops at a non-zero answer and
 * returns it. */
typedef int (*presplit_piece_cb)(void *arg, struct str piece);
int presplit_run(struct presplit *p, struct str text, presplit_piece_cb on_piece, void *arg) TIDE_CHECK;

#endif
