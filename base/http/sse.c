#include "base/http/sse.h"

void sse_init(struct sse_scanner *s, size_t max_event_bytes)
{
    *s = (struct sse_scanner){.line_empty = true};
    buf_init(&s->held, max_event_bytes);
}

void sse_clear(struct sse_scanner *s)
{
    buf_clear(&s->held);
    s->scanned = 0;
    s->line_empty = true;
    s->after_cr = false;
}

bool sse_is_idle(const struct sse_scanner *s)
{
    return s->held.n == 0;
}

/* The first CR or LF at or after `from`, or n. JSON never holds a raw CR, so the second search is short. */
static size_t find_line_end(struct str b, size_t from)
{
    const char *lf = memchr(b.p + from, '\n', b.n - from);
    size_t end = lf ? (size_t)(lf - b.p) : b.n;
    const char *cr = memchr(b.p + from, '\r', end - from);
    return cr ? (size_t)(cr - b.p) : end;
}

/* Bytes of b up to and with the blank line that ends the event begun before or in b; 0 when it goes on. */
static size_t find_event_end(struct sse_scanner *s, struct str b)
{
    size_t i = 0;
    while (i < b.n) {
        char c = b.p[i];
        if (s->after_cr) {
            s->after_cr = false;
            if (c == '\n') {
                i++;
                continue;
            }
        }
        if (c != '\n' && c != '\r') {
            s->line_empty = false;
            i = find_line_end(b, i);
            continue;
        }
        bool blank = s->line_empty;
        s->line_empty = true;
        s->after_cr = c == '\r';
        i++;
        if (!blank) {
            continue;
        }
        if (s->after_cr && i < b.n) {
            s->after_cr = false;
            i += b.p[i] == '\n';
        }
        return i;
    }
    return 0;
}

/* The held start of an event and its end in b: one event. */
static int emit(struct sse_scanner *s, struct str b, sse_event_cb cb, void *arg)
{
    if (s->held.n == 0) {
        return b.n > s->held.max ? ERR_LIMIT : cb(arg, b);
    }
    if (buf_add_str(&s->held, b) != 0) {
        return ERR_LIMIT;
    }
    /* The callback may clear the scanner, so the text is taken out first. */
    struct buf event = s->held;
    buf_init(&s->held, event.max);
    int rc = cb(arg, buf_str(&event));
    if (s->held.cap == 0 && s->held.n == 0) {
        buf_truncate(&event);
        s->held = event;
    } else {
        buf_clear(&event);
    }
    return rc;
}

int sse_feed(struct sse_scanner *s, struct str bytes, sse_event_cb cb, void *arg)
{
    /* An event that ended with CR was handed over at once; the LF of that line end is dropped here. */
    if (s->held.n == 0 && s->after_cr && bytes.n > 0) {
        s->after_cr = false;
        bytes = str_skip(bytes, bytes.p[0] == '\n');
    }
    while (bytes.n > 0) {
        size_t end = find_event_end(s, bytes);
        if (end == 0) {
            break;
        }
        int rc = emit(s, str_of(bytes.p, end), cb, arg);
        if (rc != 0) {
            return rc;
        }
        bytes = str_skip(bytes, end);
    }
    return bytes.n > 0 ? buf_add_str(&s->held, bytes) : 0;
}

/* Takes the next line off *in, without its end. */
static bool next_line(struct str *in, struct str *line)
{
    if (in->n == 0) {
        return false;
    }
    size_t end = find_line_end(*in, 0);
    *line = str_of(in->p, end);
    size_t skip = end;
    if (skip < in->n) {
        bool crlf = in->p[skip] == '\r' && skip + 1 < in->n && in->p[skip + 1] == '\n';
        skip += crlf ? 2 : 1;
    }
    *in = str_skip(*in, skip);
    return true;
}

bool sse_data(struct str event, struct buf *out)
{
    buf_truncate(out);
    bool found = false;
    struct str line;
    while (next_line(&event, &line)) {
        struct str name = STR("data");
        if (!str_starts(line, name) || (line.n > name.n && line.p[name.n] != ':')) {
            continue;
        }
        struct str value = str_skip(line, line.n > name.n ? name.n + 1 : name.n);
        if (value.n > 0 && value.p[0] == ' ') {
            value = str_skip(value, 1);
        }
        if (found) {
            (void)buf_add_char(out, '\n');
        }
        (void)buf_add_str(out, value);
        found = true;
    }
    return found;
}
