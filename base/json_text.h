/* JSON's lexical layer, for base/json*.c only: where a token ends and what an escape means.
 * Thread rule: pure functions. */
#ifndef TIDE_BASE_JSON_TEXT_H
#define TIDE_BASE_JSON_TEXT_H

#include "base/str.h"

static inline bool json_is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Bytes of s before the first quote, backslash or control character. */
size_t json_plain_len(struct str s);

/* One escape, *in starting at its backslash: writes its UTF-8 (at most 4 bytes) to out, advances
 * *in and returns how many bytes it wrote; 0, with *what naming the reason, when it is not
 * acceptable. */
size_t json_take_escape(struct str *in, char *out, const char **what);

/* The text of a scanned string (without its quotes) into out, which has room for s.n bytes. */
size_t json_unescape(struct str s, char *out);

#endif
