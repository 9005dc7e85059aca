#include "gateway/trace.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/jws.h"
#include "base/metrics.h"
#include "gateway/gateway.h"

enum { PATH_BYTES = 96, NAME_BYTES = 48, WRITE_MAX = 1000 };

static struct metric phase_seconds =
    METRIC_HISTOGRAM_L("tidegate_request_phase_seconds",
                       "Time of requests by phase; first_byte and last_byte from the start.", "phase");

static const char *const phase_names[REQUEST_PHASES] = {"parse", "auth",       "body",     "limit",
                                                        "queue", "first_byte", "last_byte"};

static struct metric_child *phases[REQUEST_PHASES];

struct entry {
    int64_t ended_ms; /* wall clock; 0: never used */
    uint64_t received_bytes, sent_bytes;
    uint64_t us[REQUEST_PHASES];
    uint16_t status;
    uint8_t finish;  /* enum http_finish */
    uint8_t version; /* 10, 11, 20 */
    struct addr_prefix client;
    char id[ID_REQUEST_TEXT + 1];
    char trace_id[TRACE_ID_TEXT + 1];
    char method[8];
    char route[NAME_BYTES], worker[NAME_BYTES], model[NAME_BYTES], rule[NAME_BYTES];
    char path[PATH_BYTES];
};

struct trace_ring {
    unsigned count, next; /* next: the one that is overwritten next */
    struct entry entries[];
};

/* --- phases ----------------------------------------------------------------------------------------------- */

/* From the moment `from` was entered until the next state that was. */
static uint64_t time_in(const struct request *r, enum request_state from, uint64_t now)
{
    if (from != REQUEST_BEGUN && r->entered_us[from] == 0) {
        return 0;
    }
    for (unsigned s = from + 1; s < REQUEST_FINISHED; s++) {
        if (r->entered_us[s] != 0) {
            return r->entered_us[s] - r->entered_us[from];
        }
    }
    return now - r->entered_us[from];
}

void trace_phases(const struct request *r, uint64_t now_us, uint64_t *us)
{
    const struct http_exchange *ex = r->ex;
    uint64_t now = now_us - ex->began_us;
    us[REQUEST_PHASE_PARSE] = r->entered_us[REQUEST_BEGUN];
    us[REQUEST_PHASE_AUTH] = time_in(r, REQUEST_IDENTIFYING, now);
    us[REQUEST_PHASE_BODY] = time_in(r, REQUEST_READING_BODY, now);
    us[REQUEST_PHASE_LIMIT] = time_in(r, REQUEST_LIMITING, now);
    us[REQUEST_PHASE_QUEUE] = r->queue_us;
    us[REQUEST_PHASE_FIRST_BYTE] = ex->first_byte_us > ex->began_us ? ex->first_byte_us - ex->began_us : 0;
    us[REQUEST_PHASE_LAST_BYTE] = now;
}

static void observe(const uint64_t *us)
{
    for (unsigned p = 0; p < REQUEST_PHASES; p++) {
        if (us[p] > 0) {
            metric_child_observe_us(phases[p], us[p]);
        }
    }
}

/* --- the ring --------------------------------------------------------------------------------------------- */

struct trace_ring *trace_ring_new(unsigned count)
{
    for (unsigned p = 0; p < REQUEST_PHASES; p++) {
        phases[p] = metric_child(&phase_seconds, phase_names[p]);
    }
    if (count == 0) {
        return NULL;
    }
    struct trace_ring *ring = calloc(1, sizeof *ring + count * sizeof ring->entries[0]);
    BUG_ON(ring == NULL);
    ring->count = count;
    return ring;
}

void trace_ring_free(struct trace_ring *ring)
{
    free(ring);
}

static void keep(char *to, size_t room, struct str text)
{
    size_t n = text.n < room ? text.n : room - 1;
    memcpy(to, text.p, n);
    to[n] = '\0';
}

static void fill(struct entry *e, const struct request *r, enum http_finish finish, const uint64_t *us)
{
    const struct http_exchange *ex = r->ex;
    e->ended_ms = clock_wall_ms();
    e->received_bytes = ex->received_bytes;
    e->sent_bytes = ex->sent_bytes;
    memcpy(e->us, us, sizeof e->us);
    e->status = (uint16_t)ex->status;
    e->finish = (uint8_t)finish;
    e->version = ex->version;
    e->client = addr_mask(&r->client, 24, 48);
    memcpy(e->id, ex->id, sizeof e->id);
    memcpy(e->trace_id, r->trace.id, sizeof e->trace_id);
    keep(e->method, sizeof e->method, ex->method_text);
    keep(e->route, sizeof e->route, str_from(r->route != NULL ? r->route->name : "none"));
    keep(e->worker, sizeof e->worker, str_from(r->worker));
    keep(e->model, sizeof e->model, str_from(r->model));
    keep(e->rule, sizeof e->rule, str_from(r->refused_by));
    keep(e->path, sizeof e->path, ex->path);
}

void trace_finished(struct trace_ring *ring, const struct request *r, enum http_finish finish,
                    const uint64_t *us)
{
    observe(us);
    if (ring != NULL) {
        fill(&ring->entries[ring->next], r, finish, us);
        ring->next = ring->next + 1 == ring->count ? 0 : ring->next + 1;
    }
}

/* --- as JSON ---------------------------------------------------------------------------------------------- */

static void write_text(struct json_writer *w, const char *key, struct str text)
{
    if (text.n > 0) {
        text.n = str_utf8_valid_len(text);
        json_str_at(w, key, text);
    }
}

static void write_phases(struct json_writer *w, const uint64_t *us)
{
    for (unsigned p = 0; p < REQUEST_PHASES; p++) {
        char key[24];
        if (us[p] > 0) {
            (void)snprintf(key, sizeof key, "%s_us", phase_names[p]);
            json_i64_at(w, key, (int64_t)us[p]);
        }
    }
}

static void write_client(struct json_writer *w, const struct addr_prefix *client)
{
    char text[ADDR_TEXT + 4];
    addr_prefix_format(client, text);
    json_str_at(w, "client", str_from(text));
}

static struct str protocol_of(uint8_t version)
{
    return version == 20 ? STR("h2") : STR("http/1.1");
}

static void write_entry(struct json_writer *w, const struct entry *e)
{
    char ended[CLOCK_ISO_LEN + 1];
    clock_format_iso(e->ended_ms, ended);
    json_open(w, '{');
    json_str_at(w, "request_id", str_from(e->id));
    json_str_at(w, "trace_id", str_from(e->trace_id));
    json_str_at(w, "state", STR("finished"));
    json_str_at(w, "ended_at", str_from(ended));
    write_client(w, &e->client);
    json_str_at(w, "protocol", protocol_of(e->version));
    write_text(w, "method", str_from(e->method));
    write_text(w, "route", str_from(e->route));
    write_text(w, "path", str_from(e->path));
    json_i64_at(w, "status", e->status);
    json_str_at(w, "finish", str_from(http_finish_name((enum http_finish)e->finish)));
    write_text(w, "limit_rule", str_from(e->rule));
    write_text(w, "model", str_from(e->model));
    write_text(w, "worker", str_from(e->worker));
    json_i64_at(w, "bytes_in", (int64_t)e->received_bytes);
    json_i64_at(w, "bytes_out", (int64_t)e->sent_bytes);
    write_phases(w, e->us);
    json_close(w, '}');
}

void trace_write_running(struct json_writer *w, const struct request *r)
{
    const struct http_exchange *ex = r->ex;
    struct addr_prefix client = addr_mask(&r->client, 24, 48);
    uint64_t now = clock_mono_us();
    uint64_t us[REQUEST_PHASES];
    trace_phases(r, now, us);
    us[REQUEST_PHASE_LAST_BYTE] = 0;
    json_open(w, '{');
    json_str_at(w, "request_id", str_from(ex->id));
    json_str_at(w, "trace_id", str_from(r->trace.id));
    json_str_at(w, "state", str_from(request_state_name(r->state)));
    json_i64_at(w, "age_ms", (int64_t)((now - ex->began_us) / 1000));
    write_client(w, &client);
    json_str_at(w, "protocol", protocol_of(ex->version));
    write_text(w, "method", ex->method_text);
    write_text(w, "route", str_from(r->route != NULL ? r->route->name : "none"));
    write_text(w, "path", str_of(ex->path.p, ex->path.n < PATH_BYTES ? ex->path.n : PATH_BYTES));
    json_i64_at(w, "status", ex->status);
    write_text(w, "model", str_from(r->model));
    write_text(w, "worker", str_from(r->worker));
    json_i64_at(w, "bytes_in", (int64_t)ex->received_bytes);
    json_i64_at(w, "bytes_out", (int64_t)ex->sent_bytes);
    json_i64_at(w, "queued_bytes", (int64_t)http_queued_bytes(ex));
    write_phases(w, us);
    json_close(w, '}');
}

/* The i-th newest; NULL when there is none. */
static const struct entry *newest(const struct trace_ring *ring, unsigned i)
{
    if (ring == NULL || i >= ring->count) {
        return NULL;
    }
    const struct entry *e = &ring->entries[(ring->next + ring->count - 1 - i) % ring->count];
    return e->ended_ms != 0 ? e : NULL;
}

bool trace_write_found(struct json_writer *w, const struct trace_ring *ring, struct str id)
{
    const struct entry *e;
    bool found = false;
    for (unsigned i = 0; (e = newest(ring, i)) != NULL; i++) {
        if (str_is(id, e->id) || str_is(id, e->trace_id)) {
            write_entry(w, e);
            found = true;
        }
    }
    return found;
}

void trace_write_last(struct json_writer *w, const struct trace_ring *ring, unsigned most)
{
    const struct entry *e;
    for (unsigned i = 0; i < most && i < WRITE_MAX && (e = newest(ring, i)) != NULL; i++) {
        write_entry(w, e);
    }
}
