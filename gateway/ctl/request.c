/* A blocking HTTP/1.1 exchange: one request, connection: close, the whole answer. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

enum { ANSWER_MAX = 64 << 20, PIECE = 65536 };

static bool read_all(struct ctl_channel *ch, struct buf *to)
{
    for (;;) {
        char *room = buf_reserve(to, PIECE);
        ssize_t n = room != NULL ? ctl_channel_read(ch, room, PIECE) : -1;
        if (n <= 0) {
            return n == 0;
        }
        buf_commit(to, (size_t)n);
    }
}

static bool find_field(struct str head, const char *name, struct str *value)
{
    struct str line;
    while (str_cut(&head, '\n', &line)) {
        struct str key;
        if (str_cut(&line, ':', &key) && str_eq_nocase(key, str_from(name))) {
            *value = str_trim(line);
            value->n -= value->n > 0 && value->p[value->n - 1] == '\r' ? 1 : 0;
            return true;
        }
    }
    return false;
}

/* "HTTP/1.1 200 OK", fields, empty line, body of the announced length. */
static bool parse(struct str raw, struct ctl_answer *out)
{
    const char *end = memmem(raw.p, raw.n, "\r\n\r\n", 4);
    uint64_t status = 0;
    uint64_t length = 0;
    struct str value;
    if (end == NULL || raw.n < 12 || !str_u64(str_of(raw.p + 9, 3), &status)) {
        return false;
    }
    struct str head = str_of(raw.p, (size_t)(end - raw.p));
    struct str body = str_skip(raw, head.n + 4);
    if (!find_field(head, "content-length", &value) || !str_u64(value, &length) || length != body.n) {
        return false;
    }
    out->status = (unsigned)status;
    return buf_add_str(&out->body, body) == 0;
}

/* The problem's own words: detail, else title. */
static void print_problem(const struct ctl_answer *a)
{
    struct arena arena;
    struct json_doc doc;
    struct str text = STR("");
    arena_init(&arena);
    if (json_scan(&arena, buf_str(&a->body), &json_limits_default, &doc, NULL) == 0) {
        const struct json_slice *v = json_member(&doc, "detail");
        v = v != NULL ? v : json_member(&doc, "title");
        if (v != NULL) {
            (void)json_get_str(&arena, v, &text);
        }
    }
    fprintf(stderr, "tidectl: " STR_FMT " (HTTP %u)\n", STR_ARG(text), a->status);
    arena_clear(&arena);
}

static int exit_of(unsigned status)
{
    switch (status) {
    case 401:
    case 403:
        return CTL_DENIED;
    case 404:
        return CTL_NOT_FOUND;
    case 409:
        return CTL_CONFLICT;
    case 503:
        return CTL_UNREACHABLE;
    default:
        return status >= 200 && status < 300 ? CTL_OK : CTL_FAILED;
    }
}

static int exchange(struct ctl_channel *ch, const struct buf *request, struct ctl_answer *out)
{
    struct buf raw;
    buf_init(&raw, ANSWER_MAX);
    bool ok = ctl_channel_write(ch, buf_str(request)) && read_all(ch, &raw) && parse(buf_str(&raw), out);
    buf_clear(&raw);
    if (!ok) {
        fprintf(stderr, "tidectl: the gateway gave no whole answer\n");
        return CTL_UNREACHABLE;
    }
    int code = exit_of(out->status);
    if (code != CTL_OK) {
        print_problem(out);
    }
    return code;
}

int ctl_request(const struct ctl *c, const char *method, const char *target, const struct buf *body,
                struct ctl_answer *out)
{
    struct buf request;
    struct ctl_channel *ch = NULL;
    buf_init(&out->body, ANSWER_MAX);
    int code = ctl_channel_open(c, &ch);
    if (code != CTL_OK) {
        return code;
    }
    buf_init(&request, ANSWER_MAX);
    const char *trial = c->dry_run && strcmp(method, "GET") != 0 ? "dry_run=1" : "";
    const char *joint = trial[0] == '\0' ? "" : strchr(target, '?') != NULL ? "&" : "?";
    buf_addf(&request, "%s %s%s%s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n", method, target,
             joint, trial);
    if (body != NULL) {
        buf_addf(&request, "content-type: application/json\r\ncontent-length: %zu\r\n", body->n);
    }
    buf_add_cstr(&request, "\r\n");
    if (body != NULL) {
        buf_add_str(&request, buf_str(body));
    }
    code = exchange(ch, &request, out);
    ctl_channel_close(ch);
    buf_clear(&request);
    return code;
}
