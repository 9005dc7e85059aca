/* Reading: the strict scan, and the walk over what it accepted. The writer is in json_write.c. */
#include "base/json.h"

#include <math.h>
#include <stdlib.h>

#include "base/id.h"
#include "base/json_text.h"

enum { NUMBER_MAX_BYTES = 128, FIRST_ROOM = 32 };

const struct json_limits json_limits_default = {
    .max_depth = 32, .max_members = 1000, .max_items = 4096, .max_string = 1024 * 1024};

/* hashes is a stack: the keys of each object that is open, the outermost first. An object's part of
 * it is checked for equals when the object closes. SipHash with a secret key: equal hashes are
 * equal names. */
struct scan {
    struct arena *arena;
    const struct json_limits *limits;
    struct str in;     /* what is left */
    const char *start; /* of the text */
    uint64_t *hashes;
    uint32_t hashes_n, hashes_cap;
    uint32_t members, items, depth;
    struct json_doc *doc;
    uint32_t slices_cap;
    struct err *err;
};

static int scan_value(struct scan *s, enum json_type *type);

static int fail(struct scan *s, const char *what)
{
    return err_set(s->err, ERR_INVALID, "JSON: %s at byte %zu", what, (size_t)(s->in.p - s->start));
}

static int fail_limit(struct scan *s, const char *limit, uint32_t most)
{
    return err_set(s->err, ERR_LIMIT, "JSON: %s (at most %u) at byte %zu", limit, most,
                   (size_t)(s->in.p - s->start));
}

static void skip_space(struct str *in)
{
    while (in->n > 0 && json_is_space(in->p[0])) {
        *in = str_skip(*in, 1);
    }
}

static bool take_char(struct str *in, char c)
{
    if (in->n == 0 || in->p[0] != c) {
        return false;
    }
    *in = str_skip(*in, 1);
    return true;
}

/* --- tokens ----------------------------------------------------------------------------------- */

/* *text is what stands between the quotes. */
static int scan_string(struct scan *s, struct str *text, bool *escaped)
{
    char utf8[4];
    const char *what;
    s->in = str_skip(s->in, 1);
    const char *start = s->in.p;
    *escaped = false;
    for (;;) {
        s->in = str_skip(s->in, json_plain_len(s->in));
        if (s->in.n == 0) {
            return fail(s, "a string without its end");
        }
        if (s->in.p[0] == '"') {
            break;
        }
        struct str at = s->in;
        if (at.p[0] != '\\') {
            return fail(s, "a control character in a string");
        }
        if (json_take_escape(&at, utf8, &what) == 0) {
            return fail(s, what);
        }
        s->in = at;
        *escaped = true;
    }
    *text = str_of(start, (size_t)(s->in.p - start));
    if (text->n > s->limits->max_string) {
        return fail_limit(s, "bytes of a string", s->limits->max_string);
    }
    s->in = str_skip(s->in, 1);
    return 0;
}

static size_t skip_digits(struct str *in)
{
    size_t n = 0;
    while (n < in->n && in->p[n] >= '0' && in->p[n] <= '9') {
        n++;
    }
    *in = str_skip(*in, n);
    return n;
}

static int scan_number(struct scan *s)
{
    const char *start = s->in.p;
    take_char(&s->in, '-');
    if (!take_char(&s->in, '0') && skip_digits(&s->in) == 0) {
        return fail(s, "a number without digits");
    }
    if (take_char(&s->in, '.') && skip_digits(&s->in) == 0) {
        return fail(s, "a fraction without digits");
    }
    if (take_char(&s->in, 'e') || take_char(&s->in, 'E')) {
        if (!take_char(&s->in, '+')) {
            take_char(&s->in, '-');
        }
        if (skip_digits(&s->in) == 0) {
            return fail(s, "an exponent without digits");
        }
    }
    if (s->in.p - start > NUMBER_MAX_BYTES) {
        return fail_limit(s, "bytes of a number", NUMBER_MAX_BYTES);
    }
    return 0;
}

static int scan_word(struct scan *s, struct str word)
{
    if (!str_starts(s->in, word)) {
        return fail(s, "an unknown word");
    }
    s->in = str_skip(s->in, word.n);
    return 0;
}

/* --- objects and arrays ----------------------------------------------------------------------- */

static void *grow(struct scan *s, void *old, uint32_t *cap, size_t size)
{
    uint32_t more = *cap ? *cap * 2 : FIRST_ROOM;
    void *p = arena_alloc(s->arena, more * size);
    if (*cap > 0) {
        memcpy(p, old, *cap * size);
    }
    *cap = more;
    return p;
}

static int push_key(struct scan *s, struct str key, bool escaped)
{
    if (++s->members > s->limits->max_members) {
        return fail_limit(s, "members of objects", s->limits->max_members);
    }
    if (s->hashes_n == s->hashes_cap) {
        s->hashes = grow(s, s->hashes, &s->hashes_cap, sizeof(*s->hashes));
    }
    if (escaped) {
        char *plain = arena_alloc(s->arena, key.n);
        key = str_of(plain, json_unescape(key, plain));
    }
    s->hashes[s->hashes_n++] = id_siphash(key.p, key.n);
    return 0;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool has_double(uint64_t *hashes, uint32_t n)
{
    if (n <= 8) { /* most objects: cheaper than sorting */
        for (uint32_t i = 1; i < n; i++) {
            for (uint32_t k = 0; k < i; k++) {
                if (hashes[i] == hashes[k]) {
                    return true;
                }
            }
        }
        return false;
    }
    qsort(hashes, n, sizeof(*hashes), by_value);
    for (uint32_t i = 1; i < n; i++) {
        if (hashes[i] == hashes[i - 1]) {
            return true;
        }
    }
    return false;
}

/* Takes the keys from `first` on off the stack. */
static int pop_keys(struct scan *s, uint32_t first)
{
    uint32_t n = s->hashes_n - first;
    s->hashes_n = first;
    return n > 1 && has_double(s->hashes + first, n) ? fail(s, "a member name twice in the object that ends")
                                                     : 0;
}

static void keep_slice(struct scan *s, struct json_slice slice)
{
    if (s->doc->member_count == s->slices_cap) {
        s->doc->members = grow(s, s->doc->members, &s->slices_cap, sizeof(slice));
    }
    s->doc->members[s->doc->member_count++] = slice;
}

static int scan_member(struct scan *s)
{
    struct json_slice slice;
    if (s->in.n == 0 || s->in.p[0] != '"') {
        return fail(s, "no member name");
    }
    int rc = scan_string(s, &slice.key, &slice.key_escaped);
    if (rc == 0) {
        rc = push_key(s, slice.key, slice.key_escaped);
    }
    if (rc != 0) {
        return rc;
    }
    skip_space(&s->in);
    if (!take_char(&s->in, ':')) {
        return fail(s, "no colon");
    }
    skip_space(&s->in);
    const char *start = s->in.p;
    rc = scan_value(s, &slice.type);
    if (rc == 0 && s->depth == 1) {
        slice.raw = str_of(start, (size_t)(s->in.p - start));
        keep_slice(s, slice);
    }
    return rc;
}

static int scan_item(struct scan *s)
{
    enum json_type type;
    if (++s->items > s->limits->max_items) {
        return fail_limit(s, "items of arrays", s->limits->max_items);
    }
    return scan_value(s, &type);
}

static int scan_elements(struct scan *s, char close, int (*element)(struct scan *))
{
    s->in = str_skip(s->in, 1);
    skip_space(&s->in);
    if (take_char(&s->in, close)) {
        return 0;
    }
    for (;;) {
        skip_space(&s->in);
        int rc = element(s);
        if (rc != 0) {
            return rc;
        }
        skip_space(&s->in);
        if (take_char(&s->in, close)) {
            return 0;
        }
        if (!take_char(&s->in, ',')) {
            return fail(s, s->in.n == 0 ? "the end, too early," : "no comma");
        }
    }
}

static int scan_nested(struct scan *s, bool object)
{
    uint32_t first = s->hashes_n;
    if (s->depth >= s->limits->max_depth) {
        return fail_limit(s, "nested values", s->limits->max_depth);
    }
    s->depth++;
    int rc = object ? scan_elements(s, '}', scan_member) : scan_elements(s, ']', scan_item);
    s->depth--;
    return rc == 0 && object ? pop_keys(s, first) : rc;
}

/* Members of arrays inside the top array must not be kept: only an object at depth 1 is the top
 * object. */
static int scan_value(struct scan *s, enum json_type *type)
{
    struct str text;
    bool escaped;
    switch (s->in.n > 0 ? s->in.p[0] : '\0') {
    case '{':
        *type = JSON_OBJECT;
        return scan_nested(s, true);
    case '[':
        *type = JSON_ARRAY;
        return scan_nested(s, false);
    case '"':
        *type = JSON_STRING;
        return scan_string(s, &text, &escaped);
    case 't':
        *type = JSON_TRUE;
        return scan_word(s, STR("true"));
    case 'f':
        *type = JSON_FALSE;
        return scan_word(s, STR("false"));
    case 'n':
        *type = JSON_NULL;
        return scan_word(s, STR("null"));
    case '-':
    case '0' ... '9':
        *type = JSON_NUMBER;
        return scan_number(s);
    default:
        return fail(s, s->in.n == 0 ? "the end, too early," : "no value");
    }
}

int json_scan(struct arena *a, struct str text, const struct json_limits *limits, struct json_doc *out,
              struct err *err)
{
    *out = (struct json_doc){.raw = STR("")};
    struct scan s = {.arena = a,
                     .limits = limits ? limits : &json_limits_default,
                     .in = text,
                     .start = text.p,
                     .doc = out,
                     .err = err};
    size_t valid = str_utf8_valid_len(text);
    if (valid != text.n) {
        s.in = str_skip(text, valid);
        return fail(&s, "invalid UTF-8");
    }
    skip_space(&s.in);
    const char *start = s.in.p;
    int rc = scan_value(&s, &out->type);
    if (rc != 0) {
        return rc;
    }
    out->raw = str_of(start, (size_t)(s.in.p - start));
    skip_space(&s.in);
    return s.in.n == 0 ? 0 : fail(&s, "something after the value");
}

/* --- reading what was scanned ----------------------------------------------------------------- */

static bool key_is(const struct json_slice *slice, struct str key)
{
    char plain[256];
    if (!slice->key_escaped) {
        return str_eq(slice->key, key);
    }
    if (slice->key.n > sizeof(plain)) {
        return false;
    }
    return str_eq(str_of(plain, json_unescape(slice->key, plain)), key);
}

const struct json_slice *json_member(const struct json_doc *doc, const char *key)
{
    struct str want = str_from(key);
    for (uint32_t i = 0; i < doc->member_count; i++) {
        if (key_is(&doc->members[i], want)) {
            return &doc->members[i];
        }
    }
    return NULL;
}

/* *in starts at a quote; returns what is between the quotes. */
static struct str cut_string(struct str *in, bool *escaped)
{
    size_t i = 1;
    *escaped = false;
    for (;;) {
        i += json_plain_len(str_skip(*in, i));
        if (in->p[i] == '"') {
            break;
        }
        *escaped = true;
        i += 2;
    }
    struct str text = str_of(in->p + 1, i - 1);
    *in = str_skip(*in, i + 1);
    return text;
}

static void cut_nested(struct str *in)
{
    size_t depth = 0;
    bool escaped;
    do {
        char c = in->p[0];
        if (c == '"') {
            cut_string(in, &escaped);
            continue;
        }
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        *in = str_skip(*in, 1);
    } while (depth > 0);
}

static void cut_scalar(struct str *in)
{
    size_t i = 0;
    while (i < in->n && !json_is_space(in->p[i]) && !strchr(",]}", in->p[i])) {
        i++;
    }
    *in = str_skip(*in, i);
}

static enum json_type type_of(char first)
{
    switch (first) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

/* Between calls *in starts with the comma or closing bracket that follows the last value. */
bool json_next(struct str *in, struct json_slice *out)
{
    bool escaped;
    skip_space(in);
    if (in->n < 2) { /* only the closing bracket, or nothing */
        return false;
    }
    bool object = in->p[in->n - 1] == '}';
    *in = str_skip(*in, 1);
    skip_space(in);
    if (in->n < 2) {
        return false;
    }
    *out = (struct json_slice){.key = STR("")};
    if (object) {
        out->key = cut_string(in, &out->key_escaped);
        skip_space(in);
        *in = str_skip(*in, 1);
        skip_space(in);
    }
    const char *start = in->p;
    out->type = type_of(*start);
    if (out->type == JSON_STRING) {
        cut_string(in, &escaped);
    } else if (out->type == JSON_ARRAY || out->type == JSON_OBJECT) {
        cut_nested(in);
    } else {
        cut_scalar(in);
    }
    out->raw = str_of(start, (size_t)(in->p - start));
    return true;
}

void json_members(struct arena *a, struct str object, struct json_doc *out)
{
    *out = (struct json_doc){.type = JSON_OBJECT, .raw = object};
    struct scan s = {.arena = a, .doc = out};
    struct json_slice member;
    while (json_next(&object, &member)) {
        keep_slice(&s, member);
    }
}

bool json_get_str(struct arena *a, const struct json_slice *v, struct str *out)
{
    if (!v || v->type != JSON_STRING) {
        return false;
    }
    char *p = arena_alloc(a, v->raw.n);
    size_t n = json_unescape(str_of(v->raw.p + 1, v->raw.n - 2), p);
    p[n] = '\0';
    *out = (struct str){p, n};
    return true;
}

bool json_get_i64(const struct json_slice *v, int64_t *out)
{
    return v && v->type == JSON_NUMBER && str_i64(v->raw, out);
}

bool json_get_f64(const struct json_slice *v, double *out)
{
    char text[NUMBER_MAX_BYTES + 1];
    if (!v || v->type != JSON_NUMBER || v->raw.n >= sizeof(text)) {
        return false;
    }
    memcpy(text, v->raw.p, v->raw.n);
    text[v->raw.n] = '\0';
    double d = strtod(text, NULL);
    if (!isfinite(d)) {
        return false;
    }
    *out = d;
    return true;
}

bool json_get_bool(const struct json_slice *v, bool *out)
{
    if (!v || (v->type != JSON_TRUE && v->type != JSON_FALSE)) {
        return false;
    }
    *out = v->type == JSON_TRUE;
    return true;
}

int json_parse(struct str text, const struct json_limits *limits, cJSON **out, struct err *err)
{
    struct arena a;
    struct json_doc doc;
    *out = NULL;
    arena_init(&a);
    int rc = json_scan(&a, text, limits, &doc, err);
    arena_clear(&a);
    if (rc != 0) {
        return rc;
    }
    *out = cJSON_ParseWithLength(text.p, text.n);
    return *out ? 0 : err_set(err, ERR_INVALID, "JSON: not accepted by cJSON");
}
