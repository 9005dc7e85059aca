/* The head and the framing of an HTTP/1.1 answer, parsed strictly: what two readers could understand
 * differently is refused. Not a connection, and not for requests.
 *
 *     h1_head_end finds the blank line -> h1_response_parse -> h1_body_init -> h1_body_next until done
 *
 * Source: RFC 9112. Refused: bare CR or LF, NUL, obs-fold, names that are not tokens, a second or odd
 * content-length, transfer-encoding other than one "chunked", both at once, 101.
 * Ownership: fields point into the head, whose names are lower-cased in place.
 * Errors: ERR_PROTOCOL, ERR_LIMIT (fields, trailers).
 * Thread rule: pure functions. */
#ifndef TIDE_BASE_HTTP_H1_RESPONSE_H
#define TIDE_BASE_HTTP_H1_RESPONSE_H

#include "base/err.h"
#include "base/http/exchange.h"

enum {
    H1_RESPONSE_HEAD_BYTES = 32768, /* a longer head is ERR_LIMIT */
    H1_RESPONSE_FIELDS = 96,
    H1_TRAILER_BYTES = 8192,
};

struct h1_response {
    unsigned status; /* 100..599 but 101 */
    bool keep_alive; /* the connection may be used again after the body */
    bool chunked;
    int64_t content_length; /* bytes; -1 when not announced */
    unsigned field_count;
};

/* Bytes of the head with its blank line, or 0 when it is not complete. from: where to go on looking. */
size_t h1_head_end(const char *p, size_t n, size_t from);
int h1_response_parse(char *head, size_t n, struct http_field fields[H1_RESPONSE_FIELDS],
                      struct h1_response *out, struct err *err) TIDE_CHECK;

enum h1_body_state {
    H1_BODY_LENGTH = 0,    /* `left` bytes to come */
    H1_BODY_TO_EOF = 1,    /* until the connection ends */
    H1_BODY_SIZE = 2,      /* in a chunk's size line, before its first digit */
    H1_BODY_SIZE_MORE = 3, /* after a digit */
    H1_BODY_EXTENSION = 4, /* after ';' of a size line: skipped */
    H1_BODY_SIZE_LF = 5,   /* the LF of a size line */
    H1_BODY_DATA = 6,      /* `left` bytes of a chunk to come */
    H1_BODY_DATA_CR = 7,
    H1_BODY_DATA_LF = 8,
    H1_BODY_TRAILER = 9, /* at the start of a trailer line or the last line */
    H1_BODY_TRAILER_TEXT = 10,
    H1_BODY_TRAILER_LF = 11,
    H1_BODY_LAST_LF = 12,
    H1_BODY_DONE = 13,
};

struct h1_body {
    enum h1_body_state state;
    uint64_t left;  /* bytes of the body or chunk still to come */
    uint32_t extra; /* bytes of extensions and trailers seen, limited */
};

void h1_body_init(struct h1_body *b, const struct h1_response *r, bool head_request);
/* Takes framing and the next piece of data off *in. data->n is 0 when *in is used up or the body is done. */
int h1_body_next(struct h1_body *b, struct str *in, struct str *data, struct err *err) TIDE_CHECK;
static inline bool h1_body_is_done(const struct h1_body *b)
{
    return b->state == H1_BODY_DONE;
}

#endif
