/* GPT-2's printable alphabet for bytes, in which GGUF files write tokens and merges of byte-level BPE:
 * printable Latin-1 stands for itself, the other bytes are U+0100 and up, in order (a space is U+0120).
 * Thread rule: read-only after byte_alphabet_init. */
#ifndef TIDE_WORKER_BYTE_ALPHABET_H
#define TIDE_WORKER_BYTE_ALPHABET_H

#include "base/str.h"

struct byte_alphabet {
    int16_t byte_of[512]; /* by code point; -1: not in the alphabet */
};

void byte_alphabet_init(struct byte_alphabet *a);
/* Turns alphabet text into at most text.n bytes; how many, or -1 when a character is not of the alphabet. */
int64_t byte_alphabet_decode(const struct byte_alphabet *a, struct str text, char *out);

#endif
