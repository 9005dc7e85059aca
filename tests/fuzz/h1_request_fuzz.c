/* Heads of requests (base/http/h1_parse.h). */
#include "base/buf.h"
#include "base/http/h1_parse.h"
#include "tests/fuzz/fuzz.h"

enum { FIELDS = 64, TARGET = 4096 };

static bool is_clean(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static int64_t end_byte_by_byte(const char *p, size_t n)
{
    size_t scanned = 0;
    for (size_t k = 1; k <= n; k++) {
        char *exact = fuzz_copy(p, k);
        int64_t end = h1_request_end(exact, k, &scanned);
        free(exact);
        if (end != 0) {
            return end;
        }
    }
    return 0;
}

static void check_head(const struct h1_head *h)
{
    unsigned lengths = 0, codings = 0, hosts = 0;
    MUST(h->field_count <= FIELDS && h->minor <= 1 && h->target.n <= TARGET);
    MUST(h->content_length >= -1 && h->content_length <= (int64_t)1 << 53);
    for (unsigned i = 0; i < h->field_count; i++) {
        const struct http_field *f = &h->fields[i];
        MUST(f->name.n > 0 && is_clean(f->value) && str_eq(str_trim(f->value), f->value));
        for (size_t k = 0; k < f->name.n; k++) {
            MUST(f->name.p[k] > ' ' && f->name.p[k] < 0x7f && f->name.p[k] != ':');
            MUST(f->name.p[k] < 'A' || f->name.p[k] > 'Z');
        }
        lengths += str_is(f->name, "content-length");
        codings += str_is(f->name, "transfer-encoding");
        hosts += str_is(f->name, "host");
    }
    MUST(lengths + codings <= 1 && hosts <= 1 && (hosts == 1 || h->minor == 0));
    MUST((codings == 1) == (h->content_length == -1));
    MUST(http_target_is_valid(h->target) && http_path_is_plain(h->path));
    MUST(h->path.p[0] == '/' || str_is(h->target, "*"));
    MUST(h->minor == 1 || h->close);
}

static struct buf head_written(const struct h1_head *h)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    buf_addf(&out, STR_FMT " " STR_FMT " HTTP/1.%u\r\n", STR_ARG(h->method_text), STR_ARG(h->target),
             h->minor);
    for (unsigned i = 0; i < h->field_count; i++) {
        buf_addf(&out, STR_FMT ": " STR_FMT "\r\n", STR_ARG(h->fields[i].name), STR_ARG(h->fields[i].value));
    }
    buf_add_cstr(&out, "\r\n");
    return out;
}

/* What was accepted and is written plainly means the same. */
static void check_again(const struct h1_head *h)
{
    struct http_field fields[FIELDS];
    struct h1_head again = {.fields = fields, .max_fields = FIELDS, .max_target = TARGET};
    struct h1_refusal why;
    size_t scanned = 0;
    struct buf text = head_written(h);
    MUST(h1_request_end(text.p, text.n, &scanned) == (int64_t)text.n);
    MUST(h1_request_parse(text.p, text.n, &again, &why) == 0);
    MUST(again.content_length == h->content_length && again.close == h->close);
    MUST(again.field_count == h->field_count && again.method == h->method);
    MUST(str_eq(again.path, h->path) && str_eq(again.query, h->query) && str_eq(again.host, h->host));
    buf_clear(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    size_t scanned = 0;
    char *text = fuzz_copy(data, n);
    int64_t end = h1_request_end(text, n, &scanned);
    MUST(end <= (int64_t)n && (end >= 0 || end == ERR_PROTOCOL));
    MUST(end_byte_by_byte(text, n) == end);
    if (end > 0) {
        struct http_field fields[FIELDS];
        struct h1_head head = {.fields = fields, .max_fields = FIELDS, .max_target = TARGET};
        struct h1_refusal why = {NULL, NULL};
        char *exact = fuzz_copy(text, (size_t)end);
        int rc = h1_request_parse(exact, (size_t)end, &head, &why);
        if (rc == 0) {
            check_head(&head);
            check_again(&head);
        } else {
            MUST(rc == ERR_PROTOCOL && why.code && why.why);
        }
        free(exact);
    }
    free(text);
    return 0;
}
