#include "base/http/h1_response.h"

#include "base/http/h1_parse.h"

size_t h1_head_end(const char *p, size_t n, size_t from)
{
    const char *end = p + n;
    const char *lf = p + from;
    while (lf < end && (lf = memchr(lf, '\n', (size_t)(end - lf))) != NULL) {
        lf++;
        if (lf - p >= 4 && memcmp(lf - 4, "\r\n\r\n", 4) == 0) {
            return (size_t)(lf - p);
        }
    }
    return 0;
}

/* "HTTP/1.1 200 OK": the reason and the space before it may be missing. */
static int parse_status_line(struct str line, struct h1_response *out, struct err *err)
{
    bool shape = line.n >= 12 && memcmp(line.p, "HTTP/1.", 7) == 0 &&
                 (line.p[7] == '0' || line.p[7] == '1') && line.p[8] == ' ' &&
                 (line.n == 12 || line.p[12] == ' ');
    uint64_t status = 0;
    if (!shape || !str_u64(str_of(line.p + 9, 3), &status) || !str_is_text(line)) {
        return err_set(err, ERR_PROTOCOL, "upstream: not an HTTP/1 status line");
    }
    if (status < 100 || status > 599 || status == 101) {
        return err_set(err, ERR_PROTOCOL, "upstream: status %u", (unsigned)status);
    }
    out->status = (unsigned)status;
    out->keep_alive = line.p[7] == '1';
    return 0;
}

static int parse_field(char *p, size_t n, struct http_field *f, struct err *err)
{
    size_t i = 0;
    while (i < n && http_token_lower[(uint8_t)p[i]]) {
        p[i] = (char)http_token_lower[(uint8_t)p[i]];
        i++;
    }
    if (i == 0 || i == n || p[i] != ':') {
        return err_set(err, ERR_PROTOCOL, "upstream: malformed field");
    }
    f->name = str_of(p, i);
    f->value = str_trim(str_of(p + i + 1, n - i - 1));
    if (!str_is_text(f->value)) {
        return err_set(err, ERR_PROTOCOL, "upstream: control byte in a field value");
    }
    return 0;
}

static bool has_close_token(struct str list)
{
    struct str item;
    while (str_cut(&list, ',', &item)) {
        if (str_eq_nocase(str_trim(item), STR("close"))) {
            return true;
        }
    }
    return false;
}

/* What a field says about framing and the connection's life. */
static int note_field(const struct http_field *f, struct h1_response *out, struct err *err)
{
    if (f->name.n == 14 && str_is(f->name, "content-length")) {
        uint64_t length = 0;
        if (out->content_length >= 0 || !str_u64(f->value, &length) || length > INT64_MAX) {
            return err_set(err, ERR_PROTOCOL, "upstream: bad or second content-length");
        }
        out->content_length = (int64_t)length;
    } else if (f->name.n == 17 && str_is(f->name, "transfer-encoding")) {
        if (out->chunked || !str_eq_nocase(f->value, STR("chunked"))) {
            return err_set(err, ERR_PROTOCOL, "upstream: transfer-encoding is not one chunked");
        }
        out->chunked = true;
    } else if (f->name.n == 10 && str_is(f->name, "connection") && has_close_token(f->value)) {
        out->keep_alive = false;
    }
    return 0;
}

static int check_framing(const struct h1_response *r, bool is_http10, struct err *err)
{
    if (r->chunked && (r->content_length >= 0 || is_http10)) {
        return err_set(err, ERR_PROTOCOL, "upstream: contradicting body lengths");
    }
    if (r->chunked && (r->status < 200 || r->status == 204)) {
        return err_set(err, ERR_PROTOCOL, "upstream: a body on status %u", r->status);
    }
    return 0;
}

int h1_response_parse(char *head, size_t n, struct http_field fields[H1_RESPONSE_FIELDS],
                      struct h1_response *out, struct err *err)
{
    *out = (struct h1_response){.content_length = -1};
    char *p = head;
    char *end = head + n - 2; /* the blank line is known to be there */
    for (bool first = true; p < end; first = false) {
        char *eol = memchr(p, '\n', (size_t)(end - p));
        if (!eol || eol == p || eol[-1] != '\r') {
            return err_set(err, ERR_PROTOCOL, "upstream: bare LF in the head");
        }
        size_t line_n = (size_t)(eol - p) - 1;
        int rc;
        if (first) {
            rc = parse_status_line(str_of(p, line_n), out, err);
        } else if (out->field_count == H1_RESPONSE_FIELDS) {
            rc = err_set(err, ERR_LIMIT, "upstream: more than %d fields", H1_RESPONSE_FIELDS);
        } else {
            struct http_field *f = &fields[out->field_count];
            rc = parse_field(p, line_n, f, err);
            rc = rc ? rc : note_field(f, out, err);
            out->field_count += rc == 0;
        }
        if (rc != 0) {
            return rc;
        }
        p = eol + 1;
    }
    if (out->status == 0) {
        return err_set(err, ERR_PROTOCOL, "upstream: empty head");
    }
    return check_framing(out, head[7] == '0', err);
}

void h1_body_init(struct h1_body *b, const struct h1_response *r, bool head_request)
{
    *b = (struct h1_body){.state = H1_BODY_TO_EOF};
    if (head_request || r->status < 200 || r->status == 204 || r->status == 304) {
        b->state = H1_BODY_DONE;
    } else if (r->chunked) {
        b->state = H1_BODY_SIZE;
    } else if (r->content_length >= 0) {
        b->left = (uint64_t)r->content_length;
        b->state = b->left > 0 ? H1_BODY_LENGTH : H1_BODY_DONE;
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int take_size(struct h1_body *b, char c, struct err *err)
{
    int digit = hex_value(c);
    if (digit >= 0) {
        if (b->left >> 56) {
            return err_set(err, ERR_PROTOCOL, "upstream: chunk size too large");
        }
        b->left = (b->left << 4) | (unsigned)digit;
        b->state = H1_BODY_SIZE_MORE;
        return 0;
    }
    if (b->state == H1_BODY_SIZE_MORE && (c == '\r' || c == ';')) {
        b->state = c == '\r' ? H1_BODY_SIZE_LF : H1_BODY_EXTENSION;
        return 0;
    }
    return err_set(err, ERR_PROTOCOL, "upstream: malformed chunk size");
}

/* Extensions and trailers are skipped, but count towards a limit. */
static int skip_text(struct h1_body *b, char c, enum h1_body_state at_cr, struct err *err)
{
    if (++b->extra > H1_TRAILER_BYTES) {
        return err_set(err, ERR_LIMIT, "upstream: chunk extensions and trailers past %d bytes",
                       H1_TRAILER_BYTES);
    }
    if (c == '\r') {
        b->state = at_cr;
    } else if (((unsigned char)c < 0x20 && c != '\t') || c == 0x7f) {
        return err_set(err, ERR_PROTOCOL, "upstream: control byte in chunk framing");
    }
    return 0;
}

static int expect(struct h1_body *b, char c, char wanted, enum h1_body_state next, struct err *err)
{
    if (c != wanted) {
        return err_set(err, ERR_PROTOCOL, "upstream: malformed chunk framing");
    }
    b->state = next;
    return 0;
}

static int take_framing(struct h1_body *b, char c, struct err *err)
{
    switch (b->state) {
    case H1_BODY_SIZE:
    case H1_BODY_SIZE_MORE:
        return take_size(b, c, err);
    case H1_BODY_EXTENSION:
        return skip_text(b, c, H1_BODY_SIZE_LF, err);
    case H1_BODY_SIZE_LF:
        return expect(b, c, '\n', b->left > 0 ? H1_BODY_DATA : H1_BODY_TRAILER, err);
    case H1_BODY_DATA_CR:
        return expect(b, c, '\r', H1_BODY_DATA_LF, err);
    case H1_BODY_DATA_LF:
        b->extra = 0;
        return expect(b, c, '\n', H1_BODY_SIZE, err);
    case H1_BODY_TRAILER:
        b->state = H1_BODY_TRAILER_TEXT;
        return skip_text(b, c, H1_BODY_LAST_LF, err);
    case H1_BODY_TRAILER_TEXT:
        return skip_text(b, c, H1_BODY_TRAILER_LF, err);
    case H1_BODY_TRAILER_LF:
        return expect(b, c, '\n', H1_BODY_TRAILER, err);
    case H1_BODY_LAST_LF:
        return expect(b, c, '\n', H1_BODY_DONE, err);
    default:
        return err_set(err, ERR_INTERNAL, "upstream: framing state %d", (int)b->state);
    }
}

static struct str take_data(struct h1_body *b, struct str *in)
{
    size_t n = in->n;
    if (b->state != H1_BODY_TO_EOF) {
        n = b->left < n ? (size_t)b->left : n;
        b->left -= n;
        if (b->left == 0) {
            b->state = b->state == H1_BODY_LENGTH ? H1_BODY_DONE : H1_BODY_DATA_CR;
        }
    }
    struct str data = str_of(in->p, n);
    *in = str_skip(*in, n);
    return data;
}

int h1_body_next(struct h1_body *b, struct str *in, struct str *data, struct err *err)
{
    *data = STR("");
    while (in->n > 0 && b->state != H1_BODY_DONE) {
        if (b->state == H1_BODY_LENGTH || b->state == H1_BODY_TO_EOF || b->state == H1_BODY_DATA) {
            *data = take_data(b, in);
            return 0;
        }
        int rc = take_framing(b, in->p[0], err);
        if (rc != 0) {
            return rc;
        }
        *in = str_skip(*in, 1);
    }
    return 0;
}
