/* The one error table: every error a client can see, its code, HTTP status, title and words.
 *
 * Wording by ex->dialect: RFC 9457 application/problem+json; the OpenAI error object; RFC 9457 members plus
 * what GoTrue clients read (x-supabase-api-version: 2024-01-01, code, message, and x-sb-error-code).
 * Languages: en, zh-Hans, zh-Hant by Accept-Language (zh-TW, zh-HK, zh-Hant -> zh-Hant; zh -> zh-Hans).
 * Rows carry whether a Retry-After is usual; the caller gives seconds, up to 30 % are added above 2 s.
 * Thread rule: const table; replies on ex->loop. */
#ifndef TIDE_BASE_HTTP_PROBLEM_H
#define TIDE_BASE_HTTP_PROBLEM_H

#include "base/http/exchange.h"
#include "base/json.h"

enum problem_lang { PROBLEM_LANG_EN = 0, PROBLEM_LANG_ZH_HANS = 1, PROBLEM_LANG_ZH_HANT = 2 };

struct problem_row {
    const char *code;     /* "signup_region_not_allowed": stable */
    uint16_t status;      /* HTTP */
    const char *type;     /* OpenAI's error.type: "invalid_request_error", ... */
    const char *title;    /* English, fixed per code */
    const char *words[3]; /* for users, by enum problem_lang; a NULL falls back to English, then title */
};

const struct problem_row *problem_find(const char *code); /* never NULL: unknown gives "internal_error" */
enum problem_lang problem_lang_of(struct str accept_language);
const char *problem_lang_tag(enum problem_lang lang); /* "en", "zh-Hans", "zh-Hant" */

struct problem {
    const char *code;                /* row */
    struct str detail;               /* what exactly, names the field; may be empty. Never a secret */
    struct str param;                /* OpenAI's error.param, our `field`; may be empty */
    struct str message;              /* replaces the row's words (policy reasons); may be empty */
    uint32_t retry_after_s;          /* 0 = none */
    const struct http_field *fields; /* more response fields (RateLimit, WWW-Authenticate) */
    unsigned field_count;
    struct str extra; /* more members, as JSON without braces: "\"a\":1,\"b\":2"; may be empty */
};
void http_reply_problem(struct http_exchange *ex, const struct problem *p);
/* The usual case: a code and one sentence. */
void http_reply_error(struct http_exchange *ex, const char *code, const char *detail_fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The body alone (for an SSE error event): appended to out. */
void problem_write(const struct http_exchange *ex, const struct problem *p, struct buf *out);

#endif
