/* Rotating the ticket keys of a ring: the file is read, changed and replaced as a whole. */
#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/id.h"
#include "base/secret.h"

enum { RING_TEXT_MAX = 64 * 1024 };

static const char *const state_names[] = {"retired", "active", "next"};

static const char *state_of(const struct secret_key *k)
{
    return state_names[k->is_active ? 1 : k->is_next ? 2 : 0];
}

static void write_key(struct buf *out, const struct secret_key *k, const char *state)
{
    char base64[BASE64_TEXT(SECRET_KEY_MAX)];
    base64_encode(k->bytes, k->n, base64);
    buf_addf(out, "%s\n  {\"id\": \"%s\", \"use\": \"%s\", \"state\": \"%s\", \"secret\": \"%s\"}",
             out->n == 0 ? "{\"keys\": [" : ",", k->id, secret_use_name(k->use), state, base64);
    secret_cleanse(base64, sizeof(base64));
}

/* An id that no ticket key has: one more than the highest number among them. */
static struct secret_key new_key(const struct secret_ring *r, size_t bytes)
{
    struct secret_key k = {.use = SECRET_TICKET, .n = bytes};
    const struct secret_key *old;
    uint64_t highest = 0;
    for (unsigned i = 0; (old = secret_at(r, SECRET_TICKET, i)); i++) {
        uint64_t n;
        highest = str_u64(str_from(old->id), &n) && n > highest && n < 1000000000 ? n : highest;
    }
    snprintf(k.id, sizeof(k.id), "%llu", (unsigned long long)highest + 1);
    id_random(k.bytes, k.n);
    return k;
}

static const struct secret_key *find_next(const struct secret_ring *r)
{
    const struct secret_key *k;
    for (unsigned i = 0; (k = secret_at(r, SECRET_TICKET, i)); i++) {
        if (k->is_next) {
            return k;
        }
    }
    return NULL;
}

/* next becomes active, active retired, what was retired goes, a new next comes. Without a next one only that comes. */
static void write_ring(const struct secret_ring *r, struct buf *out)
{
    const struct secret_key *active = secret_active(r, SECRET_TICKET), *next = find_next(r), *k;
    for (unsigned use = 0; use < SECRET_USES; use++) {
        for (unsigned i = 0; use != SECRET_TICKET && (k = secret_at(r, (enum secret_use)use, i)); i++) {
            write_key(out, k, state_of(k));
        }
    }
    struct secret_key fresh = new_key(r, active->n);
    write_key(out, next ? next : active, "active");
    if (next) {
        write_key(out, active, "retired");
    }
    write_key(out, &fresh, "next");
    buf_add_cstr(out, "\n]}\n");
    secret_cleanse(&fresh, sizeof(fresh));
}

int secret_ring_rotate_tickets(const char *path, char active[SECRET_ID_MAX + 1], struct err *err)
{
    struct secret_ring *r;
    struct buf text;
    int rc = secret_ring_load(path, &r, err);
    if (rc != 0) {
        return rc;
    }
    const struct secret_key *next = find_next(r);
    memcpy(active, (next ? next : secret_active(r, SECRET_TICKET))->id, SECRET_ID_MAX + 1);
    buf_init(&text, RING_TEXT_MAX);
    buf_reserve(&text, RING_TEXT_MAX); /* never moved, so that nothing is left behind */
    write_ring(r, &text);
    rc = secret_file_replace(path, buf_str(&text), err);
    secret_cleanse(text.p, text.n);
    buf_clear(&text);
    secret_ring_unref(r);
    return rc;
}
