/* Base64 of RFC 4648: with padding (section 4), and the URL form without any (section 5).
 *
 * Decoding is strict: no white space, no characters of the other alphabet, padding exactly where it belongs
 * (standard) or nowhere (URL), unused bits zero. One byte string has one text.
 * Thread rule: pure functions. */
#ifndef TIDE_BASE_BASE64_H
#define TIDE_BASE_BASE64_H

#include "base/str.h"

#define BASE64_TEXT(n) (((n) + 2) / 3 * 4 + 1) /* bytes of out, with the NUL */

size_t base64_encode(const void *p, size_t n, char *out); /* length without the NUL */
size_t base64url_encode(const void *p, size_t n, char *out);
/* Bytes written, or -1. out needs s.n / 4 * 3 + 2 bytes at most; less than cap fails. */
ptrdiff_t base64_decode(struct str s, uint8_t *out, size_t cap);
ptrdiff_t base64url_decode(struct str s, uint8_t *out, size_t cap);

#endif
