/* Answers of upstreams (base/http/h1_response.h). */
#include "base/buf.h"
#include "base/http/h1_response.h"
#include "tests/fuzz/fuzz.h"

struct outcome {
    struct buf data;
    int rc;
    bool done;
    size_t left; /* bytes behind the body */
};

static struct outcome run_body(const struct h1_response *r, const char *p, size_t n, size_t step)
{
    struct h1_body body;
    struct outcome o = {0};
    buf_init(&o.data, 1 << 24);
    h1_body_init(&body, r, false);
    for (size_t at = 0; at < n && o.rc == 0 && !h1_body_is_done(&body);) {
        size_t take = step < n - at ? step : n - at;
        char *exact = fuzz_copy(p + at, take);
        struct str in = str_of(exact, take), data;
        do {
            o.rc = h1_body_next(&body, &in, &data, NULL);
            if (o.rc == 0) {
                buf_add_str(&o.data, data);
            }
        } while (o.rc == 0 && data.n > 0);
        at += take - in.n;
        o.left = n - at;
        free(exact);
    }
    o.done = h1_body_is_done(&body);
    return o;
}

static void check_fields(const struct http_field *fields, const struct h1_response *r)
{
    MUST(r->status >= 100 && r->status <= 599 && r->status != 101 && r->field_count <= H1_RESPONSE_FIELDS);
    MUST(r->content_length >= -1 && !(r->chunked && r->content_length >= 0));
    for (unsigned i = 0; i < r->field_count; i++) {
        MUST(fields[i].name.n > 0 && !memchr(fields[i].name.p, ':', fields[i].name.n));
        MUST(!memchr(fields[i].value.p, '\n', fields[i].value.n));
        MUST(!memchr(fields[i].value.p, '\r', fields[i].value.n));
        MUST(!memchr(fields[i].value.p, 0, fields[i].value.n));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct http_field fields[H1_RESPONSE_FIELDS];
    struct h1_response r = {0};
    struct err err = {0};
    char *text = fuzz_copy(data, n);
    size_t end = h1_head_end(text, n, 0);
    MUST(end <= n);
    if (end > 0) {
        char *head = fuzz_copy(text, end);
        if (h1_response_parse(head, end, fields, &r, &err) == 0) {
            check_fields(fields, &r);
            struct outcome whole = run_body(&r, text + end, n - end, n);
            struct outcome bytes = run_body(&r, text + end, n - end, 1);
            MUST(whole.rc == bytes.rc && whole.done == bytes.done);
            MUST(str_eq(buf_str(&whole.data), buf_str(&bytes.data)));
            MUST(whole.rc != 0 || whole.left == bytes.left);
            buf_clear(&whole.data);
            buf_clear(&bytes.data);
        } else {
            MUST(err.msg[0]);
        }
        free(head);
    }
    free(text);
    return 0;
}
