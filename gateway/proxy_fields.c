#include "gateway/proxy_fields.h"

#include "base/jws.h"

enum { OWN_FIELDS = 6 };

static bool starts(struct str s, const char *prefix, size_t n)
{
    return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

/* Names by their first letter, so that most fields cost one look. */
bool proxy_is_dropped_field(struct str name, bool cookies)
{
    switch (name.n > 0 ? name.p[0] : 0) {
    case 'a':
        return str_is(name, "authorization") || str_is(name, "apikey");
    case 'c':
        return str_is(name, "connection") || str_is(name, "content-length") ||
               (!cookies && str_is(name, "cookie"));
    case 'e':
        return str_is(name, "expect");
    case 'f':
        return str_is(name, "forwarded");
    case 'h':
        return str_is(name, "host") || str_is(name, "http2-settings");
    case 'k':
        return str_is(name, "keep-alive");
    case 'p':
        return starts(name, "proxy-", 6);
    case 't':
        return str_is(name, "te") || str_is(name, "trailer") || str_is(name, "transfer-encoding") ||
               str_is(name, "traceparent") || str_is(name, "tracestate");
    case 'u':
        return str_is(name, "upgrade");
    case 'x':
        return starts(name, "x-forwarded", 11) || starts(name, "x-tide-", 7) || str_is(name, "x-real-ip") ||
               str_is(name, "x-request-id");
    default:
        return false;
    }
}

/* Fields that the connection field names are the hop's as well. */
static bool is_named_by(struct str connection, struct str name)
{
    struct str item;
    while (str_cut(&connection, ',', &item)) {
        if (str_eq_nocase(str_trim(item), name)) {
            return true;
        }
    }
    return false;
}

static bool is_cookie(const struct http_field *f)
{
    return f->name.n == 6 && str_is(f->name, "cookie");
}

/* HTTP/2 clients may send a cookie in pieces; HTTP/1 knows one field only (RFC 9113 8.2.3). */
static struct str cookie_in_one(struct http_exchange *ex)
{
    size_t n = 0, pieces = 0;
    for (unsigned i = 0; i < ex->field_count; i++) {
        n += is_cookie(&ex->fields[i]) ? ex->fields[i].value.n : 0;
        pieces += is_cookie(&ex->fields[i]);
    }
    if (pieces == 1) {
        return http_field_get(ex, "cookie");
    }
    char *whole = arena_alloc(&ex->arena, n + 2 * pieces);
    n = 0;
    for (unsigned i = 0; i < ex->field_count; i++) {
        const struct str piece = ex->fields[i].value;
        if (is_cookie(&ex->fields[i])) {
            memcpy(whole + n, piece.p, piece.n);
            memcpy(whole + n + piece.n, "; ", 2);
            n += piece.n + 2;
        }
    }
    return str_of(whole, n - 2);
}

const struct http_field *proxy_request_fields(struct request *r, bool cookies, unsigned *n)
{
    struct http_exchange *ex = r->ex;
    struct http_field *out = arena_alloc(&ex->arena, (ex->field_count + OWN_FIELDS) * sizeof *out);
    struct str connection = http_field_get(ex, "connection");
    bool has_cookie = false;
    unsigned k = 0;
    for (unsigned i = 0; i < ex->field_count; i++) {
        const struct http_field *f = &ex->fields[i];
        if (proxy_is_dropped_field(f->name, cookies) ||
            (connection.n != 0 && is_named_by(connection, f->name)) || (is_cookie(f) && has_cookie)) {
            continue;
        }
        has_cookie = has_cookie || is_cookie(f);
        out[k++] = is_cookie(f) ? (struct http_field){f->name, cookie_in_one(ex)} : *f;
    }
    static const struct addr none;
    if (!addr_eq(&r->client, &none)) { /* a peer on a unix socket that names no client */
        char *client = arena_alloc(&ex->arena, ADDR_TEXT);
        addr_format(&r->client, client);
        out[k++] = (struct http_field){STR("x-forwarded-for"), str_from(client)};
    }
    out[k++] = (struct http_field){STR("x-forwarded-proto"), ex->tls ? STR("https") : STR("http")};
    out[k++] = (struct http_field){STR("x-request-id"), str_from(ex->id)};
    k += trace_context_fields(ex, &r->trace, out + k);
    if (r->who) {
        out[k++] = (struct http_field){STR("x-tide-user"), str_from(r->who->sub)};
    }
    *n = k;
    return out;
}

unsigned proxy_answer_fields(const struct http_field *fields, unsigned count, bool cookies,
                             struct http_field *out)
{
    struct str connection = STR("");
    unsigned k = 0;
    for (unsigned i = 0; i < count; i++) {
        if (fields[i].name.n == 10 && str_is(fields[i].name, "connection")) {
            connection = fields[i].value;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        struct str name = fields[i].name;
        bool dropped = proxy_is_dropped_field(name, true) || (name.n == 4 && str_is(name, "date")) ||
                       (!cookies && name.n == 10 && str_is(name, "set-cookie")) ||
                       (name.n == 25 && str_is(name, "strict-transport-security"));
        if (!dropped && (connection.n == 0 || !is_named_by(connection, name))) {
            out[k++] = fields[i];
        }
    }
    return k;
}
