#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/json_text.h"

static void escape_char(struct buf *out, unsigned char c)
{
    static const char letters[] = "\"\\bfnrt";
    static const char meanings[] = "\"\\\b\f\n\r\t";
    const char *at = c ? strchr(meanings, c) : NULL;
    if (at) {
        buf_add_char(out, '\\');
        buf_add_char(out, letters[at - meanings]);
    } else {
        buf_addf(out, "\\u%04x", c);
    }
}

static void escape_valid(struct buf *out, struct str s)
{
    while (s.n > 0) {
        size_t plain = json_plain_len(s);
        buf_add(out, s.p, plain);
        s = str_skip(s, plain);
        if (s.n > 0) {
            escape_char(out, (unsigned char)s.p[0]);
            s = str_skip(s, 1);
        }
    }
}

/* Whatever bytes come in, UTF-8 comes out: each bad byte becomes U+FFFD. */
void json_escape(struct buf *out, struct str s)
{
    for (;;) {
        size_t valid = str_utf8_valid_len(s);
        escape_valid(out, str_of(s.p, valid));
        if (valid == s.n) {
            return;
        }
        buf_add_str(out, STR("\\ufffd"));
        s = str_skip(s, valid + 1);
    }
}

static void begin_value(struct json_writer *w)
{
    if (w->need_comma) {
        buf_add_char(w->out, ',');
    }
    w->need_comma = true;
}

void json_open(struct json_writer *w, char bracket)
{
    begin_value(w);
    buf_add_char(w->out, bracket);
    w->need_comma = false;
}

void json_close(struct json_writer *w, char bracket)
{
    buf_add_char(w->out, bracket);
    w->need_comma = true;
}

void json_key(struct json_writer *w, const char *key)
{
    json_str(w, str_from(key));
    buf_add_char(w->out, ':');
    w->need_comma = false;
}

void json_str(struct json_writer *w, struct str s)
{
    begin_value(w);
    buf_add_char(w->out, '"');
    json_escape(w->out, s);
    buf_add_char(w->out, '"');
}

void json_i64(struct json_writer *w, int64_t v)
{
    begin_value(w);
    if (v < 0) {
        buf_add_char(w->out, '-');
    }
    buf_add_u64(w->out, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void json_f64(struct json_writer *w, double v)
{
    char text[32];
    if (!isfinite(v)) {
        json_null(w);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v) {
            break;
        }
    }
    begin_value(w);
    buf_add_cstr(w->out, text);
}

void json_bool(struct json_writer *w, bool v)
{
    begin_value(w);
    buf_add_cstr(w->out, v ? "true" : "false");
}

void json_null(struct json_writer *w)
{
    begin_value(w);
    buf_add_cstr(w->out, "null");
}

void json_raw(struct json_writer *w, struct str json)
{
    begin_value(w);
    buf_add_str(w->out, json);
}

void json_open_at(struct json_writer *w, const char *key, char bracket)
{
    json_key(w, key);
    json_open(w, bracket);
}

void json_str_at(struct json_writer *w, const char *key, struct str s)
{
    json_key(w, key);
    json_str(w, s);
}

void json_i64_at(struct json_writer *w, const char *key, int64_t v)
{
    json_key(w, key);
    json_i64(w, v);
}

void json_f64_at(struct json_writer *w, const char *key, double v)
{
    json_key(w, key);
    json_f64(w, v);
}

void json_bool_at(struct json_writer *w, const char *key, bool v)
{
    json_key(w, key);
    json_bool(w, v);
}

void json_null_at(struct json_writer *w, const char *key)
{
    json_key(w, key);
    json_null(w);
}

void json_raw_at(struct json_writer *w, const char *key, struct str json)
{
    json_key(w, key);
    json_raw(w, json);
}
