#include "gateway/access_log.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/jws.h"
#include "base/json.h"
#include "base/log.h"

enum { LINE_FIRST = 1024, LINE_MOST = 64 * 1024, PATH_MOST = 512 };

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

static void write_client(struct json_writer *w, const struct request *r)
{
    char text[ADDR_TEXT + 4];
    struct addr_prefix prefix = addr_mask(&r->client, 24, 48);
    addr_prefix_format(&prefix, text);
    json_str_at(w, "client", str_from(text));
    if (r->country[0]) {
        json_str_at(w, "country", str_from(r->country));
    }
    if (r->who) {
        json_str_at(w, "user_id", str_from(r->who->sub));
    }
}

static void write_seconds(struct json_writer *w, const char *key, uint64_t us)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%llu.%06u", (unsigned long long)(us / 1000000),
                     (unsigned)(us % 1000000));
    json_raw_at(w, key, str_of(text, (size_t)n));
}

static void write_answer(struct json_writer *w, const struct request *r, enum http_finish finish)
{
    const struct http_exchange *ex = r->ex;
    json_i64_at(w, "status", ex->status);
    json_str_at(w, "finish", str_from(http_finish_name(finish)));
    write_seconds(w, "duration_s", clock_mono_us() - ex->began_us);
    if (ex->first_byte_us > ex->began_us) {
        write_seconds(w, "first_byte_s", ex->first_byte_us - ex->began_us);
    }
    json_i64_at(w, "bytes_in", (int64_t)ex->received_bytes);
    json_i64_at(w, "bytes_out", (int64_t)ex->sent_bytes);
    if (ex->problem) {
        json_str_at(w, "problem", str_from(ex->problem));
    }
}

static void write_chat(struct json_writer *w, const struct request *r)
{
    if (r->model) {
        json_str_at(w, "model", str_from(r->model));
    }
    if (r->worker) {
        json_str_at(w, "worker", str_from(r->worker));
    }
    if (r->prompt_tokens >= 0) {
        json_i64_at(w, "prompt_tokens", r->prompt_tokens);
    }
    if (r->completion_tokens >= 0) {
        json_i64_at(w, "completion_tokens", r->completion_tokens);
    }
}

void access_log_write(struct access_log *l, const struct request *r, enum http_finish finish)
{
    if (!l) {
        return;
    }
    const struct http_exchange *ex = r->ex;
    char at[CLOCK_ISO_LEN + 1];
    struct buf line;
    struct json_writer w = {.out = &line};
    buf_init(&line, LINE_MOST);
    buf_reserve(&line, LINE_FIRST); /* one allocation a line, nearly always */
    clock_format_iso(clock_wall_ms(), at);
    json_open(&w, '{');
    json_str_at(&w, "@timestamp", str_from(at));
    json_str_at(&w, "request_id", str_from(ex->id));
    write_client(&w, r);
    json_str_at(&w, "protocol", ex->version == 20 ? STR("h2") : STR("http/1.1"));
    json_str_at(&w, "method", ex->method_text);
    json_str_at(&w, "route", r->route ? str_from(r->route->name) : STR("none"));
    json_str_at(&w, "path", str_of(ex->path.p, ex->path.n < PATH_MOST ? ex->path.n : PATH_MOST));
    write_answer(&w, r, finish);
    write_chat(&w, r);
    json_close(&w, '}');
    log_file_line(l->file, buf_str(&line)); /* PATH_MOST keeps it far below LINE_MOST */
    buf_clear(&line);
}
