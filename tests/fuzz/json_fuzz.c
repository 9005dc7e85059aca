/* JSON (base/json.h): what the scan accepts it accepts again, cJSON reads it, and what is written from it is accepted. */
#include "base/json.h"
#include "tests/fuzz/fuzz.h"

static void check_string(struct arena *a, const struct json_slice *v)
{
    struct str text, again;
    struct buf out;
    buf_init(&out, 1 << 24);
    MUST(json_get_str(a, v, &text) && str_is_utf8(text) && !memchr(text.p, 0, text.n));
    struct json_writer w = {.out = &out};
    json_str(&w, text);
    struct json_slice written = {.raw = buf_str(&out), .type = JSON_STRING};
    MUST(json_get_str(a, &written, &again) && str_eq(text, again));
    buf_clear(&out);
}

/* Values in the order of the text, each inside of its parent. */
static unsigned walk(struct arena *a, struct str raw)
{
    struct json_slice v;
    struct str in = raw;
    unsigned count = 0;
    while (json_next(&in, &v)) {
        MUST(v.raw.n > 0 && v.raw.p >= raw.p && v.raw.p + v.raw.n <= raw.p + raw.n);
        count++;
        double number;
        int64_t integer;
        if (v.type == JSON_STRING) {
            check_string(a, &v);
        } else if (v.type == JSON_NUMBER && json_get_i64(&v, &integer)) {
            MUST(json_get_f64(&v, &number) && number == (double)integer);
        } else if (v.type == JSON_ARRAY || v.type == JSON_OBJECT) {
            walk(a, v.raw);
        }
    }
    return count;
}

static void check_dom(struct arena *a, struct str text)
{
    struct json_doc doc;
    struct err err = {0};
    cJSON *dom = NULL;
    MUST(json_parse(text, &json_limits_default, &dom, &err) == 0);
    char *printed = cJSON_PrintUnformatted(dom);
    MUST(printed && json_scan(a, str_from(printed), &json_limits_default, &doc, &err) == 0);
    cJSON_free(printed);
    cJSON_Delete(dom);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct json_limits small = {
        .max_depth = 3, .max_members = 4, .max_items = 5, .max_string = 8};
    struct arena a;
    struct json_doc doc, again;
    struct err err = {0};
    char *exact = fuzz_copy(data, n);
    struct str text = str_of(exact, n);
    arena_init(&a);
    int rc = json_scan(&a, text, &json_limits_default, &doc, &err);
    if (rc == 0) {
        MUST(doc.raw.p >= text.p && doc.raw.p + doc.raw.n <= text.p + text.n);
        MUST(json_scan(&a, doc.raw, &json_limits_default, &again, &err) == 0);
        MUST(again.type == doc.type && again.member_count == doc.member_count);
        if (doc.type == JSON_ARRAY || doc.type == JSON_OBJECT) {
            unsigned count = walk(&a, doc.raw);
            MUST(doc.type != JSON_OBJECT || count == doc.member_count);
        }
        check_dom(&a, text);
    } else {
        MUST((rc == ERR_INVALID || rc == ERR_LIMIT) && err.msg[0]);
    }
    int strict = json_scan(&a, text, &small, &doc, &err);
    MUST(strict != 0 || rc == 0); /* smaller limits accept no more */
    arena_clear(&a);
    free(exact);
    return 0;
}
