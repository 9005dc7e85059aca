/* See waitlist.h. */
#include "auth/waitlist.h"

#include <stdio.h>

#include "base/base64.h"
#include "base/metrics.h"

/* A transaction that changes nothing commits at once, one that writes waits for the disk: this makes all wait. */
#define AS_IF_WRITTEN "pg_logical_emit_message(true, 'tidegate', '')"

enum {
    TICKET_HEAD = 17,
    TICKET_MAC = 16
}; /* version and entry; then numbers of 8 bytes, the higher first; HMAC */
enum {
    TICKET_NO_END = TICKET_HEAD + 8,
    TICKET_SIGNED = TICKET_HEAD + 16,
    TICKET_BYTES = TICKET_SIGNED + TICKET_MAC
};

_Static_assert(3 + (TICKET_BYTES * 4 + 2) / 3 < WAITLIST_TICKET_TEXT, "a ticket fits its text");

static struct metric events = METRIC_COUNTER_L("tidegate_waitlist_events_total",
                                               "What happened on the waiting list, done by this gateway: "
                                               "joined, released, expired, signed_up, told, tell_failed.",
                                               "event");

void waitlist_count(const char *event, int64_t n)
{
    metric_child_add(metric_child(&events, event), (uint64_t)n);
}

/* --- tickets ----------------------------------------------------------------------------------------- */

static void put_number(uint8_t *out, int64_t v)
{
    for (unsigned i = 0; i < 8; i++) {
        out[i] = (uint8_t)((uint64_t)v >> (56 - 8 * i));
    }
}

static int64_t number_at(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++) {
        v = v << 8 | p[i];
    }
    return (int64_t)v;
}

/* Unix time until when a place is kept: from when its entry was drawn, the first 48 bits of a UUID of version 7. */
static int64_t expires_s(const struct uuid *entry, uint64_t ttl_ms)
{
    return number_at(entry->b, 6) / 1000 + (int64_t)(ttl_ms / 1000);
}

static void ticket_mac(const struct secret_key *key, const uint8_t *bytes, size_t n,
                       uint8_t out[SECRET_HMAC_BYTES])
{
    const struct str texts[] = {STR_INIT("waitlist"), {(const char *)bytes, n}};
    secret_hmac_of(key, texts, 2, out);
}

void waitlist_ticket_write(const struct secret_ring *r, const struct waitlist_ticket *t,
                           char out[WAITLIST_TICKET_TEXT])
{
    uint8_t bytes[TICKET_BYTES], mac[SECRET_HMAC_BYTES];
    bytes[0] = 2;
    memcpy(bytes + 1, t->entry.b, ID_UUID_BYTES);
    put_number(bytes + TICKET_HEAD, t->seq);
    put_number(bytes + TICKET_HEAD + 8, t->expires_s);
    ticket_mac(secret_active(r, SECRET_TOKEN), bytes, TICKET_SIGNED, mac);
    memcpy(bytes + TICKET_SIGNED, mac, TICKET_MAC);
    snprintf(out, 4, "wl_");
    base64url_encode(bytes, sizeof bytes, out + 3);
}

bool waitlist_ticket_read(const struct secret_ring *r, struct str text, uint64_t ttl_ms,
                          struct waitlist_ticket *out)
{
    uint8_t bytes[TICKET_BYTES + 4], mac[SECRET_HMAC_BYTES];
    const struct secret_key *key;
    bool is_ours = false;
    if (!str_starts(text, STR("wl_")) || text.n >= WAITLIST_TICKET_TEXT) {
        return false;
    }
    ssize_t n = base64url_decode(str_skip(text, 3), bytes, sizeof bytes);
    bool has_end = n == TICKET_BYTES && bytes[0] == 2;
    if (!has_end && !(n == TICKET_NO_END + TICKET_MAC && bytes[0] == 1)) {
        return false;
    }
    size_t signed_n = (size_t)n - TICKET_MAC;
    for (unsigned i = 0; !is_ours && (key = secret_at(r, SECRET_TOKEN, i)); i++) {
        ticket_mac(key, bytes, signed_n, mac);
        is_ours = secret_eq(mac, bytes + signed_n, TICKET_MAC);
    }
    memcpy(out->entry.b, bytes + 1, ID_UUID_BYTES);
    out->seq = number_at(bytes + TICKET_HEAD, 8);
    out->expires_s = has_end ? number_at(bytes + TICKET_HEAD + 8, 8) : expires_s(&out->entry, ttl_ms);
    return is_ours;
}

/* --- entries ----------------------------------------------------------------------------------------- */

const char *waitlist_status_name(enum waitlist_status s)
{
    static const char *const names[] = {"none", "waiting", "released", "joined", "expired"};
    return names[s];
}

#define ENTRY                                                                                                \
    "id, seq, extract(epoch FROM expires_at)::bigint, released_at IS NOT NULL, CASE WHEN state = 'joined' "  \
    "THEN 3 WHEN state = "                                                                                   \
    "'expired'"                                                                                              \
    " OR expires_at <= clock_timestamp() THEN 4 WHEN state = 'released' THEN 2 ELSE 1 END FROM waitlist "

static void take_entry(struct pg *pg, struct waitlist_entry *out)
{
    *out = (struct waitlist_entry){.status = (enum waitlist_status)pg_i64(pg, 0, 4),
                                   .id = pg_uuid(pg, 0, 0),
                                   .seq = pg_i64(pg, 0, 1),
                                   .expires_s = pg_i64(pg, 0, 2),
                                   .was_released = pg_bool(pg, 0, 3)};
}

int waitlist_find(struct pg *pg, const struct subject *s, struct waitlist_entry *out)
{
    *out = (struct waitlist_entry){0};
    for (unsigned i = 0; i < s->hashes; i++) {
        int rows =
            pg_query(pg, "SELECT " ENTRY "WHERE subject_hash = $1", PG_BYTES(s->hash[i], SECRET_HMAC_BYTES));
        if (rows < 0) {
            return rows;
        }
        if (rows > 0) {
            take_entry(pg, out);
            return 1;
        }
    }
    return 0;
}

int waitlist_load(struct pg *pg, const struct uuid *id, struct waitlist_entry *out)
{
    *out = (struct waitlist_entry){0};
    int rows = pg_query(pg, "SELECT " ENTRY "WHERE id = $1", PG_UUID(*id));
    if (rows > 0) {
        take_entry(pg, out);
    }
    return rows;
}

int waitlist_ahead(struct pg *pg, int64_t seq, int64_t *ahead)
{
    int rows = pg_query(pg, "SELECT waitlist_ahead($1)", PG_I64(seq));
    *ahead = rows > 0 ? pg_i64(pg, 0, 0) : 0;
    return rows < 0 ? rows : 0;
}

int waitlist_length(struct pg *pg, int64_t *waiting)
{
    int rows = pg_query(pg, "SELECT waitlist_ahead(last_value + 1) FROM waitlist_seq");
    *waiting = rows > 0 ? pg_i64(pg, 0, 0) : 0;
    return rows < 0 ? rows : 0;
}

static int store(struct pg *pg, const struct secret_ring *r, struct waitlist_join *j)
{
    struct buf sealed;
    buf_init(&sealed, SUBJECT_SEALED_MAX);
    int rc = subject_seal(r, "waitlist.subject", &j->ticket.entry, j->phone, &sealed, pg_err(pg));
    if (rc == 0) {
        /* Until when the ticket says: nobody joins again while the place still stands. Seconds alone, since an interval
         * with days goes by the calendar of the session's time zone. */
        rc = pg_query(pg,
                      "SELECT waitlist_join($1, $2, $3, $4, $5, $6,"
                      " ($7::bigint - extract(epoch FROM now()))::float8 * interval '1 s', $8)",
                      PG_UUID(j->ticket.entry), PG_BYTES(j->subject->hash[0], SECRET_HMAC_BYTES),
                      PG_CSTR(j->subject->key_id), PG_BYTES(sealed.p, sealed.n), PG_CSTR(j->phone->country),
                      PG_CSTR(j->lang), PG_I64(j->ticket.expires_s), PG_I64(j->ticket.seq));
        j->is_new = rc > 0 && pg_bool(pg, 0, 0);
    }
    buf_clear(&sealed);
    return rc < 0 ? rc : 0;
}

static int name_again(struct pg *pg, const struct uuid *id)
{
    int rc = pg_query(pg, "SELECT waitlist_name_again($1)", PG_UUID(*id));
    return rc < 0 ? rc : 0;
}

int waitlist_join(struct pg *pg, const struct secret_ring *r, struct waitlist_join *j)
{
    struct uuid identity, user;
    struct waitlist_entry entry;
    j->is_new = false;
    j->ticket.entry = uuid_v7();
    int rc = pg_query(pg, "SELECT nextval('waitlist_seq'), " AS_IF_WRITTEN);
    if (rc < 0) {
        return rc;
    }
    j->ticket.seq = pg_i64(pg, 0, 0);
    j->ticket.expires_s = expires_s(&j->ticket.entry, j->ttl_ms);
    int is_user = subject_find(pg, j->subject, &identity, &user);
    int is_listed = is_user < 0 ? is_user : waitlist_find(pg, j->subject, &entry);
    if (is_listed < 0) {
        return is_listed;
    }
    bool stands = is_listed && (entry.status == WAITLIST_WAITING || entry.status == WAITLIST_RELEASED);
    /* The ticket of a number that has a place or an account belongs to no row, and ages like a newcomer's: it would
     * tell since when the number waits, and that it came in. */
    if (is_user) {
        return 0;
    }
    return stands ? name_again(pg, &entry.id) : store(pg, r, j);
}

int waitlist_leave(struct pg *pg, const struct waitlist_ticket *t, bool *has_left)
{
    int rows =
        pg_query(pg, "SELECT waitlist_leave($1, $2), " AS_IF_WRITTEN, PG_UUID(t->entry), PG_I64(t->seq));
    *has_left = rows > 0 && pg_bool(pg, 0, 0);
    return rows < 0 ? rows : 0;
}
