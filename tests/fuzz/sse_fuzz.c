/* Event streams (base/http/sse.h): the same events however the stream is cut, and no byte lost but the LF of an event
 * that ended with a piece's CR. */
#include "base/http/sse.h"
#include "tests/fuzz/fuzz.h"

enum { EVENT_MAX = 512 };

struct seen {
    struct buf bytes, data;
    unsigned events;
    int rc;
};

static int on_event(void *arg, struct str event)
{
    struct seen *s = arg;
    struct buf data;
    buf_init(&data, 1 << 20);
    MUST(event.n > 0 && event.n <= EVENT_MAX);
    s->events++;
    buf_add_str(&s->bytes, event);
    if (sse_data(event, &data)) {
        MUST(data.n <= event.n);
        buf_addf(&s->data, "[%zu]", data.n);
        buf_add_str(&s->data, buf_str(&data));
    }
    buf_clear(&data);
    return 0;
}

static struct seen run(const uint8_t *data, size_t n, size_t first, size_t step)
{
    struct sse_scanner scanner;
    struct seen s = {0};
    buf_init(&s.bytes, 1 << 24);
    buf_init(&s.data, 1 << 24);
    sse_init(&scanner, EVENT_MAX);
    for (size_t at = 0, take = first; at < n && s.rc == 0; at += take, take = step) {
        take = take < n - at ? take : n - at;
        char *exact = fuzz_copy(data + at, take);
        s.rc = sse_feed(&scanner, str_of(exact, take), on_event, &s);
        free(exact);
    }
    if (s.rc == 0) {
        size_t kept = s.bytes.n + scanner.held.n;
        MUST(kept <= n && kept + (first < n ? s.events : 0) >= n);
        MUST(sse_is_idle(&scanner) == (scanner.held.n == 0));
        MUST(kept < n || memcmp(s.bytes.p, data, s.bytes.n) == 0);
    }
    sse_clear(&scanner);
    return s;
}

static void check_same(const struct seen *a, struct seen b)
{
    if (a->rc == 0) {
        MUST(b.rc == 0 && a->events == b.events && str_eq(buf_str(&a->data), buf_str(&b.data)));
    } else { /* an event too long by an LF that a cut drops: the other went on */
        MUST(a->rc == ERR_LIMIT && a->events <= b.events && str_starts(buf_str(&b.data), buf_str(&a->data)));
    }
    buf_clear(&b.bytes);
    buf_clear(&b.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct seen whole = run(data, n, n, n);
    MUST(whole.rc == 0 || whole.rc == ERR_LIMIT);
    check_same(&whole, run(data, n, fuzz_cut(data, n), n));
    check_same(&whole, run(data, n, 1, 1));
    buf_clear(&whole.bytes);
    buf_clear(&whole.data);
    return 0;
}
