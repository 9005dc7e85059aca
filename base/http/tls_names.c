/* Open addressing, never more than half full; the names lie one after another in one text. */
#include "base/http/tls_names.h"

#include <stdlib.h>

enum { SLOTS_AT_FIRST = 64 };

struct slot {
    uint32_t at, n; /* of the name in `text`; n 0: free */
    struct tls_choice choice;
};

struct tls_names {
    struct slot *slots;
    uint32_t slot_count; /* a power of two */
    uint32_t used;
    struct buf text;
};

static void *must(void *p)
{
    BUG_ON(!p);
    return p;
}

struct tls_names *tls_names_new(void)
{
    struct tls_names *t = must(calloc(1, sizeof(*t)));
    t->slot_count = SLOTS_AT_FIRST;
    t->slots = must(calloc(t->slot_count, sizeof(*t->slots)));
    buf_init(&t->text, UINT32_MAX);
    return t;
}

void tls_names_free(struct tls_names *t)
{
    if (t) {
        buf_clear(&t->text);
        free(t->slots);
        free(t);
    }
}

unsigned tls_names_count(const struct tls_names *t)
{
    return t->used;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* FNV-1a. The names in the table are the operator's, so nobody can fill one chain. */
static uint32_t hash_of(struct str name)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < name.n; i++) {
        h = (h ^ (uint8_t)lower(name.p[i])) * 16777619u;
    }
    return h;
}

/* Its slot, or the free one where it belongs. */
static struct slot *slot_of(const struct tls_names *t, struct str name)
{
    uint32_t mask = t->slot_count - 1;
    for (uint32_t i = hash_of(name) & mask;; i = (i + 1) & mask) {
        struct slot *s = &t->slots[i];
        if (s->n == 0 || str_eq_nocase(str_of(t->text.p + s->at, s->n), name)) {
            return s;
        }
    }
}

static void grow(struct tls_names *t)
{
    struct slot *old = t->slots;
    uint32_t n = t->slot_count;
    t->slot_count = 2 * n;
    t->slots = must(calloc(t->slot_count, sizeof(*t->slots)));
    for (uint32_t i = 0; i < n; i++) {
        if (old[i].n > 0) {
            *slot_of(t, str_of(t->text.p + old[i].at, old[i].n)) = old[i];
        }
    }
    free(old);
}

void tls_names_add(struct tls_names *t, struct str name, enum tls_key_kind kind, uint16_t cert)
{
    if (name.n == 0 || name.n > TLS_NAME_MAX || memchr(name.p, '\0', name.n)) {
        return;
    }
    if (2 * (t->used + 1) > t->slot_count) {
        grow(t);
    }
    struct slot *s = slot_of(t, name);
    if (s->n == 0) {
        s->at = (uint32_t)t->text.n;
        s->n = (uint32_t)name.n;
        BUG_ON(buf_add_str(&t->text, name) != 0);
        t->used++;
    }
    if (s->choice.cert[kind] == 0) {
        s->choice.cert[kind] = (uint16_t)(cert + 1);
    }
}

/* "*.example.com" for "api.example.com"; false when no label is left behind the star, or name is itself one. */
static bool wildcard_of(struct str name, char text[TLS_NAME_MAX + 2], struct str *out)
{
    const char *dot = memchr(name.p, '.', name.n);
    if (!dot || dot == name.p || name.p[0] == '*') {
        return false;
    }
    struct str rest = str_skip(name, (size_t)(dot - name.p));
    text[0] = '*';
    memcpy(text + 1, rest.p, rest.n);
    *out = str_of(text, rest.n + 1);
    return true;
}

bool tls_names_find(const struct tls_names *t, struct str name, struct tls_choice *out)
{
    char text[TLS_NAME_MAX + 2];
    struct str star;
    if (name.n == 0 || name.n > TLS_NAME_MAX) {
        return false;
    }
    const struct slot *exact = slot_of(t, name);
    const struct slot *wide = wildcard_of(name, text, &star) ? slot_of(t, star) : exact;
    *out = exact->choice;
    for (int kind = 0; kind < TLS_KEY_KINDS; kind++) {
        out->cert[kind] = out->cert[kind] ? out->cert[kind] : wide->choice.cert[kind];
    }
    return exact->n > 0 || wide->n > 0;
}
