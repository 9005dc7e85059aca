/* A line is written in one pass into the stack: at full speed this runs for every request of a loop, and a
 * general JSON writer cost more than routing, limits and proxying together. Texts that are ours are put as they are;
 * what came from outside goes through put_text, which escapes. LINE_BYTES holds the longest possible line. */
#include "gateway/access_log.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/jws.h"
#include "base/json.h"
#include "base/log.h"
#include "base/swar.h"

enum { TEXT_MOST = 512, ESCAPED_MOST = 6 * TEXT_MOST, LINE_BYTES = 6 * ESCAPED_MOST + 2048 };

struct access_log {
    struct log_file *file;
};

struct access_log *access_log_open(const char *path, struct err *err)
{
    struct log_file *file = log_file_open(path, err);
    if (!file) {
        return NULL;
    }
    struct access_log *l = calloc(1, sizeof(*l));
    BUG_ON(!l);
    l->file = file;
    return l;
}

void access_log_close(struct access_log *l)
{
    if (l) {
        log_file_close(l->file);
        free(l);
    }
}

/* --- pieces: each returns where the next one begins ------------------------------------------------- */

static char *put(char *at, struct str s)
{
    memcpy(at, s.p, s.n);
    return at + s.n;
}

static char *put_number(char *at, struct str key, uint64_t v)
{
    return str_put_u64(put(at, key), v);
}

static char *put_seconds(char *at, struct str key, uint64_t us)
{
    at = str_put_u64(put(at, key), us / 1000000);
    *at++ = '.';
    return str_put_digits(at, (uint32_t)(us % 1000000), 6);
}

static uint64_t odd_bytes(const char *p)
{
    uint64_t eight = swar_load(p);
    return (eight & SWAR_HIGH) | swar_below(eight, ' ') | swar_has(eight, 0x7f) | swar_has(eight, '"') |
           swar_has(eight, '\\');
}

static bool is_plain(struct str s)
{
    uint64_t odd = 0;
    for (; s.n >= 8; s = str_skip(s, 8)) {
        odd |= odd_bytes(s.p);
    }
    char rest[8] = "        ";
    memcpy(rest, s.p, s.n);
    return (odd | odd_bytes(rest)) == 0;
}

/* A member whose text came from outside, cut at TEXT_MOST. key ends with the opening quote. */
static char *put_text(char *at, struct str key, struct str value)
{
    value.n = value.n < TEXT_MOST ? value.n : TEXT_MOST;
    at = put(at, key);
    if (is_plain(value)) {
        at = put(at, value);
    } else {
        struct buf escaped;
        buf_init(&escaped, ESCAPED_MOST);
        json_escape(&escaped, value);
        at = put(at, buf_str(&escaped));
        buf_clear(&escaped);
    }
    *at++ = '"';
    return at;
}

static char *put_client(char *at, const struct addr *client)
{
    struct addr_prefix prefix = addr_mask(client, 24, 48);
    if (!addr_is_v4(client)) {
        char text[ADDR_TEXT + 4];
        addr_prefix_format(&prefix, text);
        return put(at, str_from(text));
    }
    for (unsigned i = 12; i < 15; i++) {
        at = str_put_u64(at, prefix.addr.b[i]);
        *at++ = '.';
    }
    return put(at, STR("0/24"));
}

/* The date is the same for a thousand lines of a busy loop: it is written once a second. */
static char *put_now(char *at)
{
    static _Thread_local int64_t second = -1;
    static _Thread_local char text[CLOCK_ISO_LEN + 1];
    int64_t now = clock_wall_ms();
    if (now / 1000 != second) {
        second = now / 1000;
        clock_format_iso(second * 1000, text);
    }
    at = put(at, str_of(text, CLOCK_ISO_LEN - 4)); /* up to the dot of .000Z */
    at = str_put_digits(at, (uint32_t)(now % 1000), 3);
    *at++ = 'Z';
    return at;
}

/* --- the line --------------------------------------------------------------------------------------- */

static char *put_asked(char *at, const struct request *r)
{
    const struct http_exchange *ex = r->ex;
    at = put_now(put(at, STR("{\"@timestamp\":\"")));
    at = put(put(at, STR("\",\"request_id\":\"")), str_from(ex->id));
    at = put_client(put(at, STR("\",\"client\":\"")), &r->client);
    if (r->place.country[0]) {
        at = put(put(at, STR("\",\"country\":\"")), str_from(r->place.country));
    }
    *at++ = '"';
    if (r->place.asn) {
        at = put_number(at, STR(",\"asn\":"), r->place.asn);
    }
    if (r->who) {
        at = put_text(at, STR(",\"user_id\":\""), str_from(r->who->sub));
    }
    at = put(at, ex->version == 20 ? STR(",\"protocol\":\"h2\"") : STR(",\"protocol\":\"http/1.1\""));
    if (ex->ja4.n > 0) {
        at = put(put(at, STR(",\"ja4\":\"")), ex->ja4);
        *at++ = '"';
    }
    at = put_text(at, STR(",\"method\":\""), ex->method_text);
    at = put_text(at, STR(",\"route\":\""), r->route ? str_from(r->route->name) : STR("none"));
    return put_text(at, STR(",\"path\":\""), ex->path);
}

static char *put_phases(char *at, const uint64_t *us)
{
    static const struct str keys[] = {STR_INIT(",\"parse_s\":"), STR_INIT(",\"auth_s\":"),
                                      STR_INIT(",\"body_s\":"), STR_INIT(",\"limit_s\":"),
                                      STR_INIT(",\"queue_s\":")};
    for (unsigned p = REQUEST_PHASE_PARSE; p <= REQUEST_PHASE_QUEUE; p++) {
        if (us[p] > 0) {
            at = put_seconds(at, keys[p], us[p]);
        }
    }
    return at;
}

static char *put_trace(char *at, const struct request *r)
{
    if (r->trace.parent[0]) {
        at = put(put(at, STR(",\"trace_id\":\"")), str_of(r->trace.id, TRACE_ID_TEXT));
        at = put(put(at, STR("\",\"parent_id\":\"")), str_of(r->trace.parent, TRACE_PARENT_TEXT));
        *at++ = '"';
    }
    if (r->refused_by) {
        at = put(put(at, STR(",\"limit_rule\":\"")), str_from(r->refused_by));
        *at++ = '"';
    }
    return at;
}

static char *put_answer(char *at, const struct request *r, enum http_finish finish, const uint64_t *us)
{
    const struct http_exchange *ex = r->ex;
    at = put_number(at, STR(",\"status\":"), ex->status);
    at = put(put(at, STR(",\"finish\":\"")), str_from(http_finish_name(finish)));
    at = put_seconds(at, STR("\",\"duration_s\":"), us[REQUEST_PHASE_LAST_BYTE]);
    if (ex->first_byte_us > ex->began_us) {
        at = put_seconds(at, STR(",\"first_byte_s\":"), ex->first_byte_us - ex->began_us);
    }
    at = put_number(at, STR(",\"bytes_in\":"), ex->received_bytes);
    at = put_number(at, STR(",\"bytes_out\":"), ex->sent_bytes);
    if (ex->problem) {
        at = put(put(at, STR(",\"problem\":\"")), str_from(ex->problem));
        *at++ = '"';
    }
    return at;
}

static char *put_chat(char *at, const struct request *r)
{
    if (r->model) {
        at = put_text(at, STR(",\"model\":\""), str_from(r->model));
    }
    if (r->worker) {
        at = put_text(at, STR(",\"worker\":\""), str_from(r->worker));
    }
    if (r->prompt_tokens >= 0) {
        at = put_number(at, STR(",\"prompt_tokens\":"), (uint64_t)r->prompt_tokens);
    }
    if (r->completion_tokens >= 0) {
        at = put_number(at, STR(",\"completion_tokens\":"), (uint64_t)r->completion_tokens);
    }
    return at;
}

void access_log_write(struct access_log *l, const struct request *r, enum http_finish finish,
                      const uint64_t *phases)
{
    if (!l) {
        return;
    }
    char line[LINE_BYTES];
    char *end = put_answer(put_asked(line, r), r, finish, phases);
    end = put_chat(put_phases(put_trace(end, r), phases), r);
    *end++ = '}';
    log_file_line(l->file, str_of(line, (size_t)(end - line)));
}
