#include "gateway/trace_context.h"

enum { FLAG_SAMPLED = 1, FLAG_RANDOM = 2 };

/* n lower-case hex digits at *s, not all zero when must_count; advances. */
static bool take_hex(struct str *s, size_t n, bool must_count, char *out)
{
    bool counts = false;
    if (s->n < n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        char c = s->p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
        counts = counts || c != '0';
        out[i] = c;
    }
    out[n] = '\0';
    *s = str_skip(*s, n);
    return counts || !must_count;
}

static bool take_dash(struct str *s)
{
    if (s->n == 0 || s->p[0] != '-') {
        return false;
    }
    *s = str_skip(*s, 1);
    return true;
}

bool trace_context_parse(struct str s, struct trace_context *out)
{
    struct trace_context t = {0};
    char version[3];
    char flags[3];
    if (!take_hex(&s, 2, false, version) || strcmp(version, "ff") == 0 || !take_dash(&s) ||
        !take_hex(&s, TRACE_ID_TEXT, true, t.id) || !take_dash(&s) ||
        !take_hex(&s, TRACE_PARENT_TEXT, true, t.parent) || !take_dash(&s) ||
        !take_hex(&s, 2, false, flags)) {
        return false;
    }
    bool is_first_version = strcmp(version, "00") == 0;
    if (s.n > 0 && (is_first_version || s.p[0] != '-')) {
        return false;
    }
    (void)str_hex_decode(str_of(flags, 2), &t.flags, 1);
    t.flags &= FLAG_SAMPLED | FLAG_RANDOM; /* others must not be passed on by who does not know them */
    *out = t;
    return true;
}

static bool is_given_once(const struct http_exchange *ex, const char *name)
{
    unsigned n = 0;
    for (unsigned i = 0; i < ex->field_count; i++) {
        n += str_is(ex->fields[i].name, name);
    }
    return n == 1;
}

void trace_context_of(const struct http_exchange *ex, struct trace_context *out)
{
    const struct http_field *f = http_field_find(ex, "traceparent");
    if (f && is_given_once(ex, "traceparent") && trace_context_parse(f->value, out)) {
        return;
    }
    *out = (struct trace_context){0};
    memcpy(out->id, ex->id, TRACE_ID_TEXT);
}

unsigned trace_context_fields(struct http_exchange *ex, const struct trace_context *t, struct http_field *out)
{
    char *text = arena_alloc(&ex->arena, TRACE_CONTEXT_TEXT + 1);
    char *at = mempcpy(text, "00-", 3);
    at = mempcpy(at, t->id, TRACE_ID_TEXT);
    *at++ = '-';
    at = mempcpy(at, ex->id + TRACE_PARENT_TEXT,
                 TRACE_PARENT_TEXT); /* this request: the half of its id that changes */
    *at++ = '-';
    *at++ = '0';
    *at++ = (char)('0' + t->flags);
    *at = '\0';
    out[0] = (struct http_field){STR("traceparent"), str_of(text, TRACE_CONTEXT_TEXT)};
    struct str state = t->parent[0] ? http_field_get(ex, "tracestate") : STR("");
    if (state.n == 0 || state.n > TRACE_STATE_MAX || !is_given_once(ex, "tracestate")) {
        return 1;
    }
    out[1] = (struct http_field){STR("tracestate"), state};
    return 2;
}
