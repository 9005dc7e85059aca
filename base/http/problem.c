/* Errors as clients see them: finds the row, chooses the language, writes the body in the exchange's dialect. */
#include "base/http/problem.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/http/problem_table.h"
#include "base/metrics.h"

enum { BODY_MAX = 64 * 1024, BODY_USUAL = 1000, FIELDS_MAX = 16, DETAIL_MAX = 512 };

static struct metric problems =
    METRIC_COUNTER_L("tidegate_http_problems_total", "Errors answered to clients, by code.", "code");

const struct problem_row *problem_find(const char *code)
{
    size_t low = 0;
    size_t high = problem_row_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int order = strcmp(code, problem_rows[mid].code);
        if (order == 0) {
            return &problem_rows[mid];
        }
        if (order < 0) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return strcmp(code, "internal_error") == 0 ? &problem_rows[0] : problem_find("internal_error");
}

const char *problem_lang_tag(enum problem_lang lang)
{
    static const char *const tags[] = {"en", "zh-Hans", "zh-Hant"};
    return tags[lang];
}

/* -1: a language that we do not speak. */
static int lang_of_tag(struct str tag)
{
    static const struct {
        struct str prefix;
        enum problem_lang lang;
    } known[] = {
        {STR_INIT("zh-hant"), PROBLEM_LANG_ZH_HANT},
        {STR_INIT("zh-tw"), PROBLEM_LANG_ZH_HANT},
        {STR_INIT("zh-hk"), PROBLEM_LANG_ZH_HANT},
        {STR_INIT("zh-mo"), PROBLEM_LANG_ZH_HANT},
        {STR_INIT("zh"), PROBLEM_LANG_ZH_HANS},
        {STR_INIT("en"), PROBLEM_LANG_EN},
        {STR_INIT("*"), PROBLEM_LANG_EN},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        size_t n = known[i].prefix.n;
        if (tag.n >= n && str_eq_nocase(str_of(tag.p, n), known[i].prefix) &&
            (tag.n == n || tag.p[n] == '-')) {
            return (int)known[i].lang;
        }
    }
    return -1;
}

/* RFC 9110 12.4.2 quality in thousandths; a malformed one counts as 0. */
static unsigned quality_of(struct str params)
{
    params = str_trim(params);
    if (params.n == 0) {
        return 1000;
    }
    if (params.n < 3 || (params.p[0] != 'q' && params.p[0] != 'Q') || params.p[1] != '=') {
        return 0;
    }
    params = str_trim(str_skip(params, 2));
    if (params.n == 0 || params.p[0] < '0' || params.p[0] > '1') {
        return 0;
    }
    unsigned q = (unsigned)(params.p[0] - '0') * 1000;
    unsigned scale = 100;
    for (size_t i = 2; i < params.n && params.p[i] >= '0' && params.p[i] <= '9'; i++) {
        q += (unsigned)(params.p[i] - '0') * scale;
        scale /= 10;
    }
    return q > 1000 ? 1000 : q;
}

enum problem_lang problem_lang_of(struct str accept_language)
{
    enum problem_lang best = PROBLEM_LANG_EN;
    unsigned best_q = 0;
    struct str item;
    for (unsigned i = 0; i < 16 && str_cut(&accept_language, ',', &item); i++) {
        struct str tag = item;
        struct str params = item;
        if (str_cut(&params, ';', &tag)) {
            unsigned q = quality_of(params);
            int lang = lang_of_tag(str_trim(tag));
            if (lang >= 0 && q > best_q) {
                best = (enum problem_lang)lang;
                best_q = q;
            }
        }
    }
    return best;
}

static const char *row_words(const struct problem_row *row, enum problem_lang lang)
{
    if (row->words[lang]) {
        return row->words[lang];
    }
    return row->words[PROBLEM_LANG_EN] ? row->words[PROBLEM_LANG_EN] : row->title;
}

static struct str words_of(const struct problem_row *row, const struct problem *p, enum problem_lang lang)
{
    return p->message.n ? p->message : str_from(row_words(row, lang));
}

static void write_openai(const struct problem_row *row, const struct problem *p, enum problem_lang lang,
                         struct buf *out)
{
    struct json_writer w = {.out = out};
    json_open(&w, '{');
    json_open_at(&w, "error", '{');
    json_str_at(&w, "message", p->detail.n && !p->message.n ? p->detail : words_of(row, p, lang));
    json_str_at(&w, "type", str_from(row->type));
    if (p->param.n) {
        json_str_at(&w, "param", p->param);
    } else {
        json_null_at(&w, "param");
    }
    json_str_at(&w, "code", str_from(row->code));
    if (p->extra.n) {
        buf_add_char(out, ',');
        buf_add_str(out, p->extra);
    }
    json_close(&w, '}');
    json_close(&w, '}');
}

static void write_rfc9457(const struct http_exchange *ex, const struct problem_row *row,
                          const struct problem *p, enum problem_lang lang, struct buf *out)
{
    struct json_writer w = {.out = out};
    char type[96];
    snprintf(type, sizeof(type), "urn:tidegate:problem:%s", row->code);
    json_open(&w, '{');
    json_str_at(&w, "type", str_from(type));
    json_str_at(&w, "title", str_from(row->title));
    json_i64_at(&w, "status", row->status);
    json_str_at(&w, "code", str_from(row->code));
    json_str_at(&w, "message", words_of(row, p, lang));
    if (p->detail.n) {
        json_str_at(&w, "detail", p->detail);
    }
    if (p->param.n) {
        json_str_at(&w, "field", p->param);
    }
    if (p->retry_after_s) {
        json_i64_at(&w, "retry_after", p->retry_after_s);
    }
    if (ex->id[0]) {
        json_str_at(&w, "request_id", str_from(ex->id));
    }
    if (p->extra.n) {
        buf_add_char(out, ',');
        buf_add_str(out, p->extra);
    }
    json_close(&w, '}');
}

static enum problem_lang lang_of_exchange(const struct http_exchange *ex)
{
    return problem_lang_of(http_field_get(ex, "accept-language"));
}

void problem_write(const struct http_exchange *ex, const struct problem *p, struct buf *out)
{
    const struct problem_row *row = problem_find(p->code);
    enum problem_lang lang = lang_of_exchange(ex);
    if (ex->dialect == HTTP_DIALECT_OPENAI) {
        write_openai(row, p, lang, out);
    } else {
        write_rfc9457(ex, row, p, lang, out);
    }
}

/* So that clients that were refused together do not come back together: later, never earlier than they may. */
static uint32_t jitter(uint32_t seconds)
{
    if (seconds <= 2 || seconds > UINT32_MAX / 2) {
        return seconds;
    }
    return seconds + (uint32_t)(id_fast_random() % (seconds * 3 / 10 + 1));
}

static void add_field(struct http_field *fields, unsigned *n, struct str name, struct str value)
{
    if (*n < FIELDS_MAX) {
        fields[(*n)++] = (struct http_field){name, value};
    }
}

/* Where a type names no charset, supabase-flutter reads latin-1: Chinese words would be garbage. */
static struct str body_type(const struct http_exchange *ex)
{
    switch (ex->dialect) {
    case HTTP_DIALECT_OPENAI:
        return STR("application/json");
    case HTTP_DIALECT_GOTRUE:
        return STR("application/problem+json; charset=utf-8");
    default:
        return STR("application/problem+json");
    }
}

void http_reply_problem(struct http_exchange *ex, const struct problem *problem)
{
    struct problem p = *problem;
    const struct problem_row *row = problem_find(p.code);
    struct http_field fields[FIELDS_MAX];
    unsigned n = 0;
    char retry_text[12];
    struct buf body;

    p.retry_after_s = jitter(p.retry_after_s);
    add_field(fields, &n, STR("content-type"), body_type(ex));
    add_field(fields, &n, STR("content-language"), str_from(problem_lang_tag(lang_of_exchange(ex))));
    add_field(fields, &n, STR("cache-control"), STR("no-store"));
    if (ex->dialect == HTTP_DIALECT_GOTRUE) {
        add_field(fields, &n, STR("x-supabase-api-version"), STR("2024-01-01"));
        add_field(fields, &n, STR("x-sb-error-code"), str_from(row->code));
    }
    if (p.retry_after_s) {
        snprintf(retry_text, sizeof(retry_text), "%u", p.retry_after_s);
        add_field(fields, &n, STR("retry-after"), str_from(retry_text));
    }
    for (unsigned i = 0; i < p.field_count; i++) {
        add_field(fields, &n, p.fields[i].name, p.fields[i].value);
    }
    buf_init(&body, BODY_MAX);
    buf_reserve(&body, BODY_USUAL + p.extra.n);
    problem_write(ex, &p, &body);
    ex->problem = row->code;
    metric_child_add(metric_child(&problems, row->code), 1);
    http_reply(ex, row->status, fields, n, buf_str(&body));
    buf_clear(&body);
}

void http_reply_error(struct http_exchange *ex, const char *code, const char *detail_fmt, ...)
{
    char detail[DETAIL_MAX];
    va_list ap;
    va_start(ap, detail_fmt);
    vsnprintf(detail, sizeof(detail), detail_fmt, ap);
    va_end(ap);
    http_reply_problem(ex, &(struct problem){.code = code, .detail = str_from(detail)});
}
