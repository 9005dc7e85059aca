#include "gateway/proxy_fields.h"

#include <ctype.h>

#include "base/jws.h"
#include "gateway/config.h"

enum { OWN_FIELDS = 6 };

/* Upstreams that speak CGI (WSGI, Rack, PHP too) read x-tide-user, x_tide_user and x.tide.user as one variable: so
 * every other character counts as the '-' of `twin`. */
static bool begins(struct str name, const char *twin)
{
    for (size_t i = 0; twin[i]; i++) {
        if (i == name.n || (name.p[i] != twin[i] && (twin[i] != '-' || isalnum((uint8_t)name.p[i])))) {
            return false;
        }
    }
    return true;
}

static bool is(struct str name, const char *twin)
{
    return name.n == strlen(twin) && begins(name, twin);
}

/* Names by their first letter, so that most fields cost one look. */
bool proxy_is_dropped_field(struct str name, bool cookies)
{
    switch (name.n > 0 ? name.p[0] : 0) {
    case 'a':
        return is(name, "authorization") || is(name, "apikey");
    case 'c':
        return is(name, "connection") || is(name, "content-length") || (!cookies && is(name, "cookie"));
    case 'e':
        return is(name, "expect");
    case 'f':
        return is(name, "forwarded");
    case 'h':
        return is(name, "host") || is(name, "http2-settings");
    case 'k':
        return is(name, "keep-alive");
    case 'p':
        return begins(name, "proxy-");
    case 't':
        return is(name, "te") || is(name, "trailer") || is(name, "transfer-encoding") ||
               is(name, "traceparent") || is(name, "tracestate");
    case 'u':
        return is(name, "upgrade");
    case 'x':
        return begins(name, "x-forwarded") || begins(name, "x-tide-") || is(name, "x-real-ip") ||
               is(name, "x-request-id");
    default:
        return false;
    }
}

/* The fields of a name as one, with two characters between; nearly always there is one, which is borrowed, or none. */
static struct str in_one(struct arena *arena, const struct http_field *fields, unsigned count,
                         struct str name, const char *between)
{
    struct str last = STR("");
    size_t n = 0, pieces = 0;
    for (unsigned i = 0; i < count; i++) {
        if (str_eq(fields[i].name, name)) {
            last = fields[i].value;
            n += last.n + 2;
            pieces++;
        }
    }
    if (pieces <= 1) {
        return last;
    }
    char *whole = arena_alloc(arena, n);
    char *at = whole;
    for (unsigned i = 0; i < count; i++) {
        const struct str piece = fields[i].value;
        if (str_eq(fields[i].name, name)) {
            memcpy(at, piece.p, piece.n);
            memcpy(at + piece.n, between, 2);
            at += piece.n + 2;
        }
    }
    return str_of(whole, n - 2);
}

/* Fields that a connection field names are the hop's as well (RFC 9110 7.6.1). */
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

/* One name for one person: a partner signs what subject it likes, so its own may not look like ours. */
static struct str user_of(const struct request *r)
{
    struct str sub = str_from(r->who->sub);
    if (r->who->issuer == 0) {
        return sub;
    }
    const char *iss = r->conf->verifier.issuers[r->who->issuer].iss;
    return arena_printf(&r->ex->arena, "%s|" STR_FMT, iss, STR_ARG(sub));
}

const struct http_field *proxy_request_fields(struct request *r, bool cookies, unsigned *n)
{
    struct http_exchange *ex = r->ex;
    struct http_field *out = arena_alloc(&ex->arena, (ex->field_count + OWN_FIELDS) * sizeof *out);
    struct str connection = in_one(&ex->arena, ex->fields, ex->field_count, STR("connection"), ", ");
    bool has_cookie = false;
    unsigned k = 0;
    for (unsigned i = 0; i < ex->field_count; i++) {
        const struct http_field *f = &ex->fields[i];
        if (proxy_is_dropped_field(f->name, cookies) ||
            (connection.n != 0 && is_named_by(connection, f->name)) || (is_cookie(f) && has_cookie)) {
            continue;
        }
        out[k] = *f;
        if (is_cookie(
                f)) { /* HTTP/2 clients may send it in pieces; HTTP/1 knows one field only (RFC 9113 8.2.3) */
            out[k].value = in_one(&ex->arena, ex->fields, ex->field_count, f->name, "; ");
            has_cookie = true;
        }
        k++;
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
        out[k++] = (struct http_field){STR("x-tide-user"), user_of(r)};
    }
    *n = k;
    return out;
}

unsigned proxy_answer_fields(struct arena *arena, const struct http_field *fields, unsigned count,
                             bool cookies, struct http_field *out)
{
    struct str connection = in_one(arena, fields, count, STR("connection"), ", ");
    unsigned k = 0;
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

unsigned proxy_drop_cors(struct http_field *fields, unsigned count)
{
    unsigned k = 0;
    for (unsigned i = 0; i < count; i++) {
        bool dropped = str_starts(fields[i].name, STR("access-control-")) &&
                       !str_is(fields[i].name, "access-control-expose-headers");
        if (!dropped) {
            fields[k++] = fields[i];
        }
    }
    return k;
}
