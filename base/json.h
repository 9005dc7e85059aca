/* JSON: one strict scan before anything else, a writer, and helpers over cJSON for our own small documents.
 *
 * Why a scan: cJSON cuts strings at \u0000, keeps duplicate keys, nests to 1000, and holds numbers as doubles.
 * json_scan refuses what RFC 8259 refuses, and besides: duplicate member names in one object, NUL escapes,
 * lone surrogates, invalid UTF-8, and anything past the limits. It allocates at most limits.max_members
 * hashes on the caller's arena and reports members of the top object as slices into the text, so that a
 * body can be forwarded as received, with splices.
 * Errors: ERR_INVALID (text names byte offset and what was wrong), ERR_LIMIT (names the limit).
 * Thread rule: pure functions. */
#ifndef TIDE_BASE_JSON_H
#define TIDE_BASE_JSON_H

#include <cjson/cJSON.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum json_type {
    JSON_NULL = 0,
    JSON_FALSE = 1,
    JSON_TRUE = 2,
    JSON_NUMBER = 3,
    JSON_STRING = 4,
    JSON_ARRAY = 5,
    JSON_OBJECT = 6,
};

struct json_limits {
    uint32_t max_depth;   /* nested arrays and objects; 32 */
    uint32_t max_members; /* of all objects together; 1000 */
    uint32_t max_items;   /* of all arrays together; 4096 */
    uint32_t max_string;  /* bytes of one string as written; 1 MiB */
};
extern const struct json_limits json_limits_default;

/* A member of the top-level object, or an item of an array, by position in the scanned text. */
struct json_slice {
    struct str key; /* as written, without quotes; empty for items */
    struct str raw; /* the value as written; strings with their quotes */
    enum json_type type;
    bool key_escaped; /* key holds a backslash: json_unescape it before comparing */
};

struct json_doc {
    enum json_type type;        /* of the top value */
    struct str raw;             /* the top value */
    struct json_slice *members; /* of the top object (borrowed from the arena) */
    uint32_t member_count;
};

int json_scan(struct arena *a, struct str text, const struct json_limits *limits, struct json_doc *out,
              struct err *err) TIDE_CHECK;
const struct json_slice *json_member(const struct json_doc *doc, const char *key); /* NULL when absent */
/* The members of an object inside what json_scan accepted, which is not checked again. */
void json_members(struct arena *a, struct str object, struct json_doc *out);
/* Walks an array or object that json_scan accepted: *in starts as its raw text; false at the end. */
bool json_next(struct str *in, struct json_slice *out);
/* Strict reads of a scanned value; false when the type is another (or the number does not fit). */
bool json_get_str(struct arena *a, const struct json_slice *v, struct str *out); /* unescaped copy */
bool json_get_i64(const struct json_slice *v, int64_t *out); /* integers only: 1.0 and 1e3 are refused */
bool json_get_f64(const struct json_slice *v, double *out);
bool json_get_bool(const struct json_slice *v, bool *out);

/* Our own documents: scan strictly, then build a DOM. *out is freed with cJSON_Delete by the caller. */
int json_parse(struct str text, const struct json_limits *limits, cJSON **out, struct err *err) TIDE_CHECK;

/* Writer: appends to a buf; overflow is kept in the buf. Commas are the writer's job. */
struct json_writer {
    struct buf *out;
    bool need_comma;
};
void json_open(struct json_writer *w, char bracket); /* '{' or '[' as a value */
void json_open_at(struct json_writer *w, const char *key, char bracket);
void json_close(struct json_writer *w, char bracket);  /* '}' or ']' */
void json_key(struct json_writer *w, const char *key); /* a value must follow */
void json_str(struct json_writer *w, struct str s);    /* quoted and escaped */
void json_i64(struct json_writer *w, int64_t v);
void json_f64(struct json_writer *w, double v); /* shortest that reads back; no NaN */
void json_bool(struct json_writer *w, bool v);
void json_null(struct json_writer *w);
void json_raw(struct json_writer *w, struct str json);
void json_str_at(struct json_writer *w, const char *key, struct str s);
void json_i64_at(struct json_writer *w, const char *key, int64_t v);
void json_f64_at(struct json_writer *w, const char *key, double v);
void json_bool_at(struct json_writer *w, const char *key, bool v);
void json_null_at(struct json_writer *w, const char *key);
void json_raw_at(struct json_writer *w, const char *key, struct str json);
void json_escape(struct buf *out, struct str s); /* without quotes */

#endif
