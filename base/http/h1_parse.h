/* The strict HTTP/1 reader: the end of a head, a head, and the chunked coding. Not a connection.
 *
 * One pass, nothing tolerated that two servers could read differently (RFC 9112 and the smuggling families):
 * bare CR or LF, NUL, obs-fold, space before the colon, names that are not tokens, a second or odd
 * Content-Length, Content-Length beside Transfer-Encoding, any Transfer-Encoding but one "chunked",
 * Transfer-Encoding in HTTP/1.0, a missing, double or odd Host, an absolute target that is not the Host, lengths
 * with leading zeros, chunk extensions off their grammar, and paths that do not mean what they say.
 * Errors: a refusal names a problem code (problem.h) and says in one sentence what was wrong; the connection
 * is not usable after one.
 * Ownership: h1_request_parse lowers the names in place; all texts of the head are borrowed from its input.
 * Thread rule: pure functions. */
#ifndef TIDE_BASE_HTTP_H1_PARSE_H
#define TIDE_BASE_HTTP_H1_PARSE_H

#include "base/err.h"
#include "base/http/exchange.h"

extern const uint8_t
    http_token_lower[256]; /* RFC 9110 5.6.2: token characters in lower case, 0 for all others */

struct h1_refusal {
    const char *code; /* of the problem: "bad_request", "uri_too_long", ... */
    const char *why;  /* one sentence, static */
};

struct h1_head {
    struct http_field *fields; /* given by the caller, max_fields of them */
    unsigned max_fields;
    uint32_t max_target; /* bytes */
    unsigned field_count;
    enum http_method method;
    struct str method_text;
    struct str target, path, query; /* target in origin form: without the host of an absolute one */
    struct str host;                /* value of Host; empty in HTTP/1.0 without one */
    int64_t content_length;         /* bytes; 0 none, -1 chunked */
    uint8_t minor;                  /* HTTP/1.minor: 0 or 1 */
    bool close;                     /* the client asked for it, or speaks HTTP/1.0 */
    bool expect_continue;
    bool upgrade_websocket; /* a whole opening handshake of RFC 6455, but for its key */
};

/* Length of the head with its empty line, 0 when it is not complete yet, ERR_PROTOCOL for a bare LF. *scanned
 * keeps how far it looked (0 at first), so that each byte is looked at once. */
int64_t h1_request_end(const char *p, size_t n, size_t *scanned);
/* p..n is one whole head. 0, or ERR_PROTOCOL with *why. */
int h1_request_parse(char *p, size_t n, struct h1_head *head, struct h1_refusal *why) TIDE_CHECK;
/* The same for HTTP/2, where nghttp2 is less strict. */
enum http_method http_method_of(struct str text);
bool http_target_is_valid(struct str target); /* visible ASCII without '#' and '\\'; not empty */
/* Nothing in it that another server might read as another path: no dot segments and no control bytes, also not
 * when percent-encoded, and every percent sign followed by two hex digits. */
bool http_path_is_plain(struct str path);
#define HTTP_PATH_IS_ODD "the path has dot segments, control characters or broken escapes"
bool http_host_is_valid(struct str host); /* host[:port], nothing else; not empty */

enum h1_chunk_state {
    H1_CHUNK_SIZE = 0,
    H1_CHUNK_EXT = 1, /* behind a semicolon */
    H1_CHUNK_SIZE_LF = 2,
    H1_CHUNK_DATA = 3,
    H1_CHUNK_DATA_CR = 4,
    H1_CHUNK_DATA_LF = 5,
    H1_CHUNK_TRAILER = 6, /* at the start of a trailer line */
    H1_CHUNK_TRAILER_NAME = 7,
    H1_CHUNK_TRAILER_VALUE = 8,
    H1_CHUNK_TRAILER_LF = 9,
    H1_CHUNK_END_LF = 10,
    H1_CHUNK_END = 11,
    H1_CHUNK_EXT_NAME = 12,
    H1_CHUNK_EXT_VALUE = 13, /* behind the equals sign */
    H1_CHUNK_EXT_TOKEN = 14,
    H1_CHUNK_EXT_QUOTED = 15,
    H1_CHUNK_EXT_ESCAPED = 16,
    H1_CHUNK_EXT_DONE = 17, /* behind the closing quote */
};

struct h1_chunked {
    uint64_t left;     /* of the chunk, bytes */
    uint32_t dropped;  /* bytes of extensions and trailers so far */
    uint8_t state;     /* enum h1_chunk_state; zeroed is the start */
    uint8_t digits;    /* of the size */
    uint8_t ext_bytes; /* of this chunk's extension */
    uint8_t trailers;  /* lines */
};

enum h1_chunk_result {
    H1_CHUNK_MORE = 0,     /* *in is used up */
    H1_CHUNK_HAS_DATA = 1, /* *data holds some */
    H1_CHUNK_DONE = 2,     /* the body is whole; *in is what follows it */
    H1_CHUNK_BAD = 3,
};
enum h1_chunk_result h1_chunked_next(struct h1_chunked *d, struct str *in, struct str *data);

#endif
