#include "gateway/client_addr.h"

enum { ENTRIES_MAX = 32 };

/* Digits only: what may stand behind the colon. */
static bool is_port(struct str s)
{
    uint64_t port = 0;
    return str_u64(s, &port) && port <= 65535;
}

bool client_addr_parse(struct str s, struct addr *out)
{
    s = str_trim(s);
    if (s.n > 0 && *s.p == '[') {
        const char *end = memchr(s.p, ']', s.n);
        if (!end) {
            return false;
        }
        struct str rest = str_skip(s, (size_t)(end + 1 - s.p));
        if (rest.n > 0 && (*rest.p != ':' || !is_port(str_skip(rest, 1)))) {
            return false;
        }
        return addr_parse(str_of(s.p + 1, (size_t)(end - s.p - 1)), out);
    }
    const char *colon = memchr(s.p, ':', s.n);
    size_t before = colon ? (size_t)(colon - s.p) : s.n;
    bool one_colon = colon && !memchr(colon + 1, ':', s.n - before - 1);
    if (one_colon) { /* an IPv6 address has more */
        return is_port(str_skip(s, before + 1)) && addr_parse(str_of(s.p, before), out) && addr_is_v4(out);
    }
    return addr_parse(s, out);
}

static bool is_trusted(const struct client_addr_conf *conf, const struct addr *a)
{
    static const struct addr none; /* a unix socket's peer */
    if (addr_eq(a, &none)) {
        return conf->trust_unix;
    }
    for (unsigned i = 0; i < conf->trusted_count; i++) {
        if (addr_prefix_has(&conf->trusted[i], a)) {
            return true;
        }
    }
    return false;
}

/* Cuts the last entry off a list; false when nothing is left. */
static bool cut_last(struct str *list, struct str *entry)
{
    if (list->n == 0) {
        return false;
    }
    size_t at = list->n;
    while (at > 0 && list->p[at - 1] != ',') {
        at--;
    }
    *entry = str_of(list->p + at, list->n - at);
    list->n = at > 0 ? at - 1 : 0;
    return true;
}

/* Walks one field's list; false when the walk is over. */
static bool walk_field(const struct client_addr_conf *conf, struct str list, unsigned *looked,
                       struct addr *client)
{
    struct str entry;
    while (cut_last(&list, &entry)) {
        struct addr a;
        if (++*looked > ENTRIES_MAX || !client_addr_parse(entry, &a)) {
            return false;
        }
        *client = a;
        if (!is_trusted(conf, &a)) {
            return false;
        }
    }
    return true;
}

struct addr client_addr_find(const struct http_exchange *ex, const struct client_addr_conf *conf)
{
    struct addr client = ex->peer;
    unsigned looked = 0;
    if (!is_trusted(conf, &client)) {
        return client;
    }
    for (unsigned i = ex->field_count; i > 0; i--) {
        const struct http_field *f = &ex->fields[i - 1];
        if (str_is(f->name, "x-forwarded-for") && !walk_field(conf, f->value, &looked, &client)) {
            break;
        }
    }
    return client;
}
